//! PyTorch checkpoints: equal to safetensors files of the same tensors, and harmless when malformed.

// The helpers of a test may unwrap as the tests do; the lint knows only the tests themselves.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Cursor, Write};
use std::path::PathBuf;

use pelt_tensors::{HostTensor, TensorFiles, write_pytorch};
use proptest::prelude::*;
use tempfile::TempDir;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use common::fixture;

fn written(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn refusal(bytes: &[u8]) -> String {
    let (_folder, path) = written(bytes);
    let message = TensorFiles::open(&path).unwrap_err().to_string();
    assert!(
        message.starts_with(&format!(
            "{} is not a usable tensor file: expected ",
            path.display()
        )),
        "{message}"
    );
    assert!(message.len() < 1500 && !message.contains('\n'), "{message}");
    message
}

/// One tensor of a hand-made checkpoint, whose storage has the key "0".
struct View {
    name: &'static str,
    storage_type: &'static str,
    storage_elements: i64,
    offset: i64,
    shape: &'static [i64],
    stride: &'static [i64],
}

fn text(out: &mut Vec<u8>, value: &str) {
    out.push(b'X');
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value.as_bytes());
}

fn integer(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(b"\x8a\x08");
    out.extend_from_slice(&value.to_le_bytes());
}

fn tuple(out: &mut Vec<u8>, values: &[i64]) {
    out.push(b'(');
    for value in values {
        integer(out, *value);
    }
    out.push(b't');
}

