//! Safetensors files: what is written is read again, and what is malformed is refused in one sentence.

// The helpers of a test may unwrap as the tests do; the lint knows only the tests themselves.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use pelt_tensors::{
    HostIntTensor, HostTensor, TensorError, TensorFiles, write_safetensors, write_safetensors_mixed,
};
use proptest::prelude::*;
use tempfile::TempDir;

use common::fixture;

/// A safetensors file of any header, with `data` bytes of zeros after it.
fn safetensors_bytes(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn written(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// The error of opening these bytes, which must be one sentence that begins with the file.
fn refusal(bytes: &[u8]) -> String {
    let (_folder, path) = written("model.safetensors", bytes);
    let message = TensorFiles::open(&path).unwrap_err().to_string();
    let start = format!("{} is not a usable tensor file: expected ", path.display());
    assert!(message.starts_with(&start), "{message}");
    assert!(message.len() < 1500 && !message.contains('\n'), "{message}");
    message[start.len()..].to_string()
}

fn example() -> (
    BTreeMap<String, HostTensor>,
    BTreeMap<String, HostIntTensor>,
    BTreeMap<String, String>,
) {
    let floats = BTreeMap::from([
        (
            "weight".to_string(),
            HostTensor::new(vec![2, 3], vec![1.0, -2.5, 0.0, f32::MIN, 3e-39, 7.0]).unwrap(),
        ),
        (
            "a scalar".to_string(),
            HostTensor::new(vec![], vec![0.25]).unwrap(),
        ),
        (
            "empty".to_string(),
            HostTensor::new(vec![0, 4], vec![]).unwrap(),
        ),
    ]);
    let ints = BTreeMap::from([(
        "step".to_string(),
        HostIntTensor::new(vec![3], vec![i64::MIN, -1, i64::MAX]).unwrap(),
    )]);
    let metadata = BTreeMap::from([
        ("format".to_string(), "pt".to_string()),
        ("note".to_string(), "\"quotes\" and ünïcode".to_string()),
    ]);
    (floats, ints, metadata)
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let (floats, ints, metadata) = example();
    write_safetensors_mixed(&path, &floats, &ints, &metadata).unwrap();

    let files = TensorFiles::open(&path).unwrap();
    assert_eq!(files.path(), path);
    assert_eq!(
        files.names().collect::<Vec<_>>(),
        ["a scalar", "empty", "step", "weight"]
    );
    assert_eq!(files.metadata(), &metadata);
    assert!(files.contains("weight") && !files.contains("Weight"));
    assert_eq!(files.shape("weight"), Some(&[2, 3][..]));
    assert_eq!(files.shape("a scalar"), Some(&[][..]));
    assert_eq!(files.shape("missing"), None);
    assert_eq!(files.read_all().unwrap(), floats);
    assert_eq!(files.read_all_ints().unwrap(), ints);
    assert_eq!(files.read("weight").unwrap(), floats["weight"]);
    assert_eq!(files.read_int("step").unwrap(), ints["step"]);
}

#[test]
fn equal_tensors_give_equal_files_that_the_reference_implementation_reads() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (
        folder.path().join("1.safetensors"),
        folder.path().join("2.safetensors"),
    );
    let (floats, _, mut metadata) = example();
    for key in 0..20 {
        metadata.insert(format!("key {key}"), "value".to_string());
    }
    write_safetensors(&first, &floats, &metadata).unwrap();
    write_safetensors(&second, &floats.clone(), &metadata.clone()).unwrap();
    let bytes = std::fs::read(&first).unwrap();
    assert_eq!(bytes, std::fs::read(&second).unwrap());

    let (header_length, parsed) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header_length % 8, 0);
    assert_eq!(parsed.metadata().as_ref().unwrap().len(), metadata.len());
    let view = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(view.tensor("weight").unwrap().shape(), [2, 3]);
    assert_eq!(
        view.tensor("weight").unwrap().data()[..4],
        1.0f32.to_le_bytes()
    );
}

#[test]
fn a_tensor_larger_than_one_piece_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.safetensors");
    let values: Vec<f32> = (0..700_000).map(|i| i as f32).collect();
    let ints: Vec<i64> = (0..300_000).collect();
    let floats = BTreeMap::from([(
        "x".to_string(),
        HostTensor::new(vec![700, 1000], values).unwrap(),
    )]);
    let ints = BTreeMap::from([(
        "i".to_string(),
        HostIntTensor::new(vec![300_000], ints).unwrap(),
    )]);
    write_safetensors_mixed(&path, &floats, &ints, &BTreeMap::new()).unwrap();
    let files = TensorFiles::open(&path).unwrap();
    assert!(files.read("x").unwrap() == floats["x"]);
    assert!(files.read_int("i").unwrap() == ints["i"]);
    assert!(files.metadata().is_empty());
}

