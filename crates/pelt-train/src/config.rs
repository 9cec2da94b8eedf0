//! Settings of a training run.

use pelt_encoder::Precision;
use pelt_ops::PARTS;
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// When the development set is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluateEvery {
    /// After every epoch.
    Epoch,
    /// After this many optimiser steps, and at the end.
    Steps(usize),
}

/// Whether layers are trained without the method's parts in them (AdapterDrop, arXiv 2010.11918). To leave out the same
/// layers in every step, leave them out of the method itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdapterDrop {
    /// Every layer takes part in every step.
    #[default]
    Off,
    /// In every step the first `n` layers do not, with `n` drawn from zero to one less than the number of layers, so that
    /// the trained method works with any number of leading layers skipped.
    Robust,
}

/// Settings of a training run, with the defaults of the public recipes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training rows.
    pub epochs: usize,
    /// Rows of a batch.
    pub batch_size: usize,
    /// Batches whose gradients are added up for one optimiser step.
    pub gradient_accumulation: usize,
    /// Parts that a batch is cut into. On the processor they are worked on side by side, each on its share of the threads;
    /// elsewhere they are joined again. Gradients are the same up to rounding, but another number
    /// brings the rows into another order, so that dropout draws other masks for them.
    pub parts: usize,
    /// Largest learning rate, reached after warm-up.
    pub learning_rate: f64,
    /// Share of all steps in which the learning rate rises.
    pub warmup_ratio: f64,
    /// Decoupled weight decay; never on biases and norms.
    pub weight_decay: f64,
    /// Largest global norm of the gradients; 0 switches clipping off.
    pub max_grad_norm: f64,
    /// Seed of the order of rows, of dropout and of initial values.
    pub seed: u64,
    /// Longest sequence in tokens, special tokens included.
    pub max_length: usize,
    /// When to evaluate.
    pub evaluate_every: EvaluateEvery,
    /// Stop after this many evaluations without a better score.
    pub patience: Option<usize>,
    /// Save a checkpoint after this many optimiser steps.
    pub checkpoint_every: Option<usize>,
    /// Precision of hidden states and of the encoder's weights, where they are not trained. In `f16` losses are scaled.
    #[serde(skip_serializing_if = "is_f32")]
    pub precision: Precision,
    /// Whether layers are run once more for their backward pass, which takes more time and less memory: see
    /// [`Objective::checkpointing`](crate::Objective::checkpointing).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gradient_checkpointing: bool,
    /// Whether layers are trained without the method.
    pub adapter_drop: AdapterDrop,
    /// Whether what the layers below the first one that the method changes give is computed once for every row, without
    /// dropout, and kept for later epochs.
    pub cache_activations: bool,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 3,
            batch_size: 32,
            gradient_accumulation: 1,
            parts: PARTS,
            learning_rate: 5e-4,
            warmup_ratio: 0.06,
            weight_decay: 0.01,
            max_grad_norm: 1.0,
            seed: 42,
            max_length: 128,
            evaluate_every: EvaluateEvery::Epoch,
            patience: None,
            checkpoint_every: None,
            precision: Precision::F32,
            gradient_checkpointing: false,
            adapter_drop: AdapterDrop::Off,
            cache_activations: false,
        }
    }
}

impl TrainConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// [`TrainError::Setting`] naming the first one that cannot work.
    pub fn validate(&self) -> Result<(), TrainError> {
        let positive = [
            ("epochs", Some(self.epochs)),
            ("batch_size", Some(self.batch_size)),
            ("gradient_accumulation", Some(self.gradient_accumulation)),
            ("parts", Some(self.parts)),
            ("patience", self.patience),
            ("checkpoint_every", self.checkpoint_every),
            (
                "evaluate_every",
                match self.evaluate_every {
                    EvaluateEvery::Epoch => None,
                    EvaluateEvery::Steps(steps) => Some(steps),
                },
            ),
        ];
        for (field, value) in positive {
            if value == Some(0) {
                return Err(setting(field, "at least 1", 0));
            }
        }
        if self.cache_activations && self.epochs == 1 {
            return Err(setting("epochs", "at least 2 with cache_activations", 1));
        }
        if self.max_length < 3 {
            return Err(setting("max_length", "at least 3", self.max_length));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return Err(setting(
                "learning_rate",
                "a positive number",
                self.learning_rate,
            ));
        }
        for (field, value) in [
            ("weight_decay", self.weight_decay),
            ("max_grad_norm", self.max_grad_norm),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(setting(field, "zero or a positive number", value));
            }
        }
        if !(0.0..=1.0).contains(&self.warmup_ratio) {
            return Err(setting("warmup_ratio", "from 0 to 1", self.warmup_ratio));
        }
        Ok(())
    }

    /// Rows of one optimiser step.
    pub fn effective_batch_size(&self) -> usize {
        self.batch_size * self.gradient_accumulation
    }

    /// Optimiser steps of one epoch over `rows` rows.
    pub fn steps_per_epoch(&self, rows: usize) -> usize {
        rows.div_ceil(self.batch_size)
            .div_ceil(self.gradient_accumulation)
    }
}

/// Runs in `f32` are described as they were before there was a choice.
fn is_f32(precision: &Precision) -> bool {
    *precision == Precision::F32
}

fn setting(field: &'static str, expected: &'static str, found: impl ToString) -> TrainError {
    TrainError::Setting {
        field,
        expected,
        found: found.to_string(),
    }
}