/// The pickle that `torch.save` writes for a dictionary of these tensors.
fn pickle(views: &[View]) -> Vec<u8> {
    let mut out = b"\x80\x02}(".to_vec();
    for view in views {
        text(&mut out, view.name);
        out.extend_from_slice(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend_from_slice(format!("ctorch\n{}\n", view.storage_type).as_bytes());
        text(&mut out, "0");
        text(&mut out, "cpu");
        integer(&mut out, view.storage_elements);
        out.extend_from_slice(b"tQ");
        integer(&mut out, view.offset);
        tuple(&mut out, view.shape);
        tuple(&mut out, view.stride);
        out.extend_from_slice(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    out.extend_from_slice(b"u.");
    out
}

fn archive_of(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(
            *name,
            SimpleFileOptions::default().compression_method(method),
        )
        .unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn checkpoint(views: &[View], storage: &[u8]) -> Vec<u8> {
    let entries: [(&str, &[u8]); 4] = [
        ("archive/data.pkl", &pickle(views)),
        ("archive/byteorder", b"little"),
        ("archive/data/0", storage),
        ("archive/version", b"3\n"),
    ];
    archive_of(&entries, CompressionMethod::Stored)
}

fn legacy_checkpoint(views: &[View], elements: i64, storage: &[u8]) -> Vec<u8> {
    legacy_of(&pickle(views), elements, storage)
}

fn legacy_of(pickle: &[u8], elements: i64, storage: &[u8]) -> Vec<u8> {
    let mut out = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}".to_vec();
    text(&mut out, "little_endian");
    out.extend_from_slice(b"\x88s.");
    out.extend_from_slice(pickle);
    out.extend_from_slice(b"\x80\x02]");
    text(&mut out, "0");
    out.extend_from_slice(b"a.");
    out.extend_from_slice(&elements.to_le_bytes());
    out.extend_from_slice(storage);
    out
}

fn float_view(
    name: &'static str,
    offset: i64,
    shape: &'static [i64],
    stride: &'static [i64],
) -> View {
    View {
        name,
        storage_type: "FloatStorage",
        storage_elements: 6,
        offset,
        shape,
        stride,
    }
}

/// Tensors of every layout over one storage of the numbers 0 to 5.
fn views_of_six() -> Vec<View> {
    vec![
        float_view("whole", 0, &[2, 3], &[3, 1]),
        float_view("tied", 0, &[2, 3], &[3, 1]),
        float_view("transposed", 0, &[3, 2], &[1, 3]),
        float_view("tail", 4, &[2], &[1]),
        float_view("every_other", 1, &[3], &[2]),
        float_view("repeated", 5, &[2, 2], &[0, 0]),
        float_view("scalar", 3, &[], &[]),
    ]
}

fn six() -> Vec<u8> {
    (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect()
}

fn assert_views_of_six(bytes: &[u8]) {
    let (_folder, path) = written(bytes);
    let files = TensorFiles::open(&path).unwrap();
    let values = |name: &str| files.read(name).unwrap().values;
    assert_eq!(files.shape("transposed"), Some(&[3, 2][..]));
    assert_eq!(values("whole"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(values("tied"), values("whole"));
    assert_eq!(values("transposed"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(values("tail"), [4.0, 5.0]);
    assert_eq!(values("every_other"), [1.0, 3.0, 5.0]);
    assert_eq!(values("repeated"), [5.0; 4]);
    assert_eq!(values("scalar"), [3.0]);
    assert_eq!(files.names().count(), 7);
}

#[test]
fn checkpoints_equal_the_safetensors_files_beside_them() {
    let pairs = [
        (
            "bert_cls_lora",
            "pytorch_adapter.bin",
            "adapter.safetensors",
        ),
        (
            "bert_cls_seq_bn",
            "pytorch_adapter.bin",
            "adapter.safetensors",
        ),
        (
            "bert_cls_seq_bn",
            "pytorch_model_head.bin",
            "model_head.safetensors",
        ),
        (
            "bert_cls_unipelt_prompt",
            "pytorch_adapter.bin",
            "adapter.safetensors",
        ),
    ];
    for (case, checkpoint, safetensors) in pairs {
        let folder = fixture("cases/adapters").join(case).join("adapter");
        let checkpoint = TensorFiles::open(&folder.join(checkpoint))
            .unwrap()
            .read_all()
            .unwrap();
        let expected = TensorFiles::open(&folder.join(safetensors))
            .unwrap()
            .read_all()
            .unwrap();
        assert!(!expected.is_empty());
        for (name, tensor) in &expected {
            assert_eq!(checkpoint.get(name), Some(tensor), "{case}: {name}");
        }
        // The checkpoint lists prefix tensors again for every layer, on the same storage; the other format cannot.
        for (name, tensor) in &checkpoint {
            let shared = name.rsplit_once(".prefix_tuning.pool.prefix_tunings.");
            let original = match shared {
                Some((_, rest)) => &expected[&format!("bert.prefix_tuning.prefix_tunings.{rest}")],
                None => &expected[name],
            };
            assert_eq!(tensor, original, "{case}: {name}");
        }
    }
}

#[test]
fn the_layer_copies_of_a_prefix_are_read() {
    let folder = fixture("cases/adapters/bert_cls_unipelt_prompt/adapter");
    let files = TensorFiles::open_folder(&folder, &["missing"]).unwrap_err();
    assert!(files.to_string().contains("missing.safetensors"));
    let files = TensorFiles::open(&folder.join("pytorch_adapter.bin")).unwrap();
    assert!(
        files
            .names()
            .any(|name| name.contains("encoder.layer.1.attention.self.prefix_tuning.pool."))
    );
    assert!(files.metadata().is_empty());
    assert_eq!(files.sha256().unwrap().len(), 64);
}

#[test]
fn every_view_of_a_storage_is_read_in_row_major_order() {
    assert_views_of_six(&checkpoint(&views_of_six(), &six()));
}

#[test]
fn the_format_of_older_versions_is_read() {
    assert_views_of_six(&legacy_checkpoint(&views_of_six(), 6, &six()));
}

#[test]
fn half_precision_and_integers_are_read() {
    let bytes: Vec<u8> = [1.5f32, -2.0]
        .iter()
        .flat_map(|v| half::f16::from_f32(*v).to_le_bytes())
        .collect();
    let halves = View {
        name: "h",
        storage_type: "HalfStorage",
        storage_elements: 2,
        offset: 0,
        shape: &[2],
        stride: &[1],
    };
    let (_folder, path) = written(&checkpoint(&[halves], &bytes));
    assert_eq!(
        TensorFiles::open(&path).unwrap().read("h").unwrap().values,
        [1.5, -2.0]
    );

    let longs = View {
        name: "i",
        storage_type: "LongStorage",
        storage_elements: 2,
        offset: 0,
        shape: &[1, 2],
        stride: &[2, 1],
    };
    let bytes: Vec<u8> = [-1i64, 511].iter().flat_map(|v| v.to_le_bytes()).collect();
    let (_folder, path) = written(&checkpoint(&[longs], &bytes));
    let files = TensorFiles::open(&path).unwrap();
    assert_eq!(files.read_int("i").unwrap().values, [-1, 511]);
    assert!(files.read("i").is_err());
    assert!(files.read_all().unwrap().is_empty());
}

#[test]
fn views_beyond_their_storage_or_all_proportion_are_refused() {
    for view in [
        float_view("x", 0, &[7], &[1]),
        float_view("x", 4, &[3], &[1]),
        float_view("x", -1, &[2], &[1]),
        float_view("x", 0, &[2, 2], &[1]),
        float_view("x", 0, &[i64::MAX, i64::MAX], &[0, 0]),
        float_view("x", i64::MAX, &[2], &[i64::MAX]),
    ] {
        refusal(&checkpoint(&[view], &six()));
    }
    // A view may repeat elements without bound: this one would take 4 GB out of a file of a few hundred bytes.
    let message = refusal(&checkpoint(
        &[float_view("bomb", 0, &[1_000_000_000], &[0])],
        &six(),
    ));
    assert!(
        message.contains("found tensor \"bomb\" of shape [1000000000]"),
        "{message}"
    );
    let many = |name| float_view(name, 0, &[8_000_000], &[0]);
    let message = refusal(&checkpoint(&[many("a"), many("b"), many("c")], &six()));
    assert!(
        message.contains("expected tensors in proportion to the"),
        "{message}"
    );
}

#[test]
fn a_storage_shorter_than_declared_is_an_error_when_it_is_read() {
    let (_folder, path) = written(&checkpoint(
        &[float_view("x", 0, &[2, 3], &[3, 1])],
        &six()[..20],
    ));
    let message = TensorFiles::open(&path)
        .unwrap()
        .read("x")
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("expected the bytes of tensor \"x\", found"),
        "{message}"
    );
    refusal(&legacy_checkpoint(
        &[float_view("x", 0, &[2, 3], &[3, 1])],
        6,
        &six()[..20],
    ));
}

#[test]
fn a_damaged_storage_is_noticed_by_its_checksum() {
    let mut bytes = checkpoint(&[float_view("x", 0, &[6], &[1])], &six());
    let storage = six();
    let position = bytes
        .windows(storage.len())
        .position(|window| window == storage)
        .unwrap();
    bytes[position + 5] ^= 1;
    let (_folder, path) = written(&bytes);
    assert!(
        TensorFiles::open(&path)
            .unwrap()
            .read("x")
            .unwrap_err()
            .to_string()
            .contains("checksum")
    );
}

#[test]
fn compressed_bombs_are_refused_before_they_are_unpacked() {
    let zeros = vec![0u8; 80 << 20];
    let bomb: [(&str, &[u8]); 2] = [
        (
            "archive/data.pkl",
            &pickle(&[float_view("x", 0, &[6], &[1])]),
        ),
        ("archive/data/0", &zeros),
    ];
    let message = refusal(&archive_of(&bomb, CompressionMethod::Deflated));
    assert!(
        message.contains(
            "in archive entry \"archive/data/0\", found an entry that claims 83886080 bytes"
        ),
        "{message}"
    );
    let bomb: [(&str, &[u8]); 1] = [("archive/data.pkl", &zeros[..5 << 20])];
    let message = refusal(&archive_of(&bomb, CompressionMethod::Deflated));
    assert!(
        message.contains("at most 4194304 bytes in archive entry"),
        "{message}"
    );
}

#[test]
fn compressed_storages_and_second_descriptions_are_refused() {
    let description = pickle(&[float_view("x", 0, &[6], &[1])]);
    let entries: [(&str, &[u8]); 2] = [("a/data.pkl", &description), ("a/data/0", &six())];
    let message = refusal(&archive_of(&entries, CompressionMethod::Deflated));
    assert!(
        message.ends_with("expected archive entry \"a/data/0\" as it is, found a compressed one"),
        "{message}"
    );
    let entries: [(&str, &[u8]); 2] = [("a/data.pkl", &description), ("data.pkl", &description)];
    let message = refusal(&archive_of(&entries, CompressionMethod::Stored));
    assert!(message.contains("another one"), "{message}");
}

#[test]
fn a_tar_archive_that_begins_like_a_checkpoint_is_refused() {
    let mut bytes = legacy_checkpoint(&views_of_six(), 6, &six());
    bytes[257..262].copy_from_slice(b"ustar");
    let message = refusal(&bytes);
    assert!(message.contains("found a tar archive"), "{message}");
}

#[test]
fn a_description_whose_values_multiply_is_refused() {
    // A class with a long name, copied again and again.
    let mut bomb = b"\x80\x02c".to_vec();
    bomb.resize(1 << 20, b'x');
    bomb.extend_from_slice(b"\nname\n");
    bomb.resize(bomb.len() + 200, b'2');
    bomb.push(b'.');
    let zipped = archive_of(&[("a/data.pkl", &bomb)], CompressionMethod::Stored);
    for bytes in [zipped, legacy_of(&bomb, 6, &six())] {
        let message = refusal(&bytes);
        assert!(message.contains("out of all proportion"), "{message}");
    }
}

#[test]
fn a_tensor_of_many_extents_is_refused() {
    let eight = float_view("x", 0, &[1; 8], &[0; 8]);
    let (_folder, path) = written(&checkpoint(&[eight], &six()));
    assert!(TensorFiles::open(&path).is_ok());
    let message = refusal(&checkpoint(&[float_view("x", 0, &[1; 9], &[0; 9])], &six()));
    assert!(message.contains("at most 8 extents"), "{message}");
}

#[test]
fn a_pickle_is_never_executed() {
    // os.system('...'), the usual attack: it is kept as an object nobody calls, so there is just no tensor.
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("executed");
    let mut attack = b"\x80\x02}".to_vec();
    text(&mut attack, "x");
    attack.extend_from_slice(b"cos\nsystem\n(");
    text(&mut attack, &format!("touch {}", trace.display()));
    attack.extend_from_slice(b"tRs.");
    let path = folder.path().join("pytorch_model.bin");
    std::fs::write(
        &path,
        archive_of(&[("archive/data.pkl", &attack)], CompressionMethod::Stored),
    )
    .unwrap();
    assert_eq!(TensorFiles::open(&path).unwrap().names().count(), 0);
    assert!(!trace.exists());
}

#[test]
fn other_content_is_refused() {
    refusal(b"");
    refusal(b"PK\x03\x04");
    let message = refusal(b"\x80\x02}q\x00.");
    assert!(
        message.contains("found neither at the start of the file"),
        "{message}"
    );
    refusal(b"\x02\0\0\0\0\0\0\0{}");
    refusal(&archive_of(
        &[("archive/readme", b"hello")],
        CompressionMethod::Stored,
    ));
    let big_endian: [(&str, &[u8]); 2] = [("a/data.pkl", &pickle(&[])), ("a/byteorder", b"big")];
    refusal(&archive_of(&big_endian, CompressionMethod::Stored));
    refusal(&archive_of(
        &[("a/data.pkl", &[b']'; 3000])],
        CompressionMethod::Stored,
    ));
}

/// Opens the bytes and reads everything they hold. The result does not matter, only that there is one.
fn read_everything(bytes: &[u8]) {
    let (_folder, path) = written(bytes);
    if let Ok(files) = TensorFiles::open(&path) {
        for tensor in files.names() {
            let shape = files.shape(tensor).unwrap().to_vec();
            if let Ok(floats) = files.read(tensor) {
                assert_eq!(floats.shape, shape);
            }
        }
    }
}

#[test]
fn what_is_written_is_read_back_and_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = |shape: &[usize]| {
        let count = shape.iter().product::<usize>();
        let values = (0..count).map(|i| i as f32 - 0.5).collect();
        HostTensor::new(shape.to_vec(), values).unwrap()
    };
    let tensors = std::collections::BTreeMap::from([
        ("a.weight".to_string(), tensor(&[2, 3, 5])),
        ("b \u{fc}".to_string(), tensor(&[])),
        ("c".to_string(), tensor(&[7])),
    ]);
    let [one, other] = ["one.bin", "other.bin"].map(|name| folder.path().join(name));
    write_pytorch(&one, &tensors).unwrap();
    write_pytorch(&other, &tensors).unwrap();
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&other).unwrap());
    let files = TensorFiles::open(&one).unwrap();
    assert_eq!(files.read_all().unwrap(), tensors);
    // Storages can be mapped where they lie.
    let mut archive = zip::ZipArchive::new(std::fs::File::open(&one).unwrap()).unwrap();
    for number in 0..3 {
        let entry = archive.by_name(&format!("archive/data/{number}")).unwrap();
        assert_eq!(entry.data_start().unwrap() % 64, 0);
    }
}

#[test]
fn a_tensor_that_does_not_fill_its_shape_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bin");
    let tensor = HostTensor {
        shape: vec![2],
        values: vec![1.0],
    };
    let tensors = std::collections::BTreeMap::from([("a".to_string(), tensor)]);
    assert!(write_pytorch(&path, &tensors).is_err());
    assert!(!path.exists());
}

proptest! {
    #[test]
    fn flipped_bytes_never_panic(
        older in any::<bool>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
    ) {
        let mut bytes = match older {
            true => legacy_checkpoint(&views_of_six(), 6, &six()),
            false => checkpoint(&views_of_six(), &six()),
        };
        for (index, mask) in flips {
            let position = index.index(bytes.len());
            bytes[position] ^= mask;
        }
        read_everything(&bytes);
    }

    #[test]
    fn a_flipped_pickle_never_panics(flips in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..6)) {
        // Inside a valid archive, so that the damage is not caught by the archive's own checks.
        let mut damaged = pickle(&views_of_six());
        for (index, mask) in flips {
            let position = index.index(damaged.len());
            damaged[position] ^= mask;
        }
        let entries: [(&str, &[u8]); 2] = [("archive/data.pkl", &damaged), ("archive/data/0", &six())];
        read_everything(&archive_of(&entries, CompressionMethod::Stored));
    }

    #[test]
    fn truncated_files_are_refused(index in any::<prop::sample::Index>()) {
        let bytes = std::fs::read(fixture("cases/adapters/bert_cls_seq_bn/adapter/pytorch_adapter.bin")).unwrap();
        refusal(&bytes[..index.index(bytes.len())]);
    }
}
