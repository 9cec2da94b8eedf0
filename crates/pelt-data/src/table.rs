//! The wanted columns of a file, whatever its format.

use std::path::{Path, PathBuf};

use crate::error::{DataError, clipped};
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
            Self::Text(text) => format!("{:?}", clipped(text, 40)),
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
