//! The wanted columns of a file, whatever its format.

use std::path::{Path, PathBuf};

use crate::error::DataError;
use crate::{delimited, json_lines, parquet_file};

/// One value of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Missing,
    Text(String),
    Integer(i64),
    Real(f64),
    Boolean(bool),
    /// A list, a nested record and so on, by what it is called in a message.
    Other(&'static str),
}

impl Cell {
    /// The value as it is written in an error message.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Missing => "no value".to_owned(),
            Self::Text(text) => {
                let mut shown: String = text.chars().take(40).collect();
                if shown.len() < text.len() {
                    shown.push_str("...");
                }
                format!("{shown:?}")
            }
            Self::Integer(number) => number.to_string(),
            Self::Real(number) => number.to_string(),
            Self::Boolean(value) => value.to_string(),
            Self::Other(kind) => (*kind).to_owned(),
        }
    }
}

/// The wanted columns of a file.
pub(crate) struct Table {
    pub(crate) path: PathBuf,
    /// One entry per wanted column, in the order asked for; all have one cell per row.
    pub(crate) columns: Vec<Vec<Cell>>,
}

/// File formats, told apart by the extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Tsv,
    JsonLines,
    Parquet,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            "jsonl" | "ndjson" | "json" => Some(Self::JsonLines),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

impl Table {
    /// Reads the wanted columns; a file without rows is an error.
    pub(crate) fn read(path: &Path, wanted: &[&str]) -> Result<Self, DataError> {
        let format = Format::of(path).ok_or_else(|| DataError::UnknownExtension {
            path: path.to_owned(),
        })?;
        let columns = match format {
            Format::Csv => delimited::read(path, delimited::Style::Csv, wanted)?,
            Format::Tsv => delimited::read(path, delimited::Style::Tsv, wanted)?,
            Format::JsonLines => json_lines::read(path, wanted)?,
            Format::Parquet => parquet_file::read(path, wanted)?,
        };
        if columns.first().is_none_or(Vec::is_empty) {
            return Err(DataError::Empty {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            columns,
        })
    }
}

/// Opens a file for reading.
pub(crate) fn open(path: &Path) -> Result<std::fs::File, DataError> {
    let failed = |reason| DataError::Read {
        path: path.to_owned(),
        reason,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    // Opening a folder works on some systems and fails on the first read only.
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    Ok(file)
}
