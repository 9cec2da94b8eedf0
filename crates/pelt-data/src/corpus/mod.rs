//! Texts without labels: reading them, packing them into rows, and masking tokens of the rows.

mod masking;
mod packing;

use std::path::{Path, PathBuf};

pub use masking::{MaskedRow, Masking};
pub use packing::{TextPacking, fingerprint_of_rows, pack_texts};

use crate::error::DataError;
use crate::labels::{MinusOne, Target};
use crate::regular_file;
use crate::text_dataset::WantedColumns;

/// Files of rows, by extension; every other file is plain text.
const TABLES: [&str; 6] = ["csv", "tsv", "jsonl", "ndjson", "json", "parquet"];

/// The documents of a file, or of all files of a folder and the folders in it, in the order of their paths.
///
/// In CSV, TSV, JSON-lines and Parquet files each row of `text_column` is a document; in every other file blank lines
/// part them. In a folder only files with those extensions or `.txt` are read. Documents without any text are left out.
///
/// # Errors
/// A file or folder cannot be read, is not UTF-8, has no such column, or holds no text at all. The file is named.
pub fn read_documents(path: &Path, text_column: &str) -> Result<Vec<String>, DataError> {
    let mut documents = Vec::new();
    if path.is_dir() {
        let mut files = Vec::new();
        collect_files(path, &mut files)?;
        files.sort();
        for file in &files {
            documents.extend(read_file(file, text_column)?);
        }
    } else {
        documents = read_file(path, text_column)?;
    }
    documents.retain(|text| !text.trim().is_empty());
    match documents.is_empty() {
        true => Err(DataError::NoText {
            path: path.to_owned(),
        }),
        false => Ok(documents),
    }
}

fn extension(path: &Path) -> String {
    let extension = path.extension().unwrap_or_default();
    extension.to_string_lossy().to_ascii_lowercase()
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let failed = |reason| DataError::Read {
        path: folder.to_owned(),
        reason,
    };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        // A link to a folder could lead back to where we are, so only real folders are entered.
        if entry.file_type().map_err(failed)?.is_dir() {
            collect_files(&path, files)?;
        } else if TABLES.contains(&extension(&path).as_str()) || extension(&path) == "txt" {
            // A file that is named by itself may be a pipe.
            regular_file::check(&path)?;
            files.push(path);
        }
    }
    Ok(())
}

fn read_file(path: &Path, text_column: &str) -> Result<Vec<String>, DataError> {
    if TABLES.contains(&extension(path).as_str()) {
        let columns = WantedColumns {
            text: text_column,
            pair: None,
            label: None,
        };
        let rows = columns.rows(columns.read(path)?, &Target::Span, MinusOne::Ordinary)?;
        return Ok(rows.into_iter().map(|row| row.text).collect());
    }
    let bytes = std::fs::read(path).map_err(|reason| DataError::Read {
        path: path.to_owned(),
        reason,
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..valid];
        DataError::NotUtf8 {
            path: path.to_owned(),
            row: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
        }
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut documents = vec![String::new()];
    for line in text.lines() {
        match (line.trim().is_empty(), documents.last_mut()) {
            (true, Some(last)) if last.is_empty() => {}
            (false, Some(last)) => {
                last.push_str(line);
                last.push('\n');
            }
            _ => documents.push(String::new()),
        }
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        folder
    }

    #[test]
    fn blank_lines_and_rows_part_documents_and_folders_are_read_in_order() {
        let folder = folder(&[
            ("b.txt", b"one\ntwo\n\n \nthree\n"),
            ("a/rows.tsv", b"text\tlabel\nfour\t1\n \t0\n"),
            ("notes.md", b"not read"),
        ]);
        let texts = |path: &str| read_documents(&folder.path().join(path), "text").unwrap();
        assert_eq!(texts("b.txt"), ["one\ntwo\n", "three\n"]);
        assert_eq!(texts(""), ["four", "one\ntwo\n", "three\n"]);
        assert_eq!(texts("notes.md"), ["not read\n"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = folder(&[
            ("blank.txt", b" \n\n"),
            ("bytes.txt", b"good\n\xff\n"),
            ("rows.csv", b"body\nx\n"),
            ("empty/notes.md", b"x"),
        ]);
        for (path, message) in [
            ("blank.txt", "holds no text"),
            ("bytes.txt", "row 2"),
            ("rows.csv", "no column \"text\""),
            ("empty", "holds no text"),
            ("nowhere.txt", "could not be read"),
        ] {
            let error = read_documents(&folder.path().join(path), "text").unwrap_err();
            let error = error.to_string();
            assert!(error.contains(message) && error.contains(path), "{error}");
        }
    }
}
