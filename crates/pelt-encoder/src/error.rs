//! Errors of loading and running an encoder.

use std::path::PathBuf;

use pelt_tensors::TensorError;

/// Why an encoder could not be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// `config.json` is missing, is not JSON, or asks for something that is not supported.
    #[error("{path}: {message}", path = path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Field, what was expected and what was found.
        message: String,
    },
    /// A tensor file could not be read.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// The tensors are not those that the configuration describes.
    #[error("{path}: the tensors do not fit config.json: {problems}", path = path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// Every missing, unexpected or mis-shaped tensor, by name.
        problems: String,
    },
    /// A sequence does not fit the position table.
    #[error(
        "a sequence of {length} tokens{extra} is longer than the {positions} positions of the model"
    )]
    TooLong {
        /// Tokens of the sequence.
        length: usize,
        /// What a method adds to it, for the sentence.
        extra: String,
        /// What the model can hold.
        positions: usize,
    },
    /// A token that the embedding table does not have.
    #[error("{table} {id} is outside the model's table of {rows} rows")]
    UnknownToken {
        /// `token id` or `token type id`.
        table: &'static str,
        /// The number found.
        id: u32,
        /// Rows of the table.
        rows: usize,
    },
}
