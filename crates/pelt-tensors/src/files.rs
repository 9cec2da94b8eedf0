//! The tensors of one file or of a sharded set, by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::element::{ElementType, TooLarge, decode_floats, decode_integers};
use crate::error::quoted;
use crate::folder;
use crate::host::element_count;
use crate::shard::{Shard, TensorEntry};
use crate::{HostIntTensor, HostTensor, TensorError};

/// One tensor file or a sharded set of them, opened, with its headers checked and its tensors unread.
///
/// Reading takes `&self` and is safe from several threads. The files stay open, so a file that is replaced meanwhile is
/// still read as it was.
#[derive(Debug)]
pub struct TensorFiles {
    path: PathBuf,
    /// In the order of their file names.
    shards: Vec<Shard>,
    /// For each tensor, which shard holds it.
    shard_of: BTreeMap<String, usize>,
    metadata: BTreeMap<String, String>,
}

impl TensorFiles {
    /// Opens one file: `.safetensors`, or a PyTorch checkpoint (`.bin`, `.pt`, `.pth`); under any other name its content
    /// decides.
    ///
    /// # Errors
    /// A file that cannot be read, is neither format, or whose header contradicts itself or the length of the file.
    pub fn open(path: &Path) -> Result<Self, TensorError> {
        Self::of_shards(path, vec![Shard::open(path)?])
    }

    /// Opens the tensors of a folder: the first that exists, for each of `stems` in turn, of `{stem}.safetensors`,
    /// `{stem}.safetensors.index.json`, `pytorch_{stem}.bin`, `pytorch_{stem}.bin.index.json`, `{stem}.bin` and
    /// `{stem}.bin.index.json`. An index names the files of a sharded set, which must lie in the same folder.
    ///
    /// # Errors
    /// [`TensorError::NotFound`] with what was looked for; an index that names a file outside the folder or a tensor that
    /// is not where it says; a tensor in two shards; and everything that [`TensorFiles::open`] refuses.
    pub fn open_folder(folder: &Path, stems: &[&str]) -> Result<Self, TensorError> {
        match folder::find(folder, stems)? {
            folder::Found::File(path) => Self::open(&path),
            folder::Found::Index(path) => {
                let index = folder::read_index(&path)?;
                let paths = index
                    .shard_names()
                    .into_iter()
                    .map(|name| folder.join(name));
                let shards = paths
                    .map(|path| Shard::open(&path))
                    .collect::<Result<Vec<_>, _>>()?;
                let files = Self::of_shards(&path, shards)?;
                index.check(&path, |name| {
                    let shard = *files.shard_of.get(name)?;
                    files.shards[shard].path.file_name()?.to_str()
                })?;
                Ok(files)
            }
        }
    }

    fn of_shards(path: &Path, shards: Vec<Shard>) -> Result<Self, TensorError> {
        let mut shard_of: BTreeMap<String, usize> = BTreeMap::new();
        let mut metadata = BTreeMap::new();
        for (number, shard) in shards.iter().enumerate() {
            for name in shard.tensors.keys() {
                if let Some(first) = shard_of.insert(name.clone(), number) {
                    return Err(TensorError::Duplicate {
                        name: quoted(name),
                        first: shards[first].path.clone(),
                        second: shard.path.clone(),
                    });
                }
            }
            metadata.extend(shard.metadata.clone());
        }
        Ok(Self {
            path: path.to_path_buf(),
            shards,
            shard_of,
            metadata,
        })
    }

