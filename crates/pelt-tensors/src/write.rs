//! Writing safetensors files.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::atomic::replace_file;
use crate::error::quoted;
use crate::header::{LARGEST_HEADER, LENGTH_BYTES, METADATA_NAME};
use crate::host::element_count;
use crate::{HostIntTensor, HostTensor, TensorError};

/// How many values are turned into bytes at a time.
const VALUES_AT_A_TIME: usize = 1 << 16;

/// Writes float tensors as F32, in the manner of [`crate::write_atomically`]. Equal input gives equal bytes.
///
/// `metadata` is written as it is; readers in Python expect it to have `format` = `pt`.
///
/// # Errors
/// A tensor whose values do not fill its shape or whose name is reserved, or a file that cannot be written.
pub fn write_safetensors(
    path: &Path,
    tensors: &BTreeMap<String, HostTensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), TensorError> {
    write_safetensors_mixed(path, tensors, &BTreeMap::new(), metadata)
}

/// As [`write_safetensors`], with integer tensors written as I64 beside the float tensors.
///
/// # Errors
/// As [`write_safetensors`]; also a name that is used twice.
pub fn write_safetensors_mixed(
    path: &Path,
    floats: &BTreeMap<String, HostTensor>,
    ints: &BTreeMap<String, HostIntTensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), TensorError> {
    if let Some(name) = ints.keys().find(|name| floats.contains_key(*name)) {
        return Err(unwritable(
            path,
            name,
            "a name of its own",
            "a float tensor and an integer tensor of that name",
        ));
    }
    let mut layout = Layout {
        metadata,
        tensors: Vec::new(),
        length: 0,
    };
    // The format wants wider elements first, so that every tensor is aligned to its elements.
    for (name, tensor) in ints {
        layout.add(path, name, Dtype::I64, &tensor.shape, tensor.values.len())?;
    }
    for (name, tensor) in floats {
        layout.add(path, name, Dtype::F32, &tensor.shape, tensor.values.len())?;
    }

    let mut header = serde_json::to_vec(&layout)
        .map_err(|e| TensorError::io(path, "write the header of", e.into()))?;
    header.resize(header.len().next_multiple_of(LENGTH_BYTES as usize), b' ');
    if header.len() as u64 > LARGEST_HEADER {
        return Err(TensorError::malformed(
            path,
            format!("a header of at most {LARGEST_HEADER} bytes"),
            format!("one of {} bytes", header.len()),
        ));
    }

    replace_file(path, |writer| {
        writer.write_all(&(header.len() as u64).to_le_bytes())?;
        writer.write_all(&header)?;
        for tensor in ints.values() {
            write_values(writer, &tensor.values, |value| value.to_le_bytes())?;
        }
        for tensor in floats.values() {
            write_values(writer, &tensor.values, |value| value.to_le_bytes())?;
        }
        Ok(())
    })
}

fn write_values<T: Copy, const N: usize>(
    writer: &mut dyn Write,
    values: &[T],
    to_bytes: impl Fn(T) -> [u8; N],
) -> io::Result<()> {
    for values in values.chunks(VALUES_AT_A_TIME) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| to_bytes(*value)).collect();
        writer.write_all(&bytes)?;
    }
    Ok(())
}

/// A header in the making. It is serialised here rather than by the format's own library, which keeps the metadata in a
/// hash map and so writes it in another order each time.
struct Layout<'a> {
    metadata: &'a BTreeMap<String, String>,
    tensors: Vec<(&'a str, TensorInfo)>,
    /// The bytes of the tensors so far.
    length: usize,
}

impl<'a> Layout<'a> {
    fn add(
        &mut self,
        path: &Path,
        name: &'a str,
        dtype: Dtype,
        shape: &[usize],
        values: usize,
    ) -> Result<(), TensorError> {
        if name == METADATA_NAME {
            return Err(unwritable(
                path,
                name,
                "another name",
                "one that the format reserves",
            ));
        }
        if element_count(shape) != Some(values) {
            return Err(unwritable(
                path,
                name,
                &format!("as many values as its shape {shape:?} says"),
                &format!("{values}"),
            ));
        }
        let end = self.length + values * (dtype.bitsize() / 8);
        let info = TensorInfo {
            dtype,
            shape: shape.to_vec(),
            data_offsets: (self.length, end),
        };
        self.tensors.push((name, info));
        self.length = end;
        Ok(())
    }
}

impl Serialize for Layout<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA_NAME, self.metadata)?;
        }
        for (name, info) in &self.tensors {
            map.serialize_entry(name, info)?;
        }
        map.end()
    }
}

fn unwritable(path: &Path, name: &str, expected: &str, found: &str) -> TensorError {
    TensorError::Unwritable {
        path: path.to_path_buf(),
        name: quoted(name),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}
