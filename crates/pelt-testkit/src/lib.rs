//! Fixtures and helpers for the tests of this workspace.
//!
//! The files under `fixtures/` were computed by AdapterHub `adapters`, PEFT and transformers on tiny random models;
//! `fixtures/manifest.json` names the versions. Depending on this crate also switches the Flex backend on.
//!
//! ```
//! use pelt_testkit::{adapter_shapes, fixture, fixture_json};
//!
//! assert!(fixture("models/bert/base/model.safetensors").is_file());
//! let config = fixture_json("models/bert/base/config.json");
//! assert_eq!(config["hidden_size"], 32);
//! let shapes = adapter_shapes("bert_cls_lora");
//! assert_eq!(shapes["encoder.layer.0.attention.self.query.loras.a.lora_A"], [8, 32]);
//! ```

use std::collections::BTreeMap;
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

/// Names and shapes of the tensors in the `adapter.safetensors` of an AdapterHub fixture for BERT, without the model's
/// prefix.
///
/// # Panics
/// If the file is not there, or a name has no prefix.
pub fn adapter_shapes(case: &str) -> BTreeMap<String, Vec<usize>> {
    let path = fixture("cases/adapters")
        .join(case)
        .join("adapter/adapter.safetensors");
    let bytes = std::fs::read(&path);
    let bytes = bytes.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let header = safetensors::SafeTensors::read_metadata(&bytes);
    let (_, header) = header.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let shapes: BTreeMap<_, _> = header
        .tensors()
        .into_iter()
        .map(|(name, info)| {
            let Some(name) = name.strip_prefix("bert.") else {
                panic!("{}: {name} does not start with bert.", path.display());
            };
            (name.to_string(), info.shape.clone())
        })
        .collect();
    assert!(!shapes.is_empty(), "{}: no tensors", path.display());
    shapes
}
