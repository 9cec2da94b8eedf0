//! Helpers for the tests of this crate.

use std::path::{Path, PathBuf};

/// A file of the reference fixtures.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../pelt-testkit/fixtures"
    ))
    .join(path)
}
