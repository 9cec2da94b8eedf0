//! Files with one JSON object per line.

use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{DataError, first_line, join_names};
use crate::regular_file;
use crate::table::Cell;

/// Reads the wanted columns. The first row must have all of them; a later row may lack one, which is a missing value.
pub(crate) fn read(path: &Path, wanted: &[&str]) -> Result<Vec<Vec<Cell>>, DataError> {
    let mut reader = BufReader::new(regular_file::open(path)?);
    let mut columns = vec![Vec::new(); wanted.len()];
    let mut line = Vec::new();
    let mut row = 0;
    loop {
        line.clear();
        let read = reader
            .read_until(b'\n', &mut line)
            .map_err(|reason| DataError::Read {
                path: path.to_owned(),
                reason,
            })?;
        if read == 0 {
            return Ok(columns);
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        row += 1;
        let mut object = parse(path, row, &line)?;
        if row == 1
            && let Some(missing) = wanted.iter().find(|wanted| !object.contains_key(**wanted))
        {
            return Err(DataError::MissingColumn {
                path: path.to_owned(),
                column: (*missing).to_owned(),
                found: join_names(object.keys().map(String::as_str)),
            });
        }
        for (column, wanted) in columns.iter_mut().zip(wanted) {
            column.push(cell(object.remove(*wanted)));
        }
    }
}

fn parse(path: &Path, row: usize, line: &[u8]) -> Result<Map<String, Value>, DataError> {
    let text = std::str::from_utf8(line).map_err(|_| DataError::NotUtf8 {
        path: path.to_owned(),
        row,
    })?;
    // A byte order mark may stand at the start of the file.
    let text = text.trim_start_matches('\u{feff}');
    let malformed = |message: String| DataError::Malformed {
        path: path.to_owned(),
        row,
        message,
    };
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(malformed("it is no JSON object".to_owned())),
        Err(error) => Err(malformed(first_line(&error.to_string()))),
    }
}

fn cell(value: Option<Value>) -> Cell {
    match value {
        None | Some(Value::Null) => Cell::Missing,
        Some(Value::Bool(value)) => Cell::Boolean(value),
        Some(Value::String(text)) => Cell::Text(text),
        Some(Value::Array(_)) => Cell::Other("a list"),
        Some(Value::Object(_)) => Cell::Other("an object"),
        Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Cell::Integer(integer),
            (None, Some(real)) => Cell::Real(real),
            (None, None) => Cell::Other("a number out of range"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(content: &[u8], wanted: &[&str]) -> Result<Vec<Vec<Cell>>, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.jsonl");
        std::fs::write(&path, content).unwrap();
        read(&path, wanted)
    }

    #[test]
    fn values_keep_their_types() {
        let content = b"{\"a\": \"x\", \"b\": 1}\n\n{\"b\": 0.5}\n{\"a\": null, \"b\": [1]}";
        let columns = read_text(content, &["a", "b"]).unwrap();
        assert_eq!(
            columns[0],
            [Cell::Text("x".to_owned()), Cell::Missing, Cell::Missing]
        );
        assert_eq!(
            columns[1],
            [Cell::Integer(1), Cell::Real(0.5), Cell::Other("a list")]
        );
    }

    #[test]
    fn errors_name_the_row() {
        let message = |content: &[u8]| read_text(content, &["a"]).unwrap_err().to_string();
        assert!(message(b"{\"a\": 1}\n{\"a\": ").starts_with("row 2 of "));
        assert!(message(b"{\"a\": 1}\n[1]\n").ends_with("it is no JSON object"));
        assert!(message(b"{\"a\": \"\xff\"}\n").ends_with("is not valid UTF-8"));
        assert!(message(b"{\"c\": 1, \"b\": 1}\n").contains("its columns are b, c"));
    }
}
