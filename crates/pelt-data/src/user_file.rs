//! A user's own file, without a card.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::labels::{MinusOne, Target, infer_names};
use crate::standing::Standing;
use crate::text_dataset::{TextDataset, WantedColumns};

/// What is to be predicted from a user's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserTask {
    /// One of several classes.
    Classification,
    /// A number.
    Regression,
}

/// A CSV, TSV, JSON lines or Parquet file and what its columns mean. The extension decides on the format.
///
/// CSV and TSV files name their columns in the first line. Quotes mean nothing in a TSV file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserFile {
    /// The file.
    pub path: PathBuf,
    /// Column of the text, or of the first text of a pair.
    pub text_column: String,
    /// Column of the second text of a pair.
    pub pair_column: Option<String>,
    /// Column of the label; without it no row has a label.
    pub label_column: Option<String>,
    /// What is predicted.
    pub task: UserTask,
    /// Names of the classes by number. Without them they are those of this file: integers in numerical order, anything
    /// else sorted. Give the names found in the training file when reading any other.
    pub labels: Option<Vec<String>>,
}

impl UserFile {
    /// Reads the file.
    ///
    /// # Errors
    /// The file or a column is not there; the file is damaged or empty; text is not UTF-8; a label is missing or is not
    /// one of the names given; a score is no finite number. Path and row are named.
    pub fn read(&self) -> Result<TextDataset, DataError> {
        let columns = WantedColumns {
            text: &self.text_column,
            pair: self.pair_column.as_deref(),
            label: self.label_column.as_deref(),
        };
        let table = columns.read(&self.path)?;
        let target = match self.task {
            UserTask::Regression => Target::Regression { range: None },
            UserTask::Classification => {
                let inferred = match (&self.label_column, table.columns.last()) {
                    (Some(column), Some(cells)) if self.labels.is_none() => {
                        infer_names(&self.path, column, cells)?
                    }
                    _ => Vec::new(),
                };
                Target::Classification {
                    labels: self.labels.clone().unwrap_or(inferred),
                }
            }
        };
        Ok(TextDataset {
            name: name_of(&self.path),
            split: String::new(),
            rows: columns.rows(table, &target, MinusOne::Ordinary)?,
            target,
            files: vec![self.path.clone()],
            published_rows: None,
            standing: Standing::Own,
        })
    }
}

fn name_of(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
