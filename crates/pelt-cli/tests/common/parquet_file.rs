//! Parquet files with texts and integer labels.

use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// Writes `rows` of two texts and a label under these column names.
pub fn write(path: &Path, columns: [&str; 3], rows: &[(&str, &str, i64)]) {
    let [first, second, label] = columns;
    let schema = format!(
        "message rows {{ required binary {first} (STRING); required binary {second} (STRING); required int64 {label}; }}"
    );
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let texts = [0, 1].map(|text| {
        rows.iter()
            .map(move |row| if text == 0 { row.0 } else { row.1 })
    });
    for texts in texts {
        let texts: Vec<ByteArray> = texts.map(ByteArray::from).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(&texts, None, None)
            .unwrap();
        column.close().unwrap();
    }
    let labels: Vec<i64> = rows.iter().map(|row| row.2).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<Int64Type>()
        .write_batch(&labels, None, None)
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}
