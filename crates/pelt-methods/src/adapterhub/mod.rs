//! The format of AdapterHub's `adapters`.

mod fusion;
mod ia3;
mod json;
mod read;
mod write;

pub use fusion::{LoadedFusion, load_fusion, save_fusion};
pub use json::adapterhub_cannot_hold;
pub use write::{ModelInfo, save, save_pytorch_copies};

pub(crate) use fusion::CONFIG_FILE as FUSION_CONFIG_FILE;

pub(crate) use read::load;
pub(crate) use write::{tensors_by_name, write_both};

/// The library version whose format is written.
const VERSION: &str = "adapters.1.3.0";
