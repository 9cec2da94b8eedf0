//! The adapter that a run goes on from.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use pelt_methods::{Adapter, AdapterConfig};
use pelt_tensors::TensorFiles;
use serde_json::Value;

use crate::model::Base;
use crate::pretrain_folder::PRETRAIN_FILE;
use crate::run_folder::RUN_FILE;

/// An adapter that has been trained before.
pub struct StartAdapter {
    pub config: AdapterConfig,
    pub adapter: Adapter,
    /// SHA-256 of its weights.
    pub fingerprint: String,
}

impl StartAdapter {
    /// Loads the adapter to `device`, on which a new head is then drawn from `seed`.
    pub fn load(folder: &Path, base: &Base, seed: u64, device: &Device) -> Result<Self> {
        for file in [PRETRAIN_FILE, RUN_FILE] {
            check_base(&folder.join(file), base)?;
        }
        let model_type = base.config().architecture.name();
        let frozen = |name: &str| base.checkpoint.tensor(name).ok().map(|t| t.values);
        let loaded = pelt_methods::load(folder, base.encoder.shape(), model_type, device, &frozen)?;
        let files = TensorFiles::open_folder(folder, &["adapter", "adapter_model"])?;
        device.seed(seed);
        Ok(Self {
            config: loaded.config,
            adapter: loaded.adapter,
            fingerprint: files.sha256()?,
        })
    }
}

/// Where the record of one of our own runs is there, it says which base model the adapter belongs to.
fn check_base(record: &Path, base: &Base) -> Result<()> {
    if !record.exists() {
        return Ok(());
    }
    let shown = record.display();
    let text =
        std::fs::read_to_string(record).with_context(|| format!("{shown}: cannot be read"))?;
    let record: Value =
        serde_json::from_str(&text).with_context(|| format!("{shown}: not a run's record"))?;
    let expected = record["config"]["base"]["fingerprint"].as_str();
    let found = base.checkpoint.fingerprint()?;
    ensure!(
        expected == Some(found.as_str()),
        "{shown}: the adapter was trained on another base model: its weights have SHA-256 {}, those of this one have {found}",
        expected.unwrap_or("that is not recorded")
    );
    Ok(())
}
