//! Errors of measurements.

use pelt_data::DataError;
use pelt_encoder::{EncoderError, Precision};
use pelt_methods::MethodError;
use pelt_tensors::TensorError;
use pelt_train::TrainError;

/// Why a measurement could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A data set or a tokenizer could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model could not be read, or cannot run a batch.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The method is unknown or does not fit the model.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// A checkpoint could not be written.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// Training or evaluation failed.
    #[error(transparent)]
    Train(#[from] TrainError),
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
    /// The device lacks a precision.
    #[error("the device does not compute in {0}")]
    NotThere(Precision),
    /// The device did not compute what it was asked for.
    #[error("the device failed: {0}")]
    Device(String),
    /// The rows of a task cannot be used.
    #[error("{0}")]
    Rows(String),
    /// A folder for the run's own files could not be made.
    #[error("cannot make a temporary folder: {0}")]
    Temporary(std::io::Error),
}

/// Checks that a number of things is at least one.
pub(crate) fn at_least_one(field: &'static str, value: usize) -> Result<(), BenchError> {
    match value {
        0 => Err(BenchError::Setting {
            field,
            expected: "at least 1",
            found: "0".into(),
        }),
        _ => Ok(()),
    }
}
