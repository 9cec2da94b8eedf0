//! The encoder that is measured.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::demo;

/// The demo's encoder, in the demo's cache.
const DEFAULT_MODEL: &str = "models/all-MiniLM-L6-v2";

/// The checkpoint folder that was named, or the demo's, fetched where it is missing.
pub fn folder(named: Option<&Path>) -> Result<PathBuf> {
    if let Some(folder) = named {
        return Ok(std::path::absolute(folder)?);
    }
    let cache = demo::default_cache()?;
    let folder = cache.join(DEFAULT_MODEL);
    let whole = ["config.json", "model.safetensors", "tokenizer.json"];
    match whole.iter().all(|file| folder.join(file).exists()) {
        true => Ok(folder),
        false => Ok(demo::assets::fetch(&cache, None)?.encoder),
    }
}
