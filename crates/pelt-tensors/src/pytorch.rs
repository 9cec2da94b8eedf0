//! Guards around `pytorch-reader`, which parses PyTorch checkpoints without executing their pickles.

use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use pytorch_reader::{PytorchReader, Tensor};
use zip::ZipArchive;

use crate::TensorError;
use crate::error::{clipped, quoted};

/// How `torch.save` has begun its files since version 1.6: a zip archive.
pub(crate) const ZIP_START: &[u8] = b"PK\x03\x04";

/// How it began them before: a pickle of a magic number.
pub(crate) const LEGACY_START: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// The largest description of tensors read from an archive, in bytes. A tensor takes about 150 of them, and parsing may
/// take a hundred times the description's size in memory.
const LARGEST_PICKLE: u64 = 4 * 1024 * 1024;

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
    } else if !start.starts_with(LEGACY_START) {
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

/// Checks what an archive declares before anything of it is unpacked.
fn check_archive(path: &Path, file_length: u64) -> Result<(), TensorError> {
    let archive_error = |e: zip::result::ZipError| {
        TensorError::malformed(path, "a zip archive", clipped(&e.to_string()))
    };
    let file = File::open(path).map_err(|e| TensorError::io(path, "open", e))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(archive_error)?;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(archive_error)?;
        let largest = if entry.name_raw().ends_with(b"data.pkl") {
            LARGEST_PICKLE
        } else {
            file_length.saturating_add(ALLOWANCE)
        };
        if entry.size() > largest {
            return Err(TensorError::malformed(
                path,
                format!(
                    "at most {largest} bytes in archive entry {}",
                    quoted(&String::from_utf8_lossy(entry.name_raw()))
                ),
                format!("an entry that claims {} bytes", entry.size()),
            ));
        }
    }
    Ok(())
}

/// Checks what the tensors would take in memory. The reader has checked that each lies within its storage, and that no
/// product of a shape overflows.
fn check_sizes(path: &Path, tensors: &[Tensor], file_length: u64) -> Result<(), TensorError> {
    let largest = file_length.saturating_add(ALLOWANCE);
    let largest_sum = file_length
        .saturating_mul(LARGEST_REPETITION)
        .saturating_add(ALLOWANCE);
    let mut sum: u64 = 0;
    for tensor in tensors {
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
