//! Splits and user files, as they should be and with everything that can be wrong with them.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use pelt_data::{Card, Label, Target, UserFile, UserTask, fingerprint, read_split};

/// Writes a Parquet file with text columns and one label column, integers or else scores.
fn write_parquet(path: &Path, texts: &[(&str, &[&str])], integers: &[i64], scores: &[f32]) {
    let mut schema = String::from("message rows {");
    for (name, _) in texts {
        schema.push_str(&format!("required binary {name} (STRING);"));
    }
    let kind = if scores.is_empty() { "int64" } else { "float" };
    schema.push_str(&format!("required {kind} label; }}"));
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer =
        SerializedFileWriter::new(file, schema, Arc::new(WriterProperties::builder().build()))
            .unwrap();
    let mut group = writer.next_row_group().unwrap();
    for (_, rows) in texts {
        let values: Vec<ByteArray> = rows.iter().map(|row| ByteArray::from(*row)).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(&values, None, None)
            .unwrap();
        column.close().unwrap();
    }
    let mut column = group.next_column().unwrap().unwrap();
    if scores.is_empty() {
        column
            .typed::<Int64Type>()
            .write_batch(integers, None, None)
            .unwrap();
    } else {
        column
            .typed::<FloatType>()
            .write_batch(scores, None, None)
            .unwrap();
    }
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

fn card(name: &str) -> Card {
    Card::builtin(name).unwrap()
}

/// The message of reading a split of `cola` whose file was written by `write`.
fn cola_error(write: impl FnOnce(&Path)) -> String {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("glue/cola/train-00000-of-00001.parquet");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    write(&path);
    let message = read_split(root.path(), &card("cola"), "train")
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("train-00000-of-00001.parquet") && !message.contains('\n'),
        "{message}"
    );
    message
}

#[test]
fn a_split_is_found_from_each_kind_of_root() {
    let root = tempfile::tempdir().unwrap();
    let task = root.path().join("glue/mrpc");
    for (index, (first, second)) in [("a", "b"), ("c", "d")].into_iter().enumerate() {
        write_parquet(
            &task.join(format!("train-0000{index}-of-00002.parquet")),
            &[("sentence1", &[first]), ("sentence2", &[second])],
            &[index as i64],
            &[],
        );
    }
    for place in [root.path(), &root.path().join("glue"), &task] {
        let data = read_split(place, &card("mrpc"), "train").unwrap();
        assert_eq!(data.describe_rows(), "2 of 3,668 rows");
        assert_eq!(data.files.len(), 2);
        assert_eq!(
            (data.rows[1].text.as_str(), data.rows[1].pair.as_deref()),
            ("c", Some("d"))
        );
        assert_eq!(data.rows[1].label, Some(Label::Class(1)));
    }
    // A folder of another task is not read by mistake, though its columns have the same names.
    let message = read_split(&task, &card("rte"), "train")
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("\"rte\" was not found under") && message.contains("glue/rte"),
        "{message}"
    );
}

#[test]
fn a_constructed_split_has_no_published_size() {
    let root = tempfile::tempdir().unwrap();
    let path = root
        .path()
        .join("qnli/train_constructed-00000-of-00001.parquet");
    write_parquet(
        &path,
        &[("question", &["a"]), ("sentence", &["b"])],
        &[0],
        &[],
    );
    let data = read_split(root.path(), &card("qnli"), "train_constructed").unwrap();
    assert_eq!(data.published_rows, None);
    let message = read_split(root.path(), &card("qnli"), "train")
        .unwrap_err()
        .to_string();
    assert!(
        message.ends_with("has no split \"train\"; the splits there are train_constructed"),
        "{message}"
    );
}

