//! Training and evaluation of the built program on made-up rows of a known task.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use assert_cmd::Command;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use pelt_testkit::fixture;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with the tiny BERT in `bert`, and 20 training and 6 validation rows of three words in `data/sst2`.
fn scene() -> TempDir {
    let scene = tempfile::tempdir().unwrap();
    let model = scene.path().join("bert");
    std::fs::create_dir_all(&model).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture("models/bert/base").join(file), model.join(file)).unwrap();
    }
    std::fs::copy(
        fixture("tokenizers/wordpiece/vocab.txt"),
        model.join("vocab.txt"),
    )
    .unwrap();
    let data = scene.path().join("data/sst2");
    std::fs::create_dir_all(&data).unwrap();
    write_rows(&data.join("train-00000-of-00001.parquet"), 20);
    write_rows(&data.join("validation-00000-of-00001.parquet"), 6);
    scene
}

fn write_rows(path: &Path, rows: usize) {
    let schema = "message rows { required binary sentence (STRING); required int64 label; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = std::fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let texts = vec![ByteArray::from("a . ,"); rows];
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<ByteArrayType>();
    typed.write_batch(&texts, None, None).unwrap();
    column.close().unwrap();
    let labels: Vec<i64> = (0..rows as i64).map(|row| row % 2).collect();
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<Int64Type>();
    typed.write_batch(&labels, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

fn report(scene: &TempDir, arguments: &str) -> Value {
    let mut command = Command::cargo_bin("pelt-bench").unwrap();
    command.arg("speed").args(arguments.split_whitespace());
    let common = "--model bert --data data --task sst2 --batch 4 --max-length 16";
    let output = command
        .args(common.split_whitespace())
        .current_dir(scene.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_epoch_takes_every_row_once_and_counts_no_prompt_rows() {
    let scene = scene();
    for (method, steps, sequences) in [("lora", "", 20), ("prompt", "--steps 3", 12)] {
        let report = report(&scene, &format!("epoch --method {method} {steps}"));
        assert_eq!(report["sequences"], sequences, "{report}");
        assert_eq!(report["steps"], sequences / 4);
        assert_eq!(report["epoch_steps"], 5);
        // Three words between two special tokens.
        assert_eq!(report["tokens"], 5 * sequences);
        for field in [
            "seconds",
            "sequences_per_s",
            "tokens_per_s",
            "loss_first",
            "loss_last",
            "trainable",
        ] {
            assert!(report[field].as_f64().unwrap() > 0.0, "{field}: {report}");
        }
    }
}

#[test]
fn evaluation_takes_every_validation_row() {
    let report = report(&scene(), "infer --method unipelt-prompt");
    assert_eq!(
        (&report["sequences"], &report["tokens"]),
        (&6.into(), &30.into())
    );
    assert!(report["sequences_per_s"].as_f64().unwrap() > 0.0);
}
