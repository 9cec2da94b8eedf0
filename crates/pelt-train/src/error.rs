//! Errors of training.

use std::path::PathBuf;

use pelt_encoder::EncoderError;
use pelt_metrics::MetricError;
use pelt_tensors::TensorError;

/// Why training or evaluation stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The encoder could not run a batch.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// A tensor file could not be read or written.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// A metric could not be computed.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// A setting that cannot work.
    #[error("{field} must be {expected}, but is {found}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What was given.
        found: String,
    },
    /// The rows cannot be used.
    #[error("{0}")]
    Rows(String),
    /// The head needs a pooler that the checkpoint does not have.
    #[error("the model has no pooler, which its classification head reads; use the flexible head")]
    NoPooler,
    /// The head gives something else than what is asked for.
    #[error("the head gives {found}, but {expected} are asked for")]
    WrongHead {
        /// What is asked for.
        expected: &'static str,
        /// What the head gives.
        found: &'static str,
    },
    /// The observer asked for an end. The state after the step is saved as a checkpoint.
    #[error("interrupted after step {step} of {total_steps}, whose state is saved")]
    Interrupted {
        /// Optimiser steps taken.
        step: usize,
        /// All steps of the run.
        total_steps: usize,
    },
    /// The loss or a gradient is no longer a number.
    #[error(
        "{what} is {value} at step {step} (epoch {epoch}, batch {batch}); training stopped, and what was last saved is \
         untouched. A smaller learning rate usually helps"
    )]
    NotFinite {
        /// `the loss` or `the gradient norm`.
        what: &'static str,
        /// The value.
        value: f64,
        /// Optimiser step, from 1.
        step: usize,
        /// Epoch, from 1.
        epoch: usize,
        /// Batch inside the epoch, from 1.
        batch: usize,
    },
    /// A checkpoint that does not belong to this run.
    #[error("{path}: cannot resume: {message}", path = path.display())]
    Resume {
        /// The checkpoint.
        path: PathBuf,
        /// What differs or is missing.
        message: String,
    },
    /// A file could not be written or read.
    #[error("{path}: {message}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        message: String,
    },
}
