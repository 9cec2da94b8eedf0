//! What `pelt train` and `pelt pretrain` do alike.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use anyhow::{Result, ensure};
use burn::module::Module;
use pelt_hooks::EncoderShape;
use pelt_methods::Adapter;
use pelt_train::{CHECKPOINT_FILE, Outcome, PeftModel, Trainer};
use serde::Serialize;

use crate::device;
use crate::model::Base;
use crate::progress::Progress;
use crate::run_folder::{self, FolderKind};
use crate::talk;

/// The folder that a run writes to.
pub struct Target<'a> {
    pub kind: &'a FolderKind,
    pub folder: &'a Path,
    /// Replace what is there.
    pub force: bool,
    /// Go on with what is there.
    pub resume: bool,
}

impl Target<'_> {
    /// Makes the folder ready for a run with this configuration, and gives the run's identity.
    pub fn start(&self, config: &impl Serialize) -> Result<String> {
        run_folder::prepare(self.kind, self.folder, self.force, self.resume)?;
        let identity = run_folder::identity(serde_json::to_value(config)?);
        if self.resume {
            run_folder::check_started(self.folder, config)?;
        } else {
            run_folder::write_started(self.folder, config)?;
        }
        Ok(serde_json::to_string(&identity)?)
    }

    /// Trains the model, on from the last checkpoint where that is asked for.
    pub fn train(
        &self,
        trainer: &Trainer<'_>,
        model: PeftModel<Adapter>,
    ) -> Result<Outcome<Adapter>> {
        // A run that was killed before its first checkpoint starts again from the beginning.
        let resume = self.resume && self.folder.join(CHECKPOINT_FILE).exists();
        let mut progress = Progress::new(self.folder)?;
        talk::say(describe_steps(trainer));
        Ok(trainer.run(model, resume, &mut progress)?)
    }
}

/// `24 steps of 128 rows (4 batches of 32) on flex`.
fn describe_steps(trainer: &Trainer<'_>) -> String {
    let config = trainer.config;
    let steps = config.epochs * config.steps_per_epoch(trainer.train.count());
    let rows = config.effective_batch_size();
    let batches = match config.gradient_accumulation {
        1 => String::new(),
        batches => format!(" ({batches} batches of {})", config.batch_size),
    };
    format!(
        "{steps} steps of {rows} rows{batches} on {}",
        device::name()
    )
}

/// Checks that the model has positions for the longest row.
pub fn check_max_length(max_length: usize, shape: &EncoderShape) -> Result<()> {
    ensure!(
        max_length <= shape.max_positions,
        "--max-length {max_length} is more than the {} positions of the model",
        shape.max_positions
    );
    Ok(())
}

/// Parameters that are trained, and those of the base model.
pub struct Counts {
    pub trained: usize,
    pub base: usize,
}

impl Counts {
    pub fn of(model: &PeftModel<Adapter>, base: &Base) -> Self {
        let mut trained = model.named_params();
        // Files may hold a parameter under two names.
        let mut seen = HashSet::new();
        trained.retain(|param| seen.insert(param.id));
        Self {
            trained: trained.iter().map(|param| param.count()).sum(),
            base: base.encoder.num_params(),
        }
    }

    /// `training 1234 parameters (0.123 % of 1000000)`.
    pub fn describe(&self) -> String {
        let Self { trained, base } = self;
        let share = 100.0 * *trained as f64 / *base as f64;
        format!("training {trained} parameters ({share:.3} % of {base})")
    }
}

/// `accuracy 0.8333  loss 0.4017`.
pub fn scores(values: &BTreeMap<String, f64>) -> String {
    let values: Vec<String> = values
        .iter()
        .map(|(name, value)| format!("{name} {value:.4}"))
        .collect();
    values.join("  ")
}

/// The largest resident set of this process so far, where the system tells.
pub fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

/// Whether two paths lead to one folder that is there.
pub fn same_folder(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
