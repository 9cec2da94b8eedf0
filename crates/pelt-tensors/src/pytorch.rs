//! Guards around `pytorch-reader`, which parses PyTorch checkpoints without executing their pickles.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use pytorch_reader::{PytorchReader, Tensor};
use zip::{CompressionMethod, ZipArchive, ZipReadOptions};

use crate::TensorError;
use crate::error::{clipped, quoted};
use crate::pickle_weight::check_pickles;

/// How `torch.save` has begun its files since version 1.6: a zip archive.
pub(crate) const ZIP_START: &[u8] = b"PK\x03\x04";

/// How it began them before: a pickle of a magic number.
pub(crate) const LEGACY_START: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// How many pickles the older format begins with: magic number, version, system, tensors and keys of storages.
const LEGACY_PICKLES: usize = 5;

/// Where a tar archive says that it is one, and how. `pytorch-reader` looks there before it looks for [`LEGACY_START`].
const TAR_MAGIC: (usize, &[u8]) = (257, b"ustar");

/// As much of the start of a file as decides what it is.
pub(crate) const START_LENGTH: u64 = (TAR_MAGIC.0 + TAR_MAGIC.1.len()) as u64;

/// The largest description of tensors that is read, in bytes. A tensor takes about 150 of them, and parsing may
/// take a hundred times the description's size in memory.
const LARGEST_PICKLE: u64 = 4 * 1024 * 1024;

/// The most tensors of one file, and the most extents of one tensor.
const MOST_TENSORS: usize = 100_000;
const MOST_EXTENTS: usize = 8;

/// What a tensor, or an entry of an archive, may take beyond the length of the file: a view can repeat the elements it
/// has, and an archive can be compressed, so neither is bounded by the file alone.
const ALLOWANCE: u64 = 64 * 1024 * 1024;

/// How many times the file's length all tensors together may take. Prefix tensors are stored once and listed again for
/// every layer, so a well-formed adapter takes its length about as many times as the model has layers.
const LARGEST_REPETITION: u64 = 128;

/// Opens a checkpoint of `file_length` bytes that begins with `start`, and returns its tensors, unread.
pub(crate) fn open_pytorch(
    path: &Path,
    start: &[u8],
    file_length: u64,
) -> Result<Vec<Tensor>, TensorError> {
    if start.starts_with(ZIP_START) {
        guarded(path, || check_archive(path, file_length))??;
    } else if start.starts_with(LEGACY_START) {
        check_legacy(path, start)?;
    } else {
        return Err(TensorError::malformed(
            path,
            "a PyTorch checkpoint (a zip archive, or the pickle stream of older versions)",
            "neither at the start of the file",
        ));
    }
    let reader = guarded(path, || PytorchReader::new(path))?.map_err(|e| reader_error(path, &e))?;
    let tensors: Vec<Tensor> = reader.into_tensors().into_values().collect();
    check_sizes(path, &tensors, file_length)?;
    Ok(tensors)
}

/// Reads the bytes of one tensor: contiguous, row-major and little-endian, whatever view of its storage it is.
pub(crate) fn read_pytorch(path: &Path, tensor: &Tensor) -> Result<Vec<u8>, TensorError> {
    let mut bytes = guarded(path, || tensor.read())?.map_err(|e| match e.kind() {
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => TensorError::malformed(
            path,
            format!("the bytes of tensor {}", quoted(&tensor.name)),
            clipped(&e.to_string()),
        ),
        _ => TensorError::io(path, "read a tensor of", e),
    })?;
    if bytes.len() != tensor.byte_len() {
        return Err(TensorError::malformed(
            path,
            format!(
                "{} bytes for tensor {}",
                tensor.byte_len(),
                quoted(&tensor.name)
            ),
            format!("{} bytes", bytes.len()),
        ));
    }
    if cfg!(target_endian = "big") {
        for element in bytes.chunks_exact_mut(tensor.dtype().size()) {
            element.reverse();
        }
    }
    Ok(bytes)
}

/// Checks what a file of the older format describes, before anything of it is built.
fn check_legacy(path: &Path, start: &[u8]) -> Result<(), TensorError> {
    let (place, magic) = TAR_MAGIC;
    if start.get(place..place + magic.len()) == Some(magic) {
        return Err(TensorError::malformed(
            path,
            "the pickle stream of a PyTorch checkpoint",
            "a tar archive that begins like one",
        ));
    }
    let mut pickles = Vec::new();
    File::open(path)
        .map_err(|e| TensorError::io(path, "open", e))?
        .take(LARGEST_PICKLE)
        .read_to_end(&mut pickles)
        .map_err(|e| TensorError::io(path, "read", e))?;
    check_pickles(&pickles, LEGACY_PICKLES).map_err(|found| {
        let expected = format!("a description of tensors in the first {LARGEST_PICKLE} bytes");
        TensorError::malformed(path, expected, found)
    })
}