    /// The file, or the index of a sharded set.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.shard_of.keys().map(String::as_str)
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.shard_of.contains_key(name)
    }

    /// The extents of a tensor, outermost first; empty for a scalar.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        let (_, entry) = self.entry(name)?;
        Some(&entry.shape)
    }

    /// Reads a tensor of floats: f32, f16 and bf16 exactly, f64 rounded to the nearest f32.
    ///
    /// # Errors
    /// An unknown name, a tensor of integers, or a file that cannot be read.
    pub fn read(&self, name: &str) -> Result<HostTensor, TensorError> {
        let (shard, entry) = self.known_entry(name)?;
        let ElementType::Float(float) = entry.element else {
            return Err(wrong_type(
                shard,
                name,
                entry,
                "floats (F32, F16, BF16 or F64)",
            ));
        };
        let mut values = Vec::with_capacity(element_count(&entry.shape).unwrap_or(0));
        shard.visit_bytes(name, entry, &mut |bytes| {
            decode_floats(float, bytes, &mut values);
            Ok(())
        })?;
        HostTensor::new(entry.shape.clone(), values)
    }

    /// Reads a tensor of integers of any width, or of booleans as zeros and ones.
    ///
    /// # Errors
    /// An unknown name, a tensor of floats, an integer above `i64::MAX`, or a file that cannot be read.
    pub fn read_int(&self, name: &str) -> Result<HostIntTensor, TensorError> {
        let (shard, entry) = self.known_entry(name)?;
        let ElementType::Integer(integer) = entry.element else {
            return Err(wrong_type(shard, name, entry, "integers or booleans"));
        };
        let mut values = Vec::with_capacity(element_count(&entry.shape).unwrap_or(0));
        shard.visit_bytes(name, entry, &mut |bytes| {
            decode_integers(integer, bytes, &mut values).map_err(|TooLarge(value)| {
                TensorError::IntegerTooLarge {
                    path: shard.path.clone(),
                    name: quoted(name),
                    value,
                }
            })
        })?;
        HostIntTensor::new(entry.shape.clone(), values)
    }

    /// Reads every tensor but those of integers and booleans. Tensors that share one storage in a PyTorch checkpoint are
    /// each read into memory of their own.
    ///
    /// # Errors
    /// A tensor of a type that cannot be read (eight-bit floats, complex numbers), or a file that cannot be read.
    pub fn read_all(&self) -> Result<BTreeMap<String, HostTensor>, TensorError> {
        let mut tensors = BTreeMap::new();
        for (name, shard) in &self.shard_of {
            let entry = self.shards[*shard].tensors.get(name);
            if !matches!(
                entry.map(|entry| entry.element),
                Some(ElementType::Integer(_))
            ) {
                tensors.insert(name.clone(), self.read(name)?);
            }
        }
        Ok(tensors)
    }

    /// Reads every tensor of integers or booleans.
    ///
    /// # Errors
    /// As [`TensorFiles::read_int`].
    pub fn read_all_ints(&self) -> Result<BTreeMap<String, HostIntTensor>, TensorError> {
        let mut tensors = BTreeMap::new();
        for (name, shard) in &self.shard_of {
            let entry = self.shards[*shard].tensors.get(name);
            if matches!(
                entry.map(|entry| entry.element),
                Some(ElementType::Integer(_))
            ) {
                tensors.insert(name.clone(), self.read_int(name)?);
            }
        }
        Ok(tensors)
    }

    /// The text that a safetensors header carries besides its tensors; of a sharded set, that of all shards, the last
    /// one's where they differ. Empty for a PyTorch checkpoint.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The SHA-256 of the file in lower-case hexadecimal; of a sharded set, that of its files one after another in the
    /// order of their names, without the index.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn sha256(&self) -> Result<String, TensorError> {
        let mut digest = Sha256::new();
        for shard in &self.shards {
            shard.digest(&mut digest)?;
        }
        Ok(format!("{:x}", digest.finalize()))
    }

    fn entry(&self, name: &str) -> Option<(&Shard, &TensorEntry)> {
        let shard = self.shards.get(*self.shard_of.get(name)?)?;
        Some((shard, shard.tensors.get(name)?))
    }

    fn known_entry(&self, name: &str) -> Result<(&Shard, &TensorEntry), TensorError> {
        self.entry(name).ok_or_else(|| TensorError::UnknownTensor {
            path: self.path.clone(),
            name: quoted(name),
        })
    }
}

fn wrong_type(
    shard: &Shard,
    name: &str,
    entry: &TensorEntry,
    expected: &'static str,
) -> TensorError {
    TensorError::ElementType {
        path: shard.path.clone(),
        name: quoted(name),
        expected,
        found: entry.element.to_string(),
    }
}
