//! One tensor file, opened and checked, with its tensors unread.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::TensorError;
use crate::element::ElementType;
use crate::error::quoted;
use crate::header::read_header;
use crate::pytorch::{LEGACY_START, START_LENGTH, ZIP_START, open_pytorch, read_pytorch};

/// How much of a file is in memory at a time, in bytes: a multiple of every element's size.
const PIECE: usize = 1 << 20;

/// One open tensor file.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) path: PathBuf,
    pub(crate) tensors: BTreeMap<String, TensorEntry>,
    pub(crate) metadata: BTreeMap<String, String>,
    /// Held open so that a file replaced meanwhile is still read as it was checked, and locked because a read moves
    /// the file's position.
    file: Mutex<File>,
}

/// One tensor of a file.
#[derive(Debug)]
pub(crate) struct TensorEntry {
    pub(crate) element: ElementType,
    pub(crate) shape: Vec<usize>,
    location: Location,
}

#[derive(Debug)]
enum Location {
    /// A run of bytes in a safetensors file.
    Bytes { start: u64, length: usize },
    /// A view of a storage in a PyTorch checkpoint.
    Pytorch(pytorch_reader::Tensor),
}

enum Format {
    Safetensors,
    Pytorch,
}

impl Shard {
    /// Opens one file; its extension says what it should be, its content where the extension says nothing.
    pub(crate) fn open(path: &Path) -> Result<Self, TensorError> {
        let mut file = open_regular_file(path)?;
        let file_length = file
            .metadata()
            .map_err(|e| TensorError::io(path, "read the length of", e))?
            .len();
        let mut start = Vec::new();
        (&mut file)
            .take(START_LENGTH)
            .read_to_end(&mut start)
            .and_then(|_| file.rewind())
            .map_err(|e| TensorError::io(path, "read", e))?;

        let (tensors, metadata) = match format(path, &start)? {
            Format::Safetensors => safetensors_entries(path, &mut file, file_length)?,
            Format::Pytorch => (pytorch_entries(path, &start, file_length)?, BTreeMap::new()),
        };
        Ok(Self {
            path: path.to_path_buf(),
            tensors,
            metadata,
            file: Mutex::new(file),
        })
    }

    /// Hands the tensor's bytes (row-major, little-endian) to `visit` piece by piece, each a whole number of elements.
    pub(crate) fn visit_bytes(
        &self,
        name: &str,
        entry: &TensorEntry,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), TensorError>,
    ) -> Result<(), TensorError> {
        let (start, length) = match &entry.location {
            Location::Bytes { start, length } => (*start, *length),
            Location::Pytorch(tensor) => return visit(&read_pytorch(&self.path, tensor)?),
        };
        let mut file = self.lock();
        file.seek(SeekFrom::Start(start))
            .map_err(|e| TensorError::io(&self.path, "read", e))?;
        let mut piece = vec![0; length.min(PIECE)];
        let mut remaining = length;
        while remaining > 0 {
            let taken = remaining.min(PIECE);
            file.read_exact(&mut piece[..taken])
                .map_err(|e| match e.kind() {
                    std::io::ErrorKind::UnexpectedEof => TensorError::malformed(
                        &self.path,
                        format!("{length} bytes of tensor {}", quoted(name)),
                        "a file that became shorter while it was open",
                    ),
                    _ => TensorError::io(&self.path, "read", e),
                })?;
            visit(&piece[..taken])?;
            remaining -= taken;
        }
        Ok(())
    }

    /// Adds every byte of the file to a digest.
    pub(crate) fn digest(&self, digest: &mut Sha256) -> Result<(), TensorError> {
        let mut file = self.lock();
        file.rewind()
            .map_err(|e| TensorError::io(&self.path, "read", e))?;
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(taken) => digest.update(&piece[..taken]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(TensorError::io(&self.path, "read", e)),
            }
        }
    }

    /// A thread that panicked while it held the lock leaves the file usable: every user sets the position first.
    fn lock(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a file for reading. Anything but a regular file is refused before it is opened: opening a pipe would wait.
pub(crate) fn open_regular_file(path: &Path) -> Result<File, TensorError> {
    let metadata = std::fs::metadata(path).map_err(|e| TensorError::io(path, "open", e))?;
    if let Some(found) = instead_of_file(&metadata) {
        return Err(TensorError::malformed(path, "a file", found));
    }
    File::open(path).map_err(|e| TensorError::io(path, "open", e))
}

/// What there is in the place of a regular file, as messages name it; `None` where it is one.
pub fn instead_of_file(metadata: &Metadata) -> Option<&'static str> {
    match (metadata.is_file(), metadata.is_dir()) {
        (true, _) => None,
        (false, true) => Some("a folder"),
        (false, false) => Some("something that is not a regular file"),
    }
}

fn format(path: &Path, start: &[u8]) -> Result<Format, TensorError> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors") => Ok(Format::Safetensors),
        Some("bin" | "pt" | "pth") => Ok(Format::Pytorch),
        _ if start.starts_with(ZIP_START) || start.starts_with(LEGACY_START) => Ok(Format::Pytorch),
        _ if start.get(8) == Some(&b'{') => Ok(Format::Safetensors),
        _ => Err(TensorError::malformed(
            path,
            "safetensors or a PyTorch checkpoint",
            "content that begins like neither",
        )),
    }
}

type Entries = BTreeMap<String, TensorEntry>;

fn safetensors_entries(
    path: &Path,
    file: &mut File,
    file_length: u64,
) -> Result<(Entries, BTreeMap<String, String>), TensorError> {
    let header = read_header(path, file, file_length)?;
    let entries = header.tensors.into_iter().map(|(name, info)| {
        let (start, end) = info.data_offsets;
        let location = Location::Bytes {
            start: header.data_start + start as u64,
            length: end - start,
        };
        let element = ElementType::of_safetensors(info.dtype);
        (
            name,
            TensorEntry {
                element,
                shape: info.shape,
                location,
            },
        )
    });
    Ok((entries.collect(), header.metadata))
}

fn pytorch_entries(path: &Path, start: &[u8], file_length: u64) -> Result<Entries, TensorError> {
    let entries = open_pytorch(path, start, file_length)?
        .into_iter()
        .map(|tensor| {
            let element = ElementType::of_pytorch(tensor.dtype());
            let shape = tensor.shape().to_vec();
            (
                tensor.name.clone(),
                TensorEntry {
                    element,
                    shape,
                    location: Location::Pytorch(tensor),
                },
            )
        });
    Ok(entries.collect())
}
