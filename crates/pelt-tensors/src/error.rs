//! What can go wrong with a tensor file.

use std::io;
use std::path::{Path, PathBuf};

use crate::quote::one_line;

/// An error of this crate. Each one reads as a single sentence that names the file.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// The operating system refused something. The field is not called `source` because its text is part of the
    /// sentence, and an error chain would otherwise repeat it.
    #[error("cannot {action} {}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as in "cannot {action} {path}".
        action: &'static str,
        /// What the operating system said.
        reason: io::Error,
    },
    /// The file's content contradicts its format, its own header or its length.
    #[error("{} is not a usable tensor file: expected {expected}, found {found}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What a well-formed file has there.
        expected: String,
        /// What this one has.
        found: String,
    },
    /// A folder holds none of the files that could hold its tensors.
    #[error("{} holds no tensor file: expected one of {}, found none of them", folder.display(), looked_for.join(", "))]
    NotFound {
        /// The folder.
        folder: PathBuf,
        /// The file names looked for, in order.
        looked_for: Vec<String>,
    },
    /// Two files of a sharded set hold a tensor of the same name.
    #[error("tensor {name} must be in one file of a sharded set, found in both {} and {}", first.display(), second.display())]
    Duplicate {
        /// The tensor's name, quoted.
        name: String,
        /// The file it was found in first.
        first: PathBuf,
        /// The file that has it again.
        second: PathBuf,
    },
    /// The file has no tensor of that name.
    #[error("{} has no tensor named {name}", path.display())]
    UnknownTensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name, quoted.
        name: String,
    },
    /// The tensor's elements are of another kind than what was asked for.
    #[error("tensor {name} in {} must hold {expected}, found {found}", path.display())]
    ElementType {
        /// The file.
        path: PathBuf,
        /// The tensor's name, quoted.
        name: String,
        /// The kind of element asked for.
        expected: &'static str,
        /// The element type in the file.
        found: String,
    },
    /// An unsigned integer is too large for the `i64` it is read into.
    #[error("tensor {name} in {} must hold integers up to {}, found {value}", path.display(), i64::MAX)]
    IntegerTooLarge {
        /// The file.
        path: PathBuf,
        /// The tensor's name, quoted.
        name: String,
        /// The first value that does not fit.
        value: u64,
    },
    /// A host tensor's shape and its number of values disagree.
    #[error(
        "a tensor of shape {shape:?} must have as many values as its shape says, found {values}"
    )]
    Shape {
        /// The shape.
        shape: Vec<usize>,
        /// The number of values.
        values: usize,
    },
    /// A tensor cannot be written under its name or with its shape.
    #[error("cannot write tensor {name} to {}: expected {expected}, found {found}", path.display())]
    Unwritable {
        /// The file that was to be written.
        path: PathBuf,
        /// The tensor's name, quoted.
        name: String,
        /// What the format needs.
        expected: String,
        /// What was given.
        found: String,
    },
}

impl TensorError {
    pub(crate) fn io(path: &Path, action: &'static str, reason: io::Error) -> Self {
        Self::Io {
            path: path.to_path_buf(),
            action,
            reason,
        }
    }

    pub(crate) fn malformed(
        path: &Path,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Malformed {
            path: path.to_path_buf(),
            expected: expected.into(),
            found: found.into(),
        }
    }
}

/// The longest piece of a file's own text that an error message repeats.
const LONGEST_QUOTE: usize = 200;

/// A name from a file, quoted and escaped: it may be very long or hold control characters.
pub(crate) fn quoted(name: &str) -> String {
    clipped(&format!("{name:?}"))
}

/// Text that may repeat parts of a file, on one line and cut to a length that a message can hold.
pub(crate) fn clipped(text: &str) -> String {
    one_line(text, LONGEST_QUOTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_control_characters_escaped() {
        let message = quoted(&format!("a\n{}", "x".repeat(100_000)));
        assert!(message.len() < 300);
        assert!(message.starts_with("\"a\\nx"));
        assert!(message.ends_with("..."));
        assert_eq!(quoted("weight"), "\"weight\"");
        assert_eq!(clipped("two\nlines"), "two lines");
    }
}
