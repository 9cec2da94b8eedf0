//! Fixtures and helpers for the tests of this workspace.
//!
//! The files under `fixtures/` were computed by AdapterHub `adapters`, PEFT and transformers on tiny random models;
//! `fixtures/manifest.json` names the versions. Depending on this crate also switches the Flex backend on.

use std::path::{Path, PathBuf};

/// A file or folder under `fixtures/`.
pub fn fixture(relative: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(relative)
}

/// A JSON file under `fixtures/`.
///
/// # Panics
/// If it cannot be read: a test cannot go on without it.
pub fn fixture_json(relative: impl AsRef<Path>) -> serde_json::Value {
    let path = fixture(relative);
    let text = std::fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
