//! Errors of configurations and adapter files.

use std::path::{Path, PathBuf};

use pelt_hooks::ConfigError;
use pelt_tensors::{TensorError, one_line};

/// The longest message about a file, in characters.
const LONGEST_MESSAGE: usize = 8000;

/// Why a method could not be configured, loaded or saved.
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    /// A setting that cannot work with this encoder.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A tensor file could not be read or written.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// No method of this name.
    #[error("unknown method \"{name}\"; expected one of {known}{suggestion}")]
    UnknownMethod {
        /// The name given.
        name: String,
        /// All names.
        known: String,
        /// `; did you mean ...?`, or nothing.
        suggestion: String,
    },
    /// A `KEY=VALUE` that does not fit.
    #[error("setting \"{setting}\": {message}")]
    Setting {
        /// What was given.
        setting: String,
        /// What is wrong with it.
        message: String,
    },
    /// Parts that cannot be combined.
    #[error("{0}")]
    Union(String),
    /// A file that is not what it should be.
    #[error("{path}: {message}", path = path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was expected and found.
        message: String,
    },
}

impl MethodError {
    /// The message may repeat what is in the file.
    pub(crate) fn file(path: &Path, message: impl Into<String>) -> Self {
        Self::File {
            path: path.to_path_buf(),
            message: one_line(&message.into(), LONGEST_MESSAGE),
        }
    }
}

/// `; did you mean "x"?` for the closest of `known`, if one is close.
pub(crate) fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // Papers write LoRA and UniPELT.
    let name = name.to_lowercase();
    let close = known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name, candidate), candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match close {
        Some((score, candidate)) if score > 0.75 => format!("; did you mean \"{candidate}\"?"),
        _ => String::new(),
    }
}