#[test]
fn half_bfloat_and_double_become_f32() {
    let header = r#"{"d":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},
        "h":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[12,16]}}"#;
    let mut bytes = safetensors_bytes(header, 0);
    bytes.extend_from_slice(&0.1f64.to_le_bytes());
    for value in [1.5f32, -0.375] {
        bytes.extend_from_slice(&half::f16::from_f32(value).to_le_bytes());
    }
    for value in [1.5f32, -3e38] {
        bytes.extend_from_slice(&half::bf16::from_f32(value).to_le_bytes());
    }
    let (_folder, path) = written("model.safetensors", &bytes);
    let files = TensorFiles::open(&path).unwrap();
    assert_eq!(files.read("d").unwrap().values, [0.1f32]);
    assert_eq!(files.read("h").unwrap().values, [1.5, -0.375]);
    let b = files.read("b").unwrap();
    assert_eq!(
        (b.shape, b.values),
        (vec![1, 2], vec![1.5, half::bf16::from_f32(-3e38).to_f32()])
    );
    assert_eq!(files.read_all().unwrap().len(), 3);
}

#[test]
fn the_wrong_kind_of_element_is_refused_by_name() {
    let header = r#"{"i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},
        "f":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},"e":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[12,16]}}"#;
    let (_folder, path) = written("model.safetensors", &safetensors_bytes(header, 16));
    let files = TensorFiles::open(&path).unwrap();
    let shown = path.display();
    assert_eq!(
        files.read("i").unwrap_err().to_string(),
        format!("tensor \"i\" in {shown} must hold floats (F32, F16, BF16 or F64), found I64")
    );
    assert_eq!(
        files.read_int("f").unwrap_err().to_string(),
        format!("tensor \"f\" in {shown} must hold integers or booleans, found F32")
    );
    assert_eq!(
        files.read("g").unwrap_err().to_string(),
        format!("{shown} has no tensor named \"g\"")
    );
    assert!(
        matches!(files.read_all(), Err(TensorError::ElementType { found, .. }) if found == "F8_E4M3")
    );
}

#[test]
fn an_integer_that_does_not_fit_is_refused() {
    let header = r#"{"u":{"dtype":"U64","shape":[1],"data_offsets":[0,8]},"b":{"dtype":"BOOL","shape":[2],"data_offsets":[8,10]}}"#;
    let mut bytes = safetensors_bytes(header, 0);
    bytes.extend_from_slice(&[255; 8]);
    bytes.extend_from_slice(&[0, 1]);
    let (_folder, path) = written("model.safetensors", &bytes);
    let files = TensorFiles::open(&path).unwrap();
    assert!(matches!(
        files.read_int("u"),
        Err(TensorError::IntegerTooLarge {
            value: u64::MAX,
            ..
        })
    ));
    assert_eq!(files.read_int("b").unwrap().values, [0, 1]);
}

#[test]
fn the_digest_is_that_of_the_file() {
    let (_folder, path) = written("model.safetensors", &safetensors_bytes("{}", 0));
    let files = TensorFiles::open(&path).unwrap();
    // printf '\2\0\0\0\0\0\0\0{}' | sha256sum
    let expected = "411a485216e432ece6b9af94fa32154cf79a2a56d4f81266baa50063f45092bd";
    assert_eq!(files.sha256().unwrap(), expected);
    assert_eq!(files.sha256().unwrap(), expected);
}

#[test]
fn an_open_file_is_read_as_it_was_checked_after_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let tensors = |value| {
        BTreeMap::from([(
            "x".to_string(),
            HostTensor::new(vec![1], vec![value]).unwrap(),
        )])
    };
    write_safetensors(&path, &tensors(1.0), &BTreeMap::new()).unwrap();
    let files = TensorFiles::open(&path).unwrap();
    write_safetensors(&path, &tensors(2.0), &BTreeMap::new()).unwrap();
    assert_eq!(files.read("x").unwrap().values, [1.0]);
    assert_eq!(
        TensorFiles::open(&path).unwrap().read("x").unwrap().values,
        [2.0]
    );
}

#[test]
fn a_file_that_shrinks_while_open_is_an_error() {
    let bytes = safetensors_bytes(
        r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
        8,
    );
    let (_folder, path) = written("model.safetensors", &bytes);
    let files = TensorFiles::open(&path).unwrap();
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(20)
        .unwrap();
    assert!(
        files
            .read("x")
            .unwrap_err()
            .to_string()
            .contains("became shorter")
    );
}

