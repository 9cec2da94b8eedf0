//! Training steps on made-up tokens: equal work for every program, and no padding in any.

use pelt_encoder::Precision;
use serde::Serialize;

use crate::rounds::{StepTime, measure};
use crate::statistics::{fastest, median};
use crate::{BenchError, Setup, flops, peak_memory_mib};

/// Whether dropout is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dropout {
    /// As in training, with the model's own probabilities.
    On,
    /// As in evaluation.
    Off,
}

/// What a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepSettings {
    /// Tokens of each sequence.
    pub length: usize,
    /// Steps that are timed.
    pub rounds: usize,
    /// Whether dropout is active.
    pub dropout: Dropout,
    /// Whether gradients are clipped and the optimiser takes a step.
    pub update: bool,
}

/// How long a step takes.
#[derive(Debug, Serialize)]
pub struct StepReport {
    kind: &'static str,
    method: String,
    batch: usize,
    length: usize,
    rounds: usize,
    dropout: Dropout,
    update: bool,
    precision: Precision,
    trainable: usize,
    /// The very first step, in which kernels are compiled and tuned where the device does that.
    first_ms: f64,
    median_ms: f64,
    fastest_ms: f64,
    sequences_per_s: f64,
    tokens_per_s: f64,
    /// Of the matrix products, as [`flops`] counts them.
    flops_forward: u64,
    flops_backward: u64,
    /// From the median time.
    gflops: f64,
    peak_memory_mib: Option<u64>,
}

/// Times a step: forward, backward and the collection of gradients, and the update where it is asked for.
///
/// # Errors
/// If the model or the method cannot be used, or the sequences are too long for the model.
pub fn step(setup: &Setup<'_>, settings: &StepSettings) -> Result<StepReport, BenchError> {
    let measured = measure(setup, settings)?;
    let times: Vec<f64> = measured.rounds.iter().map(StepTime::total).collect();
    let flops = flops::count(&measured.work);
    let (median, fastest) = (median(&times), fastest(&times));
    Ok(StepReport {
        kind: "step",
        method: setup.method_name.to_string(),
        batch: setup.batch,
        length: settings.length,
        rounds: settings.rounds,
        dropout: settings.dropout,
        update: settings.update,
        precision: setup.precision,
        trainable: measured.trainable,
        first_ms: measured.first.total() * 1e3,
        median_ms: median * 1e3,
        fastest_ms: fastest * 1e3,
        sequences_per_s: setup.batch as f64 / median,
        tokens_per_s: (setup.batch * settings.length) as f64 / median,
        flops_forward: flops.forward,
        flops_backward: flops.backward,
        gflops: flops.total() as f64 / median / 1e9,
        peak_memory_mib: peak_memory_mib(),
    })
}
