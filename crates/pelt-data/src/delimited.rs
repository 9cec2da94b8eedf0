//! Comma- and tab-separated files.

use std::path::Path;

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};

use crate::error::{DataError, first_line, join_names};
use crate::regular_file;
use crate::table::Cell;

/// How fields are separated and quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Commas; a field may stand in double quotes.
    Csv,
    /// Tabs; quotes are ordinary characters, because text files with tabs hold unpaired ones.
    Tsv,
}

/// Reads the wanted columns of a file whose first line names the columns.
pub(crate) fn read(
    path: &Path,
    style: Style,
    wanted: &[&str],
) -> Result<Vec<Vec<Cell>>, DataError> {
    let mut reader = ReaderBuilder::new()
        .delimiter(if style == Style::Csv { b',' } else { b'\t' })
        .quoting(style == Style::Csv)
        .from_reader(regular_file::open(path)?);
    let positions = positions(path, &mut reader, wanted)?;
    let mut columns = vec![Vec::new(); wanted.len()];
    let mut record = ByteRecord::new();
    let mut row = 0;
    loop {
        row += 1;
        if !reader
            .read_byte_record(&mut record)
            .map_err(|error| failed(path, row, error))?
        {
            return Ok(columns);
        }
        for (column, &position) in columns.iter_mut().zip(&positions) {
            let field = record.get(position).unwrap_or_default();
            let text = std::str::from_utf8(field).map_err(|_| DataError::NotUtf8 {
                path: path.to_owned(),
                row,
            })?;
            column.push(Cell::Text(text.to_owned()));
        }
    }
}

fn positions(
    path: &Path,
    reader: &mut Reader<std::fs::File>,
    wanted: &[&str],
) -> Result<Vec<usize>, DataError> {
    let headers = reader
        .byte_headers()
        .map_err(|error| failed(path, 0, error))?;
    if headers.is_empty() {
        return Err(DataError::Empty {
            path: path.to_owned(),
        });
    }
    let names: Vec<String> = headers
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    wanted
        .iter()
        .map(|wanted| {
            names
                .iter()
                .position(|name| name == wanted)
                .ok_or_else(|| DataError::MissingColumn {
                    path: path.to_owned(),
                    column: (*wanted).to_owned(),
                    found: join_names(names.iter().map(String::as_str)),
                })
        })
        .collect()
}

fn failed(path: &Path, row: usize, error: csv::Error) -> DataError {
    match error.into_kind() {
        ErrorKind::Io(reason) => DataError::Read {
            path: path.to_owned(),
            reason,
        },
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => DataError::Malformed {
            path: path.to_owned(),
            row,
            message: format!("it has {len} fields, expected {expected_len} as in the first line"),
        },
        ErrorKind::Utf8 { .. } => DataError::NotUtf8 {
            path: path.to_owned(),
            row,
        },
        other => DataError::Malformed {
            path: path.to_owned(),
            row,
            message: first_line(&format!("{other:?}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(
        content: &[u8],
        style: Style,
        wanted: &[&str],
    ) -> Result<Vec<Vec<Cell>>, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.csv");
        std::fs::write(&path, content).unwrap();
        read(&path, style, wanted)
    }

    fn texts(cells: &[Cell]) -> Vec<String> {
        cells.iter().map(Cell::describe).collect()
    }

    #[test]
    fn columns_come_in_the_order_asked_for() {
        let columns = read_text(b"a,b\n1,\"x, y\"\n\n2,z\n", Style::Csv, &["b", "a"]).unwrap();
        assert_eq!(texts(&columns[0]), ["\"x, y\"", "\"z\""]);
        assert_eq!(texts(&columns[1]), ["\"1\"", "\"2\""]);
    }

    #[test]
    fn quotes_are_ordinary_between_tabs() {
        let columns = read_text(b"a\tb\n\"open\t5\" disk\n", Style::Tsv, &["a", "b"]).unwrap();
        assert_eq!(columns[0][0], Cell::Text("\"open".to_owned()));
        assert_eq!(columns[1][0], Cell::Text("5\" disk".to_owned()));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_name() {
        assert!(read_text(b"\xef\xbb\xbfa,b\n1,2\n", Style::Csv, &["a"]).is_ok());
    }

    #[test]
    fn errors_name_the_row() {
        let message = |content: &[u8]| {
            read_text(content, Style::Csv, &["a"])
                .unwrap_err()
                .to_string()
        };
        assert!(message(b"a,b\n1,2\n1,2,3\n").starts_with("row 2 of "));
        assert!(
            message(b"a,b\n1,2\n1,2,3\n")
                .ends_with("it has 3 fields, expected 2 as in the first line")
        );
        assert!(message(b"a,b\n1,2\n\xff,2\n").starts_with("row 2 of "));
        assert!(message(b"a,b\n1,2\n\xff,2\n").ends_with("is not valid UTF-8"));
        assert!(message(b"b,c\n1,2\n").ends_with("has no column \"a\"; its columns are b, c"));
        assert!(message(b"").ends_with("holds no rows"));
    }
}
