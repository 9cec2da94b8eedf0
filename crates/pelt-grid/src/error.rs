//! What can go wrong.

use std::path::{Path, PathBuf};

/// An error of a comparison.
#[derive(Debug, thiserror::Error)]
pub enum GridError {
    /// A plan that cannot be carried out.
    #[error("{place}: {problem}")]
    Plan {
        /// The plan's file, or the name of a suite.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No suite of this name.
    #[error("there is no suite `{name}`; there are {}", known.join(", "))]
    UnknownSuite {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// A file or folder that cannot be used.
    #[error("{}: cannot {doing}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        error: std::io::Error,
    },
    /// A file that holds something else than it should.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A result that was made with other settings.
    #[error(
        "{}: the cell was run with other settings than the plan has now ({difference}); give another folder with --out, or remove the cell's",
        path.display()
    )]
    OtherSettings {
        /// The record.
        path: PathBuf,
        /// The first setting that differs.
        difference: String,
    },
    /// A results folder that another process works in.
    #[error("{}: another bench is writing to this folder", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// A run of `pelt` that failed.
    #[error("`pelt {command}` failed: {message}")]
    Pelt {
        /// The subcommand.
        command: String,
        /// What it said last.
        message: String,
    },
    /// Predictions that do not fit together.
    #[error("{}: {problem}", path.display())]
    Predictions {
        /// The file with them.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A job scheduler that refused.
    #[error("{program}: {problem}")]
    Launcher {
        /// The program that was called.
        program: &'static str,
        /// What it said.
        problem: String,
    },
}

impl GridError {
    pub(crate) fn io(path: &Path, doing: &'static str, error: std::io::Error) -> Self {
        Self::Io {
            path: path.to_path_buf(),
            doing,
            error,
        }
    }

    pub(crate) fn file(path: &Path, problem: impl ToString) -> Self {
        Self::File {
            path: path.to_path_buf(),
            problem: problem.to_string(),
        }
    }
}