#[test]
fn truncated_files_are_refused() {
    assert_eq!(
        refusal(b""),
        "at least 8 bytes of safetensors, found 0 bytes"
    );
    assert_eq!(
        refusal(&[1, 2, 3]),
        "at least 8 bytes of safetensors, found 3 bytes"
    );
    let whole = std::fs::read(fixture(
        "cases/adapters/bert_cls_lora/adapter/adapter.safetensors",
    ))
    .unwrap();
    let message = refusal(&whole[..whole.len() - 1]);
    assert!(
        message.contains("bytes of tensors after the header, found"),
        "{message}"
    );
    assert!(refusal(&whole[..500]).contains("found a header that claims"));
    let mut longer = whole;
    longer.push(0);
    assert!(refusal(&longer).contains("bytes of tensors after the header, found"));
}

#[test]
fn a_header_length_beyond_the_file_or_the_limit_is_refused_before_it_is_allocated() {
    let mut bytes = u64::MAX.to_le_bytes().to_vec();
    bytes.extend_from_slice(b"{}");
    assert_eq!(
        refusal(&bytes),
        format!(
            "a safetensors header of at most 2 bytes, found a header that claims {} bytes",
            u64::MAX
        )
    );
    assert!(refusal(&safetensors_bytes("{}", 0)[..9]).contains("of at most 1 bytes"));

    // A sparse file can be long enough for a header above the limit of the format.
    let (_folder, path) = written("model.safetensors", &200_000_000u64.to_le_bytes());
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(300_000_000)
        .unwrap();
    let message = TensorFiles::open(&path).unwrap_err().to_string();
    assert!(
        message.contains("of at most 100000000 bytes, found a header that claims 200000000 bytes"),
        "{message}"
    );
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let cases: &[(&str, usize, &str)] = &[
        ("not json", 0, "a safetensors header, found"),
        (
            "[]",
            0,
            "a safetensors header, found invalid type: sequence",
        ),
        (r#"{"x":7}"#, 0, "a safetensors header, found"),
        (
            r#"{"x":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#,
            4,
            "unknown variant `F31`",
        ),
        (
            r#"{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
            4,
            "found invalid value",
        ),
        (
            r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            4,
            r#"the name "x" twice"#,
        ),
        (
            r#"{"__metadata__":{},"__metadata__":{}}"#,
            0,
            r#"the name "__metadata__" twice"#,
        ),
        (
            r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"y":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
            12,
            r#"tensor "y" to begin at byte 8 of the data, found offsets 4 to 12"#,
        ),
        (
            r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
            8,
            r#"tensor "x" to begin at byte 0 of the data, found offsets 4 to 8"#,
        ),
        (
            r#"{"x":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#,
            8,
            r#"12 bytes for tensor "x" of shape [3] and type F32, found offsets 0 to 8"#,
        ),
        (
            r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"x":{"dtype":"F32","shape":[0],"data_offsets":[4,0]}}"#,
            4,
            r#"0 bytes for tensor "x" of shape [0] and type F32, found offsets 4 to 0"#,
        ),
        (
            r#"{"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#,
            0,
            r#"a whole number of bytes that fits in memory for tensor "x", found shape [4294967296, 4294967296] of F32"#,
        ),
        (
            r#"{"x":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}"#,
            0,
            "found shape [4611686018427387904] of F32",
        ),
        (
            r#"{"x":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}"#,
            1,
            "found shape [3] of F4",
        ),
        (
            r#"{"x":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}}"#,
            1,
            "a whole number of bytes that fits in memory",
        ),
        (
            r#"{"x":{"dtype":"U8","shape":[2305843009213693951],"data_offsets":[0,2305843009213693951]}}"#,
            1,
            "2305843009213693951 bytes of tensors after the header, found 1 bytes",
        ),
        (
            r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            3,
            "4 bytes of tensors after the header, found 3 bytes",
        ),
        (
            r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            9,
            "4 bytes of tensors after the header, found 9 bytes",
        ),
    ];
    for (header, data, expected) in cases {
        let message = refusal(&safetensors_bytes(header, *data));
        assert!(message.contains(expected), "{header}\ngave {message}");
    }
}

