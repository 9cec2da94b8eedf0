//! How a finished run is used, by `pelt evaluate` and `pelt predict` alike.

use anyhow::{Result, ensure};
use clap::Args;
use pelt_encoder::Precision;

use crate::device;
use crate::model::{self, Base};
use crate::run_folder::Run;

#[derive(Debug, Args)]
pub struct InferenceArgs {
    /// Layers, from 0, in which the run's method does nothing (AdapterDrop), e.g. 0,2.
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    pub skip_layers: Vec<usize>,
    /// Rows of a batch.
    #[arg(long, default_value_t = 32, value_name = "N")]
    pub batch_size: usize,
    /// Precision of hidden states and of the encoder's weights: f32, bf16 or f16, whatever the run was trained in.
    #[arg(long, default_value_t = Precision::F32, value_name = "NAME")]
    pub precision: Precision,
}

impl InferenceArgs {
    /// Checks what does not depend on a model.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.batch_size > 0,
            "--batch-size must be at least 1, but is 0"
        );
        device::check_precision(self.precision)
    }

    /// The run as it is to be used.
    pub fn apply(&self, run: Run, base: &Base) -> Result<Run> {
        let skipped = model::skipped_layers(&self.skip_layers, base)?;
        let model = run.model.skipping(skipped).with_precision(self.precision);
        Ok(Run { model, ..run })
    }
}
