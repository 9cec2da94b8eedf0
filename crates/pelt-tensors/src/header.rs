//! The header of a safetensors file: eight bytes of length, then JSON that says where each tensor lies.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use safetensors::tensor::TensorInfo;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::TensorError;
use crate::error::{clipped, quoted};
use crate::host::element_count;

/// The largest header that the format's own implementation accepts, in bytes.
pub(crate) const LARGEST_HEADER: u64 = 100_000_000;

/// The bytes that hold the header's length.
pub(crate) const LENGTH_BYTES: u64 = 8;

/// The entry that holds text about the file instead of a tensor.
pub(crate) const METADATA_NAME: &str = "__metadata__";

/// A parsed header, checked against the length of its file.
pub(crate) struct Header {
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) tensors: BTreeMap<String, TensorInfo>,
    /// Where the data begins, from the start of the file.
    pub(crate) data_start: u64,
}

/// Reads and checks the header of `file`, which stands at its start and is `file_length` bytes long.
pub(crate) fn read_header(
    path: &Path,
    file: &mut File,
    file_length: u64,
) -> Result<Header, TensorError> {
    let Some(room) = file_length.checked_sub(LENGTH_BYTES) else {
        return Err(TensorError::malformed(
            path,
            format!("at least {LENGTH_BYTES} bytes of safetensors"),
            format!("{file_length} bytes"),
        ));
    };
    let mut length = [0; LENGTH_BYTES as usize];
    file.read_exact(&mut length)
        .map_err(|e| TensorError::io(path, "read the header of", e))?;
    let length = u64::from_le_bytes(length);
    let longest = room.min(LARGEST_HEADER);
    if length > longest {
        return Err(TensorError::malformed(
            path,
            format!("a safetensors header of at most {longest} bytes"),
            format!("a header that claims {length} bytes"),
        ));
    }

    let mut json = vec![0; length as usize];
    file.read_exact(&mut json)
        .map_err(|e| TensorError::io(path, "read the header of", e))?;
    let parsed: ParsedHeader = serde_json::from_slice(&json).map_err(|e| {
        TensorError::malformed(path, "a safetensors header", clipped(&e.to_string()))
    })?;

    let data_start = LENGTH_BYTES + length;
    let data_length = check_layout(path, &parsed.tensors)?;
    if data_start.checked_add(data_length) != Some(file_length) {
        return Err(TensorError::malformed(
            path,
            format!("{data_length} bytes of tensors after the header"),
            format!("{} bytes", file_length - data_start),
        ));
    }
    Ok(Header {
        metadata: parsed.metadata,
        tensors: parsed.tensors,
        data_start,
    })
}

/// Checks that the tensors follow each other without gap or overlap and that each has the bytes its shape needs.
/// Returns where the last one ends.
fn check_layout(path: &Path, tensors: &BTreeMap<String, TensorInfo>) -> Result<u64, TensorError> {
    let mut by_offset: Vec<(&String, &TensorInfo)> = tensors.iter().collect();
    by_offset.sort_by_key(|(_, info)| info.data_offsets);
    let mut end_of_previous = 0;
    for (name, info) in by_offset {
        let name = quoted(name);
        let (start, end) = info.data_offsets;
        if start != end_of_previous {
            return Err(TensorError::malformed(
                path,
                format!("tensor {name} to begin at byte {end_of_previous} of the data"),
                format!("offsets {start} to {end}"),
            ));
        }
        let shape = clipped(&format!("{:?}", info.shape));
        let bits =
            element_count(&info.shape).and_then(|count| count.checked_mul(info.dtype.bitsize()));
        let Some(bits) = bits.filter(|bits| bits % 8 == 0) else {
            return Err(TensorError::malformed(
                path,
                format!("a whole number of bytes that fits in memory for tensor {name}"),
                format!("shape {shape} of {}", info.dtype),
            ));
        };
        if end.checked_sub(start) != Some(bits / 8) {
            return Err(TensorError::malformed(
                path,
                format!(
                    "{} bytes for tensor {name} of shape {shape} and type {}",
                    bits / 8,
                    info.dtype
                ),
                format!("offsets {start} to {end}"),
            ));
        }
        end_of_previous = end;
    }
    Ok(end_of_previous as u64)
}

/// The header's JSON. It is not deserialised into a plain map because a map keeps the last of two equal names in silence.
#[derive(Default)]
struct ParsedHeader {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl<'de> Deserialize<'de> for ParsedHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = ParsedHeader;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map from tensor names to their type, shape and offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ParsedHeader, A::Error> {
        let mut header = ParsedHeader::default();
        let mut metadata = None;
        while let Some(name) = map.next_key::<String>()? {
            let is_new = if name == METADATA_NAME {
                metadata
                    .replace(map.next_value::<Option<BTreeMap<String, String>>>()?)
                    .is_none()
            } else {
                header
                    .tensors
                    .insert(name.clone(), map.next_value()?)
                    .is_none()
            };
            if !is_new {
                return Err(A::Error::custom(format!(
                    "the name {} twice",
                    quoted(&name)
                )));
            }
        }
        header.metadata = metadata.flatten().unwrap_or_default();
        Ok(header)
    }
}
