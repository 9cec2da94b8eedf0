//! Parquet files with flat columns.

use std::fs::File;
use std::path::Path;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::SchemaDescriptor;

use crate::error::{DataError, join_names};
use crate::parquet_checks::{self, Allowance, broken, unreadable};
use crate::regular_file;
use crate::table::Cell;

/// Rows decoded at a time. Nothing is reserved from the row count that the file claims.
const BATCH: usize = 4096;

/// Reads the wanted columns.
pub(crate) fn read(path: &Path, wanted: &[&str]) -> Result<Vec<Vec<Cell>>, DataError> {
    // The parquet crate checks most of what it reads, but asserts some of it, so that a changed byte can make it panic.
    std::panic::catch_unwind(|| read_columns(path, wanted))
        .unwrap_or_else(|_| Err(broken(path, "its content contradicts itself")))
}

fn read_columns(path: &Path, wanted: &[&str]) -> Result<Vec<Vec<Cell>>, DataError> {
    let file = regular_file::open(path)?;
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    if length == 0 {
        return Err(DataError::Empty {
            path: path.to_owned(),
        });
    }
    let (reader, mut allowance) = parquet_checks::reader(path, file)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let positions = positions(path, schema, wanted)?;
    let mut columns = vec![Vec::new(); wanted.len()];
    for (column, &position) in columns.iter_mut().zip(&positions) {
        read_column(path, &reader, position, column, &mut allowance)?;
    }
    if columns
        .iter()
        .any(|column| column.len() != columns[0].len())
    {
        return Err(broken(path, "its columns differ in length"));
    }
    Ok(columns)
}

