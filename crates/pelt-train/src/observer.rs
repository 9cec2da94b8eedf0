//! What a run tells its caller while it goes on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One optimiser step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepReport {
    /// Optimiser step, from 1.
    pub step: usize,
    /// All steps of the run.
    pub total_steps: usize,
    /// Epoch, from 1.
    pub epoch: usize,
    /// Mean loss over the rows of the step.
    pub loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Global gradient norm before clipping.
    pub gradient_norm: f64,
    /// Whether gradients overflowed in `f16`, so that nothing was changed; the norm is 0 then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
    /// Rows of the step.
    pub rows: usize,
    /// Real tokens of the step.
    pub tokens: usize,
    /// Seconds the step took.
    pub seconds: f64,
}

/// One evaluation of the development set.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EvaluationReport {
    /// Optimiser steps taken.
    pub step: usize,
    /// Epoch, from 1.
    pub epoch: usize,
    /// Metrics by name, with `loss`.
    pub values: BTreeMap<String, f64>,
    /// What a reader should know about them.
    pub warnings: Vec<String>,
    /// The value that selects the best weights.
    pub score: f64,
    /// Whether this is the best evaluation so far.
    pub best: bool,
    /// Seconds the evaluation took.
    pub seconds: f64,
}

/// Watches a run.
pub trait Observer {
    /// After every optimiser step.
    fn on_step(&mut self, _report: &StepReport) {}
    /// After every evaluation.
    fn on_evaluation(&mut self, _report: &EvaluationReport) {}
    /// After a checkpoint has been written.
    fn on_checkpoint(&mut self, _step: usize) {}
    /// Asked after every step, and after every evaluation but the last: whether the run is to end here, with its state saved.
    fn is_interrupted(&self) -> bool {
        false
    }
}

/// Watches nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoObserver;

impl Observer for NoObserver {}
