//! The columns of a file of rows, on the command line.

use anyhow::{Result, bail};
use clap::Args;

/// Which columns of a file are read.
#[derive(Debug, Clone, Args)]
pub struct ColumnArgs {
    /// Column of the text, or of the first text of a pair [default: text, or that of the run].
    #[arg(long, value_name = "NAME")]
    pub text_column: Option<String>,
    /// Column of the second text of a pair [default: none, or that of the run].
    #[arg(long, value_name = "NAME")]
    pub pair_column: Option<String>,
    /// Column of the label [default: label, or that of the run].
    #[arg(long, value_name = "NAME")]
    pub label_column: Option<String>,
    /// The label is a number to predict, not a class.
    #[arg(long)]
    pub regression: bool,
}

impl ColumnArgs {
    pub fn text(&self) -> &str {
        self.text_column.as_deref().unwrap_or("text")
    }

    pub fn label(&self) -> &str {
        self.label_column.as_deref().unwrap_or("label")
    }

    /// Checks that nothing is said about a file's columns where no file is read.
    pub fn check(&self, reads_a_file: bool) -> Result<()> {
        let given = [
            (self.text_column.is_some(), "--text-column"),
            (self.pair_column.is_some(), "--pair-column"),
            (self.label_column.is_some(), "--label-column"),
            (self.regression, "--regression"),
        ];
        match given.iter().find(|(given, _)| *given) {
            Some((_, option)) if !reads_a_file => {
                bail!("{option} is about a file of one's own, but a task is named")
            }
            _ => Ok(()),
        }
    }
}