#[test]
fn private_labels_are_none_and_scores_are_read() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("ax/test-00000-of-00001.parquet");
    write_parquet(
        &path,
        &[("premise", &["a"]), ("hypothesis", &["b"])],
        &[-1],
        &[],
    );
    let data = read_split(root.path(), &card("ax"), "test").unwrap();
    assert_eq!((data.rows[0].label, data.labelled_rows()), (None, 0));
    let path = root.path().join("stsb/train-00000-of-00001.parquet");
    write_parquet(
        &path,
        &[("sentence1", &["a"]), ("sentence2", &["b"])],
        &[],
        &[3.8],
    );
    let data = read_split(root.path(), &card("stsb"), "train").unwrap();
    assert_eq!(data.rows[0].label, Some(Label::Score(3.8)));
}

#[test]
fn damaged_and_unfitting_parquet_files_are_named() {
    let message = cola_error(|path| write_parquet(path, &[("text", &["a"])], &[0], &[]));
    assert!(
        message.ends_with("has no column \"sentence\"; its columns are text, label"),
        "{message}"
    );
    let message =
        cola_error(|path| write_parquet(path, &[("sentence", &["a", "b"])], &[0, 2], &[]));
    assert!(message.starts_with("row 2 of "), "{message}");
    assert!(
        message.ends_with("has the label 2, expected one of unacceptable, acceptable"),
        "{message}"
    );
    let message = cola_error(|path| write_parquet(path, &[("sentence", &[])], &[], &[]));
    assert!(message.ends_with("holds no rows"), "{message}");
    let message = cola_error(|path| std::fs::write(path, "").unwrap());
    assert!(message.ends_with("holds no rows"), "{message}");
    let message = cola_error(|path| std::fs::write(path, "no Parquet at all").unwrap());
    assert!(
        message.contains("is not a readable Parquet file"),
        "{message}"
    );
    let message = cola_error(|path| std::fs::create_dir(path).unwrap());
    assert!(message.contains("could not be read"), "{message}");
    let message = cola_error(|path| {
        write_parquet(path, &[("sentence", &["a", "b"])], &[0, 1], &[]);
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(
        message.contains("is not a readable Parquet file"),
        "{message}"
    );
}

#[test]
fn scores_must_be_finite_and_in_the_range() {
    for (score, expected) in [
        (f32::NAN, "has the score NaN, expected a finite number"),
        (6.0, "a score from 0 to 5"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("stsb/train-00000-of-00001.parquet");
        write_parquet(
            &path,
            &[("sentence1", &["a"]), ("sentence2", &["b"])],
            &[],
            &[score],
        );
        let message = read_split(root.path(), &card("stsb"), "train")
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("row 1 of ") && message.contains(expected),
            "{message}"
        );
    }
}

fn user_file(path: &Path, task: UserTask) -> UserFile {
    UserFile {
        path: path.to_owned(),
        text_column: "text".to_owned(),
        pair_column: None,
        label_column: Some("label".to_owned()),
        task,
        labels: None,
    }
}

/// Reads a user's file of this name and content.
fn read_user(name: &str, content: &[u8], task: UserTask) -> Result<pelt_data::TextDataset, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    user_file(&path, task)
        .read()
        .map_err(|error| error.to_string())
}

fn labels(target: &Target) -> Vec<&str> {
    match target {
        Target::Classification { labels } => labels.iter().map(String::as_str).collect(),
        Target::Regression { .. } | Target::Span => panic!("no classes"),
    }
}

#[test]
fn the_same_rows_come_from_every_format() {
    let csv = read_user(
        "a.csv",
        b"text,label\n\"x, y\",good\nz,bad\n",
        UserTask::Classification,
    )
    .unwrap();
    let tsv = read_user(
        "a.tsv",
        b"label\ttext\ngood\tx, y\nbad\tz\n",
        UserTask::Classification,
    )
    .unwrap();
    let json =
        b"{\"text\": \"x, y\", \"label\": \"good\"}\n{\"label\": \"bad\", \"text\": \"z\"}\n";
    let json = read_user("a.jsonl", json, UserTask::Classification).unwrap();
    assert_eq!(labels(&csv.target), ["bad", "good"]);
    assert_eq!(csv.rows[0].label, Some(Label::Class(1)));
    assert_eq!(csv.rows, tsv.rows);
    assert_eq!(csv.rows, json.rows);
    assert_eq!(fingerprint(&csv), fingerprint(&json));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.PARQUET");
    write_parquet(&path, &[("text", &["x, y", "z"])], &[10, 9], &[]);
    let parquet = user_file(&path, UserTask::Classification).read().unwrap();
    assert_eq!(labels(&parquet.target), ["9", "10"]);
    assert_eq!(fingerprint(&parquet), fingerprint(&csv));
}

#[test]
fn labels_are_fixed_once_they_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, "text,label\na,good\nb,neutral\n").unwrap();
    let mut file = user_file(&path, UserTask::Classification);
    file.labels = Some(vec!["bad".to_owned(), "good".to_owned()]);
    let message = file.read().unwrap_err().to_string();
    assert!(
        message.ends_with("has the label \"neutral\", expected one of bad, good"),
        "{message}"
    );
    file.labels = Some(vec!["neutral".to_owned(), "good".to_owned()]);
    assert_eq!(file.read().unwrap().rows[0].label, Some(Label::Class(1)));
}

