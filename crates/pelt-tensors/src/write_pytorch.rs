//! Writing PyTorch checkpoints.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Write};
use std::path::Path;

use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::error::{clipped, quoted};
use crate::host::element_count;
use crate::{HostTensor, TensorError, write_atomically};

/// What all names in the archive begin with, as `torch.save` has it for a file object.
const ROOT: &str = "archive";

/// Storages begin at multiples of this, as `torch.save` has it, so that the file can be mapped.
const ALIGNMENT: u16 = 64;

/// Writes float tensors as a flat state dict in the manner of `torch.save`: a zip archive with one storage a tensor and a
/// pickle that describes them, which `torch.load` reads with `weights_only=True`. Equal input gives equal bytes.
///
/// The file is put together in memory, so this is for adapters and heads, not for whole models.
///
/// # Errors
/// A tensor whose values do not fill its shape, or a file that cannot be written.
pub fn write_pytorch(
    path: &Path,
    tensors: &BTreeMap<String, HostTensor>,
) -> Result<(), TensorError> {
    for (name, tensor) in tensors {
        if element_count(&tensor.shape) != Some(tensor.values.len()) {
            return Err(TensorError::malformed(
                path,
                format!(
                    "as many values of {} as its shape {} says",
                    quoted(name),
                    clipped(&format!("{:?}", tensor.shape))
                ),
                tensor.values.len().to_string(),
            ));
        }
    }
    let bytes = archive(tensors).map_err(|error| TensorError::io(path, "write", error))?;
    write_atomically(path, &bytes)
}

fn archive(tensors: &BTreeMap<String, HostTensor>) -> io::Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .with_alignment(ALIGNMENT);
    let mut entry = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("{ROOT}/{name}"), options)?;
        zip.write_all(bytes)
    };
    entry("data.pkl", &pickle(tensors)?)?;
    entry("byteorder", b"little")?;
    for (number, tensor) in tensors.values().enumerate() {
        let bytes: Vec<u8> = tensor
            .values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        entry(&format!("data/{number}"), &bytes)?;
    }
    entry("version", b"3\n")?;
    Ok(zip.finish()?.into_inner())
}

/// The state dict, in the opcodes of pickle's protocol 2.
fn pickle(tensors: &BTreeMap<String, HostTensor>) -> io::Result<Vec<u8>> {
    let mut out = Pickle(b"\x80\x02".to_vec());
    out.op(b"}(");
    for (number, (name, tensor)) in tensors.iter().enumerate() {
        let mut stride = 1;
        let strides = tensor.shape.iter().rev().map(|extent| {
            let own = stride;
            stride *= extent;
            own
        });
        let mut strides: Vec<usize> = strides.collect();
        strides.reverse();

        out.text(name)?;
        out.op(b"ctorch._utils\n_rebuild_tensor_v2\n(");
        // The storage, which the archive holds.
        out.op(b"(");
        out.text("storage")?;
        out.op(b"ctorch\nFloatStorage\n");
        out.text(&number.to_string())?;
        out.text("cpu")?;
        out.number(tensor.values.len())?;
        out.op(b"tQ");
        // Where the tensor begins in it, its shape and its strides.
        out.number(0)?;
        out.tuple(&tensor.shape)?;
        out.tuple(&strides)?;
        // It needs no gradient and has no hooks.
        out.op(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    out.op(b"u.");
    Ok(out.0)
}

struct Pickle(Vec<u8>);

impl Pickle {
    fn op(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        self.op(b"X");
        self.op(&length.to_le_bytes());
        self.op(text.as_bytes());
        Ok(())
    }

    fn number(&mut self, number: usize) -> io::Result<()> {
        let number = i32::try_from(number).map_err(io::Error::other)?;
        self.op(b"J");
        self.op(&number.to_le_bytes());
        Ok(())
    }

    fn tuple(&mut self, numbers: &[usize]) -> io::Result<()> {
        self.op(b"(");
        for number in numbers {
            self.number(*number)?;
        }
        self.op(b"t");
        Ok(())
    }
}
