//! Adapters that have been trained before: to go on with, or to build on.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use pelt_methods::{Level, LoadedHead};
use pelt_tensors::{TensorFiles, read_small_file};
use serde_json::Value;

use crate::levels::LevelsBelow;
use crate::model::Base;
use crate::pretrain_folder::PRETRAIN_FILE;
use crate::run_folder::RUN_FILE;

/// An adapter that has been trained before.
pub struct TrainedAdapter {
    pub level: Level,
    /// The task head that lies in the folder.
    pub head: Option<LoadedHead>,
    /// SHA-256 of its weights.
    pub fingerprint: String,
    /// What it was trained on top of.
    pub below: Option<LevelsBelow>,
}

impl TrainedAdapter {
    /// Loads the adapter in a folder of ours or of another library to `device`.
    pub fn load(folder: &Path, base: &Base, device: &Device) -> Result<Self> {
        let mut below = None;
        for file in [PRETRAIN_FILE, RUN_FILE] {
            let path = folder.join(file);
            if path.exists() {
                below = read_record(&path, base)?;
            }
        }
        let loaded = base.load_adapter(folder, device)?;
        Ok(Self {
            level: Level {
                name: loaded.name,
                config: loaded.config,
                adapter: loaded.adapter,
            },
            head: loaded.head,
            fingerprint: fingerprint(folder)?,
            below,
        })
    }

    /// The adapter that a run goes on from, which must stand alone.
    pub fn to_go_on_from(folder: &Path, base: &Base, device: &Device) -> Result<Self> {
        let found = Self::load(folder, base, device)?;
        if let Some(below) = &found.below {
            anyhow::bail!(
                "{}: this adapter was trained on top of {}, and without that it cannot be gone on with",
                folder.display(),
                below.paths()
            );
        }
        Ok(found)
    }
}

/// SHA-256 of the weights of the adapter in a folder.
pub fn fingerprint(folder: &Path) -> Result<String> {
    let files = TensorFiles::open_folder(folder, &["adapter", "adapter_model"])?;
    Ok(files.sha256()?)
}

/// The record of one of our own runs says which base model the adapter belongs to, and what it was trained on top of.
fn read_record(record: &Path, base: &Base) -> Result<Option<LevelsBelow>> {
    let shown = record.display();
    let bytes = read_small_file(record).with_context(|| format!("{shown}: cannot be read"))?;
    let unreadable = || format!("{shown}: not a run's record");
    let record: Value = serde_json::from_slice(&bytes).with_context(unreadable)?;
    let expected = record["config"]["base"]["fingerprint"].as_str();
    let found = base.checkpoint.fingerprint()?;
    ensure!(
        expected == Some(found.as_str()),
        "{shown}: the adapter was trained on another base model: its weights have SHA-256 {}, those of this one have {found}",
        expected.unwrap_or("that is not recorded")
    );
    serde_json::from_value(record["config"]["stack"].clone()).with_context(unreadable)
}