#[test]
fn long_and_deep_headers_give_short_errors() {
    let name = "x".repeat(100_000);
    let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}}}"#);
    refusal(&safetensors_bytes(&header, 8));
    let shape = vec!["1"; 50_000].join(",");
    let header = format!(r#"{{"x":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,8]}}}}"#);
    refusal(&safetensors_bytes(&header, 8));
    refusal(&safetensors_bytes(&"{\"a\":".repeat(100_000), 0));
    refusal(&safetensors_bytes(
        &format!("{{\"x\":{}", "[".repeat(100_000)),
        0,
    ));
}

#[test]
fn a_folder_a_missing_file_and_an_unknown_format_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let message = TensorFiles::open(folder.path()).unwrap_err().to_string();
    assert!(
        message.ends_with("expected a file, found a folder"),
        "{message}"
    );
    let missing = folder.path().join("model.safetensors");
    let message = TensorFiles::open(&missing).unwrap_err().to_string();
    assert!(
        message.starts_with(&format!("cannot open {}: ", missing.display())),
        "{message}"
    );
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "no tensors here").unwrap();
    let message = TensorFiles::open(&text).unwrap_err().to_string();
    assert!(
        message.contains("expected safetensors or a PyTorch checkpoint"),
        "{message}"
    );
    let unnamed = folder.path().join("5d7c06");
    std::fs::write(&unnamed, safetensors_bytes("{}", 0)).unwrap();
    assert_eq!(TensorFiles::open(&unnamed).unwrap().names().count(), 0);
}

#[test]
fn tensors_that_no_file_can_hold_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let (floats, ints, metadata) = example();
    let broken = BTreeMap::from([(
        "x".to_string(),
        HostTensor {
            shape: vec![2, 2],
            values: vec![0.0; 3],
        },
    )]);
    let message = write_safetensors(&path, &broken, &metadata)
        .unwrap_err()
        .to_string();
    assert!(
        message.ends_with("expected as many values as its shape [2, 2] says, found 3"),
        "{message}"
    );
    let reserved = BTreeMap::from([("__metadata__".to_string(), floats["weight"].clone())]);
    assert!(matches!(
        write_safetensors(&path, &reserved, &metadata),
        Err(TensorError::Unwritable { .. })
    ));
    let twice = BTreeMap::from([("weight".to_string(), ints["step"].clone())]);
    assert!(matches!(
        write_safetensors_mixed(&path, &floats, &twice, &metadata),
        Err(TensorError::Unwritable { .. })
    ));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Opens the bytes and reads everything they hold. The result does not matter, only that there is one.
fn read_everything(name: &str, bytes: &[u8]) {
    let (_folder, path) = written(name, bytes);
    if let Ok(files) = TensorFiles::open(&path) {
        for tensor in files.names() {
            let shape = files.shape(tensor).unwrap().to_vec();
            if let Ok(floats) = files.read(tensor) {
                assert_eq!(floats.shape, shape);
            }
            if let Ok(ints) = files.read_int(tensor) {
                assert_eq!(ints.shape, shape);
            }
        }
    }
}

fn small_file() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let (floats, ints, metadata) = example();
    write_safetensors_mixed(&path, &floats, &ints, &metadata).unwrap();
    std::fs::read(path).unwrap()
}

proptest! {
    #[test]
    fn flipped_bytes_never_panic(flips in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4)) {
        let mut bytes = small_file();
        for (index, mask) in flips {
            let position = index.index(bytes.len());
            bytes[position] ^= mask;
        }
        read_everything("state.safetensors", &bytes);
    }

    #[test]
    fn replaced_digits_never_panic(index in any::<prop::sample::Index>(), digit in b'0'..=b'9') {
        // Most flips break the JSON; a changed digit leaves it well-formed with other shapes, offsets or lengths.
        let mut bytes = small_file();
        let digits: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i].is_ascii_digit()).collect();
        bytes[digits[index.index(digits.len())]] = digit;
        read_everything("state.safetensors", &bytes);
    }

    #[test]
    fn every_truncation_is_refused(index in any::<prop::sample::Index>()) {
        let bytes = small_file();
        refusal(&bytes[..index.index(bytes.len())]);
    }

    #[test]
    fn any_tensor_survives_a_round_trip(
        rows in 0usize..5,
        values in proptest::collection::vec(any::<f32>().prop_filter("equal to itself", |v| !v.is_nan()), 20),
        name in "[^_]{0,12}",
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let tensor = HostTensor::new(vec![rows, 4], values[..rows * 4].to_vec()).unwrap();
        let tensors = BTreeMap::from([(name, tensor)]);
        write_safetensors(&path, &tensors, &BTreeMap::new()).unwrap();
        prop_assert_eq!(TensorFiles::open(&path).unwrap().read_all().unwrap(), tensors);
    }
}