#[test]
fn rows_without_a_label_column_have_no_label() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, "text,other\na,b\n").unwrap();
    let mut file = user_file(&path, UserTask::Classification);
    file.label_column = None;
    file.pair_column = Some("other".to_owned());
    let data = file.read().unwrap();
    assert_eq!(
        (data.rows[0].pair.as_deref(), data.rows[0].label),
        (Some("b"), None)
    );
}

#[test]
fn bad_user_files_are_one_clear_sentence() {
    let cases: [(&str, &[u8], UserTask, &str); 12] = [
        ("a.csv", b"", UserTask::Classification, "holds no rows"),
        (
            "a.csv",
            b"text,label\n",
            UserTask::Classification,
            "holds no rows",
        ),
        (
            "a.jsonl",
            b"\n\n",
            UserTask::Classification,
            "holds no rows",
        ),
        (
            "a.tsv",
            b"sentence\tlabel\na\t1\n",
            UserTask::Classification,
            "no column \"text\"; its columns are sentence, label",
        ),
        (
            "a.jsonl",
            b"{\"text\": \"a\"}",
            UserTask::Classification,
            "no column \"label\"; its columns are text",
        ),
        (
            "a.csv",
            b"text,label\na,0\n\xe9,1\n",
            UserTask::Classification,
            "is not valid UTF-8",
        ),
        (
            "a.csv",
            b"text,label\na,0\nb,\n",
            UserTask::Classification,
            "holds \"\" in the column \"label\"",
        ),
        (
            "a.jsonl",
            b"{\"text\": 5, \"label\": 1}",
            UserTask::Classification,
            "holds 5 in the column \"text\", expected text",
        ),
        (
            "a.csv",
            b"text,label\na,NaN\n",
            UserTask::Regression,
            "has the score NaN, expected a finite number",
        ),
        (
            "a.csv",
            b"text,label\na,1e99\n",
            UserTask::Regression,
            "expected a finite number",
        ),
        (
            "a.csv",
            b"text,label\na,high\n",
            UserTask::Regression,
            "holds \"high\" in the column \"label\", expected a number",
        ),
        (
            "a.txt",
            b"a",
            UserTask::Regression,
            "has no known extension",
        ),
    ];
    for (name, content, task, expected) in cases {
        let message = read_user(name, content, task).unwrap_err();
        assert!(message.contains(expected), "{message}");
        assert!(
            message.contains(name) && !message.contains('\n'),
            "{message}"
        );
    }
    let missing = user_file(Path::new("no/such/file.csv"), UserTask::Regression)
        .read()
        .unwrap_err()
        .to_string();
    assert!(
        missing.starts_with("no/such/file.csv could not be read"),
        "{missing}"
    );
}
