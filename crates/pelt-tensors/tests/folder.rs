//! Finding the tensors of a folder, sharded sets included.

// The helpers of a test may unwrap as the tests do; the lint knows only the tests themselves.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use pelt_tensors::{HostTensor, TensorError, TensorFiles, write_safetensors};
use sha2::{Digest, Sha256};

use common::fixture;

fn write(path: &Path, tensors: &[(&str, f32)]) {
    let tensors = tensors
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                HostTensor::new(vec![1], vec![*value]).unwrap(),
            )
        })
        .collect();
    let shard = path.file_name().unwrap().to_str().unwrap().to_string();
    let metadata = BTreeMap::from([
        ("format".to_string(), "pt".to_string()),
        (shard, "here".to_string()),
    ]);
    write_safetensors(path, &tensors, &metadata).unwrap();
}

/// The error of opening a folder whose index has this map, beside shards 1 (tensor `a`) and 2 (tensor `b`).
fn index_refusal(weight_map: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("1.safetensors"), &[("a", 1.0)]);
    write(&folder.path().join("2.safetensors"), &[("b", 2.0)]);
    std::fs::write(
        folder.path().join("model.safetensors.index.json"),
        weight_map,
    )
    .unwrap();
    TensorFiles::open_folder(folder.path(), &["model"])
        .unwrap_err()
        .to_string()
}

#[test]
fn a_sharded_set_is_read_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("model-00001-of-00002.safetensors");
    let second = folder.path().join("model-00002-of-00002.safetensors");
    write(&first, &[("a", 1.0), ("c", 3.0)]);
    write(&second, &[("b", 2.0)]);
    let index = folder.path().join("model.safetensors.index.json");
    let map = r#"{"metadata":{"total_size":12},"weight_map":{"b":"model-00002-of-00002.safetensors",
        "a":"model-00001-of-00002.safetensors","c":"model-00001-of-00002.safetensors"}}"#;
    std::fs::write(&index, map).unwrap();

    let files = TensorFiles::open_folder(folder.path(), &["model"]).unwrap();
    assert_eq!(files.path(), index);
    assert_eq!(files.names().collect::<Vec<_>>(), ["a", "b", "c"]);
    let values: Vec<f32> = files
        .read_all()
        .unwrap()
        .values()
        .flat_map(|tensor| tensor.values.clone())
        .collect();
    assert_eq!(values, [1.0, 2.0, 3.0]);
    assert_eq!(files.metadata().len(), 3);
    let mut digest = Sha256::new();
    digest.update(std::fs::read(first).unwrap());
    digest.update(std::fs::read(second).unwrap());
    assert_eq!(files.sha256().unwrap(), format!("{:x}", digest.finalize()));
}

#[test]
fn an_index_must_agree_with_its_shards() {
    let cases = [
        (
            r#"{"weight_map":{"a":"../1.safetensors"}}"#,
            r#"expected plain file names in "weight_map", found "../1.safetensors""#,
        ),
        (
            r#"{"weight_map":{"a":"/etc/passwd"}}"#,
            "expected plain file names",
        ),
        (r#"{"weight_map":{"a":".."}}"#, "expected plain file names"),
        (
            r#"{"weight_map":{}}"#,
            r#"expected at least one tensor in "weight_map", found none"#,
        ),
        (
            r#"{"weight_map":["a"]}"#,
            r#"expected JSON with a "weight_map", found"#,
        ),
        ("{", r#"expected JSON with a "weight_map", found"#),
        (
            r#"{"weight_map":{"a":"2.safetensors","b":"1.safetensors"}}"#,
            r#"expected tensor "a" in "2.safetensors", found it in "1.safetensors""#,
        ),
        (
            r#"{"weight_map":{"a":"1.safetensors","z":"2.safetensors"}}"#,
            r#"expected tensor "z" in "2.safetensors", found it in no shard"#,
        ),
        (r#"{"weight_map":{"a":"3.safetensors"}}"#, "cannot open"),
    ];
    for (index, expected) in cases {
        let message = index_refusal(index);
        assert!(message.contains(expected), "{index} gave {message}");
    }
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("1.safetensors"), &[("a", 1.0)]);
    write(
        &folder.path().join("2.safetensors"),
        &[("a", 2.0), ("b", 2.0)],
    );
    let map = r#"{"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#;
    std::fs::write(folder.path().join("model.safetensors.index.json"), map).unwrap();
    let error = TensorFiles::open_folder(folder.path(), &["model"]).unwrap_err();
    assert!(
        matches!(error, TensorError::Duplicate { ref name, .. } if name == "\"a\""),
        "{error}"
    );
}

#[test]
fn the_first_file_that_exists_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let message = TensorFiles::open_folder(folder.path(), &["model"])
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        format!(
            "{} holds no tensor file: expected one of model.safetensors, model.safetensors.index.json, \
             pytorch_model.bin, pytorch_model.bin.index.json, model.bin, model.bin.index.json, found none of them",
            folder.path().display()
        )
    );

    let source = fixture("cases/adapters/bert_cls_seq_bn/adapter");
    let opened = |stems: &[&str]| {
        let files = TensorFiles::open_folder(folder.path(), stems).unwrap();
        files
            .path()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_string()
    };
    std::fs::copy(
        source.join("pytorch_adapter.bin"),
        folder.path().join("adapter.bin"),
    )
    .unwrap();
    assert_eq!(opened(&["model", "adapter"]), "adapter.bin");
    std::fs::copy(
        source.join("pytorch_adapter.bin"),
        folder.path().join("pytorch_adapter.bin"),
    )
    .unwrap();
    assert_eq!(opened(&["model", "adapter"]), "pytorch_adapter.bin");
    std::fs::copy(
        source.join("adapter.safetensors"),
        folder.path().join("adapter.safetensors"),
    )
    .unwrap();
    assert_eq!(opened(&["model", "adapter"]), "adapter.safetensors");
    write(&folder.path().join("model.safetensors"), &[("a", 1.0)]);
    assert_eq!(opened(&["model", "adapter"]), "model.safetensors");
}

#[test]
fn a_sharded_set_of_checkpoints_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let source = fixture("cases/adapters/bert_cls_seq_bn/adapter");
    std::fs::copy(
        source.join("pytorch_adapter.bin"),
        folder.path().join("1.bin"),
    )
    .unwrap();
    std::fs::copy(
        source.join("pytorch_model_head.bin"),
        folder.path().join("2.bin"),
    )
    .unwrap();
    std::fs::write(
        folder.path().join("pytorch_model.bin.index.json"),
        r#"{"weight_map":{"classifier.weight":"2.bin","bert.encoder.layer.0.output.adapters.NAME":"1.bin"}}"#,
    )
    .unwrap();
    // The index has to be right here too: there is no such adapter.
    assert!(TensorFiles::open_folder(folder.path(), &["model"]).is_err());
    let adapter = TensorFiles::open(&folder.path().join("1.bin")).unwrap();
    let mut map: BTreeMap<&str, &str> = adapter.names().map(|name| (name, "1.bin")).collect();
    map.insert("classifier.weight", "2.bin");
    let index = serde_json::json!({ "weight_map": map });
    std::fs::write(
        folder.path().join("pytorch_model.bin.index.json"),
        index.to_string(),
    )
    .unwrap();
    let files = TensorFiles::open_folder(folder.path(), &["model"]).unwrap();
    assert!(files.contains("classifier.weight"));
    assert!(files.names().count() > adapter.names().count());
}
