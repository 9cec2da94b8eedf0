//! LoRA: low-rank updates of frozen linear layers (arXiv 2106.09685).
//!
//! [`LoraConfig`] describes a run, [`Lora`] is the method for an encoder of this workspace, and [`LowRank`] is the bare
//! block that any burn model can add to the output of a linear layer.

mod combine;
mod config;
mod error;
mod lora;
mod low_rank;
mod site;

pub use combine::{Combination, Weighted, combine};
pub use config::{AttnMatrix, InitWeights, LoraBias, LoraConfig};
pub use error::{CombineError, MergeError};
pub use lora::{Lora, LoraLayer};
pub use low_rank::LowRank;
pub use site::LoraSite;
