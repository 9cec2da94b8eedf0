//! Training on a real task.

use std::time::Instant;

use pelt_data::{Tokenizer, first_rows};
use pelt_train::{
    EvaluateEvery, Examples, Observer, StepReport, TrainConfig, Trainer, TrainingRows,
};
use serde::Serialize;

use crate::error::at_least_one;
use crate::memory::resident_memory_mib;
use crate::model::trainable;
use crate::rows::Part;
use crate::statistics::mean;
use crate::{BenchError, Setup, TaskData, peak_memory_mib};

/// After this step the resident memory is kept: by then all buffers exist.
const SETTLED_STEP: usize = 50;

/// Losses that are averaged at the start and at the end.
const LOSSES: usize = 10;

/// How an epoch is run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochSettings {
    /// Train on as many random rows as this number of steps takes; all rows without it.
    pub steps: Option<usize>,
    /// Largest learning rate.
    pub learning_rate: f64,
}

/// How fast the trainer goes through real rows.
#[derive(Debug, Serialize)]
pub struct EpochReport {
    kind: &'static str,
    method: String,
    task: String,
    batch: usize,
    trainable: usize,
    /// Optimiser steps taken.
    steps: usize,
    /// Optimiser steps of a whole epoch.
    epoch_steps: usize,
    sequences: usize,
    /// Tokens that the tokenizer gave; prompts are not counted.
    tokens: usize,
    /// From the first step's start to the last one's end.
    seconds: f64,
    sequences_per_s: f64,
    tokens_per_s: f64,
    tokenise_s: f64,
    loss_first: f64,
    loss_last: f64,
    resident_step_50_mib: Option<u64>,
    resident_end_mib: Option<u64>,
    peak_memory_mib: Option<u64>,
}

/// One epoch, or its first steps, with dropout, clipping and AdamW, but without evaluation.
///
/// # Errors
/// If the model, the method or the rows cannot be used, or the loss is no number any more.
pub fn epoch(
    setup: &Setup<'_>,
    data: &TaskData<'_>,
    settings: &EpochSettings,
) -> Result<EpochReport, BenchError> {
    at_least_one("batch", setup.batch)?;
    at_least_one("steps", settings.steps.unwrap_or(1))?;
    let tokenizer = Tokenizer::load(setup.model)?;
    let rows = data.read(Part::Train, &tokenizer)?;
    let model = setup.build(rows.card.target.outputs(), Some(&tokenizer))?;
    let trainable = trainable(&model);
    let epoch_steps = rows.examples.sequences.len().div_ceil(setup.batch);
    let sampled = match settings.steps {
        Some(steps) => Some(sample(&rows.examples, steps * setup.batch, setup.seed)),
        None => None,
    };
    let train = sampled.as_ref().unwrap_or(&rows.examples);
    let config = TrainConfig {
        epochs: 1,
        batch_size: setup.batch,
        learning_rate: settings.learning_rate,
        seed: setup.seed,
        max_length: data.max_length,
        evaluate_every: EvaluateEvery::Epoch,
        precision: setup.precision,
        ..TrainConfig::default()
    };
    let folder = tempfile::tempdir().map_err(BenchError::Temporary)?;
    let trainer = Trainer {
        config: &config,
        train: TrainingRows::Labelled(train),
        development: None,
        metrics: &rows.card.metrics,
        primary_metric: rows.card.primary_metric,
        folder: folder.path(),
        identity: "{}",
    };
    let mut watch = Watch::default();
    let outcome = trainer.run(model, false, &mut watch)?;
    let seconds = watch.seconds();
    let count = watch.losses.len().min(LOSSES);
    Ok(EpochReport {
        kind: "epoch",
        method: setup.method_name.to_string(),
        task: data.task.to_string(),
        batch: setup.batch,
        trainable,
        steps: outcome.steps,
        epoch_steps,
        sequences: watch.sequences,
        tokens: watch.tokens,
        seconds,
        sequences_per_s: watch.sequences as f64 / seconds,
        tokens_per_s: watch.tokens as f64 / seconds,
        tokenise_s: rows.seconds,
        loss_first: mean(&watch.losses[..count]),
        loss_last: mean(&watch.losses[watch.losses.len() - count..]),
        resident_step_50_mib: watch.resident_settled,
        resident_end_mib: resident_memory_mib(),
        peak_memory_mib: peak_memory_mib(),
    })
}

/// Random rows.
fn sample(examples: &Examples, count: usize, seed: u64) -> Examples {
    let chosen = first_rows(examples.sequences.len(), count, seed);
    let sequences = chosen.iter().map(|row| examples.sequences[*row].clone());
    Examples {
        sequences: sequences.collect(),
        labels: chosen.iter().map(|row| examples.labels[*row]).collect(),
    }
}

/// Counts along, and takes the time between the first step's start and the last one's end.
#[derive(Debug, Default)]
struct Watch {
    /// When the first step ended, and how many seconds it had taken.
    first: Option<(Instant, f64)>,
    last: Option<Instant>,
    sequences: usize,
    tokens: usize,
    losses: Vec<f64>,
    resident_settled: Option<u64>,
}

impl Watch {
    fn seconds(&self) -> f64 {
        match (self.first, self.last) {
            (Some((first, taken)), Some(last)) => taken + last.duration_since(first).as_secs_f64(),
            _ => 0.0,
        }
    }
}

impl Observer for Watch {
    fn on_step(&mut self, report: &StepReport) {
        let now = Instant::now();
        self.first.get_or_insert((now, report.seconds));
        self.last = Some(now);
        self.sequences += report.rows;
        self.tokens += report.tokens;
        self.losses.push(report.loss);
        if report.step == SETTLED_STEP {
            self.resident_settled = resident_memory_mib();
        }
    }
}