fn positions(
    path: &Path,
    schema: &SchemaDescriptor,
    wanted: &[&str],
) -> Result<Vec<usize>, DataError> {
    let names: Vec<String> = schema
        .columns()
        .iter()
        .map(|column| column.path().string())
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

fn read_column(
    path: &Path,
    reader: &SerializedFileReader<File>,
    position: usize,
    cells: &mut Vec<Cell>,
    allowance: &mut Allowance,
) -> Result<(), DataError> {
    let descriptor = reader
        .metadata()
        .file_metadata()
        .schema_descr()
        .column(position);
    let wrong_type = |found: &str, row: usize| DataError::WrongType {
        path: path.to_owned(),
        row,
        column: descriptor.name().to_owned(),
        expected: "text, an integer, a number or a boolean",
        found: found.to_owned(),
    };
    if descriptor.max_rep_level() > 0 {
        return Err(wrong_type("a list", 1));
    }
    let full = descriptor.max_def_level();
    for group in 0..reader.num_row_groups() {
        let group = reader
            .get_row_group(group)
            .map_err(|error| unreadable(path, &error))?;
        allowance.check_chunk(group.metadata().column(position))?;
        let column = group
            .get_column_reader(position)
            .map_err(|error| unreadable(path, &error))?;
        match column {
            ColumnReader::BoolColumnReader(column) => {
                read_values(path, column, full, cells, |value, _| {
                    Ok(Cell::Boolean(*value))
                })?;
            }
            ColumnReader::Int32ColumnReader(column) => {
                read_values(path, column, full, cells, |value, _| {
                    Ok(Cell::Integer(i64::from(*value)))
                })?;
            }
            ColumnReader::Int64ColumnReader(column) => {
                read_values(path, column, full, cells, |value, _| {
                    Ok(Cell::Integer(*value))
                })?;
            }
            ColumnReader::FloatColumnReader(column) => {
                read_values(path, column, full, cells, |value, _| {
                    Ok(Cell::Real(f64::from(*value)))
                })?;
            }
            ColumnReader::DoubleColumnReader(column) => {
                read_values(path, column, full, cells, |value, _| Ok(Cell::Real(*value)))?;
            }
            ColumnReader::ByteArrayColumnReader(column) => {
                read_values(path, column, full, cells, |value, row| {
                    let text = std::str::from_utf8(value.data());
                    let text = text.map_err(|_| DataError::NotUtf8 {
                        path: path.to_owned(),
                        row,
                    })?;
                    // Many values can be one entry of a dictionary, of which each becomes a copy.
                    allowance.take(text.len() as u64)?;
                    Ok(Cell::Text(text.to_owned()))
                })?;
            }
            ColumnReader::Int96ColumnReader(_) | ColumnReader::FixedLenByteArrayColumnReader(_) => {
                return Err(wrong_type(
                    "values of a fixed number of bytes",
                    cells.len() + 1,
                ));
            }
        }
    }
    Ok(())
}

/// Appends all values of one column chunk; `full` is the definition level of a value that is there.
fn read_values<T: DataType>(
    path: &Path,
    mut column: ColumnReaderImpl<T>,
    full: i16,
    cells: &mut Vec<Cell>,
    mut convert: impl FnMut(&T::T, usize) -> Result<Cell, DataError>,
) -> Result<(), DataError> {
    let mut values = Vec::new();
    let mut levels = Vec::new();
    loop {
        values.clear();
        levels.clear();
        let (records, _, _) = column
            .read_records(BATCH, Some(&mut levels), None, &mut values)
            .map_err(|error| unreadable(path, &error))?;
        if records == 0 {
            return Ok(());
        }
        let mut present = values.iter();
        for record in 0..records {
            // A required column has no levels: all its values are there.
            let is_present = full == 0 || levels.get(record) == Some(&full);
            let value = if is_present { present.next() } else { None };
            let cell = match value {
                Some(value) => convert(value, cells.len() + 1)?,
                None => Cell::Missing,
            };
            cells.push(cell);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    const SCHEMA: &str = "message rows {
        required binary text (STRING);
        optional int64 label;
        required double score;
    }";

    /// Three rows in two row groups; the second row has no label.
    fn sample(texts: [&[u8]; 3]) -> Vec<u8> {
        let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
        let groups: [(&[usize], &[i64], &[i16]); 2] =
            [(&[0, 1], &[7], &[1, 0]), (&[2], &[9], &[1])];
        for (rows, labels, levels) in groups {
            let mut group = writer.next_row_group().unwrap();
            let values: Vec<ByteArray> =
                rows.iter().map(|&row| texts[row].to_vec().into()).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column
                .typed::<ByteArrayType>()
                .write_batch(&values, None, None)
                .unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column
                .typed::<Int64Type>()
                .write_batch(labels, Some(levels), None)
                .unwrap();
            column.close().unwrap();
            let scores: Vec<f64> = rows.iter().map(|&row| row as f64 + 0.5).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column
                .typed::<DoubleType>()
                .write_batch(&scores, None, None)
                .unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.into_inner().unwrap()
    }

    fn read_bytes(bytes: &[u8], wanted: &[&str]) -> Result<Vec<Vec<Cell>>, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.parquet");
        std::fs::write(&path, bytes).unwrap();
        read(&path, wanted)
    }

    #[test]
    fn columns_of_all_row_groups_are_read() {
        let columns = read_bytes(&sample([b"a", b"b", b"c"]), &["score", "text", "label"]).unwrap();
        assert_eq!(columns[0], [0.5, 1.5, 2.5].map(Cell::Real));
        assert_eq!(
            columns[1],
            ["a", "b", "c"].map(|text| Cell::Text(text.to_owned()))
        );
        assert_eq!(
            columns[2],
            [Cell::Integer(7), Cell::Missing, Cell::Integer(9)]
        );
    }

    #[test]
    fn a_missing_column_lists_those_there() {
        let message = read_bytes(&sample([b"a", b"b", b"c"]), &["sentence"])
            .unwrap_err()
            .to_string();
        assert!(
            message.ends_with("has no column \"sentence\"; its columns are text, label, score"),
            "{message}"
        );
    }

    #[test]
    fn text_that_is_not_utf8_names_the_row() {
        let message = read_bytes(&sample([b"a", b"b", b"\xff"]), &["text"])
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("row 3 of ") && message.ends_with("is not valid UTF-8"),
            "{message}"
        );
    }

    #[test]
    fn a_file_cut_short_anywhere_is_an_error() {
        let bytes = sample([b"a", b"b", b"c"]);
        for length in 1..bytes.len() {
            let result = read_bytes(&bytes[..length], &["text", "label", "score"]);
            assert!(
                matches!(result, Err(DataError::Parquet { .. })),
                "cut after {length} bytes"
            );
        }
        assert!(matches!(
            read_bytes(&[], &["text"]),
            Err(DataError::Empty { .. })
        ));
    }

    #[test]
    fn rows_out_of_proportion_to_the_file_are_refused() {
        // Eight million values that are missing take a few bytes.
        let levels = vec![0; 8_000_000];
        let schema = Arc::new(parse_message_type("message rows { optional int64 n; }").unwrap());
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<Int64Type>()
            .write_batch(&[], Some(&levels), None)
            .unwrap();
        column.close().unwrap();
        group.close().unwrap();
        let bytes = writer.into_inner().unwrap();
        assert!(bytes.len() < 100_000, "{}", bytes.len());
        let message = read_bytes(&bytes, &["n"]).unwrap_err().to_string();
        assert!(message.contains("out of proportion"), "{message}");
    }

    #[test]
    fn the_text_of_each_row_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.parquet");
        std::fs::write(&path, sample([&[b'a'; 2000], b"b", b"c"])).unwrap();
        let read = |bytes| {
            let file = std::fs::File::open(&path).unwrap();
            let (reader, mut allowance) = parquet_checks::reader(&path, file).unwrap();
            allowance.limit(bytes);
            let mut cells = Vec::new();
            read_column(&path, &reader, 0, &mut cells, &mut allowance).map(|()| cells.len())
        };
        // The column's bytes, and its values without their text, count as well.
        assert_eq!(read(1 << 20).unwrap(), 3);
        let message = read(3000).unwrap_err().to_string();
        assert!(message.contains("out of proportion"), "{message}");
    }

    #[test]
    fn no_changed_byte_makes_the_reader_panic() {
        let bytes = sample([b"a", b"b", b"c"]);
        let mut errors = 0;
        for position in 0..bytes.len() {
            for change in [0x01, 0x10, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[position] ^= change;
                errors += usize::from(read_bytes(&changed, &["text", "label", "score"]).is_err());
            }
        }
        assert!(errors > 0);
    }
}
