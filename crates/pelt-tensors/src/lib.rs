//! Reading and writing tensor files: safetensors and PyTorch checkpoints.
//!
//! [`TensorFiles`] opens one file or a sharded set, checks everything that its header declares, and then reads single
//! tensors on request, so a large model is never held in memory twice. [`write_safetensors`] and [`write_pytorch`] write, and
//! [`write_atomically`] is the same safe replacement of a file for anything else.
//!
//! Tensors come out as plain values on the host ([`HostTensor`], [`HostIntTensor`]): this crate knows no tensor framework.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use pelt_tensors::{HostTensor, TensorFiles, write_safetensors};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("model.safetensors");
//! let weight = HostTensor::new(vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
//! let tensors = BTreeMap::from([("dense.weight".to_string(), weight.clone())]);
//! let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
//! write_safetensors(&path, &tensors, &metadata)?;
//!
//! let files = TensorFiles::open(&path)?;
//! assert_eq!(files.names().collect::<Vec<_>>(), ["dense.weight"]);
//! assert_eq!(files.read("dense.weight")?, weight);
//! assert!(files.read("dense.bias").is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Untrusted files
//!
//! No size, offset or name in a file is believed before it is checked against the length of the file. A PyTorch
//! checkpoint is never executed: only the handful of calls that describe tensors are interpreted, and what the pickle
//! that describes them would copy is found out before any of it is built.

mod atomic;
mod element;
mod error;
mod files;
mod folder;
mod header;
mod host;
mod pickle_weight;
mod pytorch;
mod quote;
mod shard;
mod small_file;
mod write;
mod write_pytorch;

pub use atomic::write_atomically;
pub use error::TensorError;
pub use files::TensorFiles;
pub use host::{HostIntTensor, HostTensor};
pub use quote::{one_line, shown, shown_shape};
pub use shard::instead_of_file;
pub use small_file::read_small_file;
pub use write::{write_safetensors, write_safetensors_mixed};
pub use write_pytorch::write_pytorch;