/// Checks what an archive declares before anything of it is unpacked, and its description before that is built.
fn check_archive(path: &Path, file_length: u64) -> Result<(), TensorError> {
    let archive_error = |e: zip::result::ZipError| {
        TensorError::malformed(path, "a zip archive", clipped(&e.to_string()))
    };
    let file = File::open(path).map_err(|e| TensorError::io(path, "open", e))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(archive_error)?;
    let mut description = None;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(archive_error)?;
        let name = quoted(&String::from_utf8_lossy(entry.name_raw()));
        let is_description = is_description(entry.name_raw());
        let largest = if is_description {
            LARGEST_PICKLE
        } else {
            file_length.saturating_add(ALLOWANCE)
        };
        if entry.size() > largest {
            return Err(TensorError::malformed(
                path,
                format!("at most {largest} bytes in archive entry {name}"),
                format!("an entry that claims {} bytes", entry.size()),
            ));
        }
        // Of a compressed storage, each tensor unpacks again all that comes before it.
        let is_storage = !is_description && contains(entry.name_raw(), b"data/");
        if is_storage && entry.compression() != CompressionMethod::Stored {
            return Err(TensorError::malformed(
                path,
                format!("archive entry {name} as it is"),
                "a compressed one",
            ));
        }
        if is_description && description.replace(index).is_some() {
            return Err(TensorError::malformed(
                path,
                "one description of tensors in the archive",
                format!("another one, {name}"),
            ));
        }
    }
    let Some(description) = description else {
        return Err(TensorError::malformed(
            path,
            "an archive with a description of tensors (data.pkl)",
            "none",
        ));
    };
    // A checksum of zero stands for none; `pytorch-reader` checks the others.
    let options = ZipReadOptions::new().ignore_crc32(true);
    let entry = archive
        .by_index_with_options(description, options)
        .map_err(archive_error)?;
    let mut pickle = Vec::new();
    entry
        .take(LARGEST_PICKLE)
        .read_to_end(&mut pickle)
        .map_err(|e| TensorError::malformed(path, "a zip archive", clipped(&e.to_string())))?;
    check_pickles(&pickle, 1)
        .map_err(|found| TensorError::malformed(path, "a description of tensors", found))
}

/// Whether `pytorch-reader` may take an archive's entry for the description of tensors.
fn is_description(name: &[u8]) -> bool {
    name.strip_suffix(b"data.pkl")
        .is_some_and(|folder| folder.is_empty() || folder.ends_with(b"/"))
}

fn contains(name: &[u8], part: &[u8]) -> bool {
    name.windows(part.len()).any(|window| window == part)
}

/// Checks what the tensors would take in memory. The reader has checked that each lies within its storage, and that no
/// product of a shape overflows.
fn check_sizes(path: &Path, tensors: &[Tensor], file_length: u64) -> Result<(), TensorError> {
    if tensors.len() > MOST_TENSORS {
        return Err(TensorError::malformed(
            path,
            format!("at most {MOST_TENSORS} tensors"),
            tensors.len().to_string(),
        ));
    }
    let largest = file_length.saturating_add(ALLOWANCE);
    let largest_sum = file_length
        .saturating_mul(LARGEST_REPETITION)
        .saturating_add(ALLOWANCE);
    let mut sum: u64 = 0;
    for tensor in tensors {
        if tensor.shape().len() > MOST_EXTENTS {
            return Err(TensorError::malformed(
                path,
                format!(
                    "at most {MOST_EXTENTS} extents of tensor {}",
                    quoted(&tensor.name)
                ),
                tensor.shape().len().to_string(),
            ));
        }
        let length = tensor.byte_len() as u64;
        sum = sum.saturating_add(length);
        if length > largest || sum > largest_sum {
            return Err(TensorError::malformed(
                path,
                format!("tensors in proportion to the {file_length} bytes of the file"),
                format!(
                    "tensor {} of shape {}, which brings them to {sum} bytes",
                    quoted(&tensor.name),
                    clipped(&format!("{:?}", tensor.shape()))
                ),
            ));
        }
    }
    Ok(())
}

/// Runs code of a parsing library on an untrusted file. The libraries return errors for malformed input; should one of
/// them panic on input nobody has thought of, that must not end a program that only wanted to read a file.
fn guarded<T>(path: &Path, parse: impl FnOnce() -> T) -> Result<T, TensorError> {
    catch_unwind(AssertUnwindSafe(parse)).map_err(|_| {
        TensorError::malformed(
            path,
            "a PyTorch checkpoint",
            "content that its parser cannot handle",
        )
    })
}

fn reader_error(path: &Path, error: &pytorch_reader::PytorchError) -> TensorError {
    TensorError::malformed(path, "a PyTorch checkpoint", clipped(&error.to_string()))
}
