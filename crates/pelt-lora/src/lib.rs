//! LoRA: low-rank updates of frozen linear layers (arXiv 2106.09685).
//!
//! [`LoraConfig`] describes a run, [`Lora`] is the method for an encoder of this workspace, and [`LowRank`] is the bare
//! block that any burn model can add to the output of a linear layer.
//!
//! ```
//! use burn::tensor::Device;
//! use pelt_hooks::{EncoderShape, Method};
//! use pelt_lora::LoraConfig;
//!
//! let bert_base = EncoderShape {
//!     layers: 12,
//!     hidden_size: 768,
//!     heads: 12,
//!     intermediate_size: 3072,
//!     vocab_size: 30522,
//!     max_positions: 512,
//!     pooler: true,
//! };
//! let lora = LoraConfig::default().init(&bert_base, &Device::flex())?;
//! let params = lora.named_params();
//! assert_eq!(params[0].name, "encoder.layer.0.attention.self.query.loras.{adapter}.lora_A");
//! assert_eq!(params[0].shape, [8, 768]);
//! let count: usize = params.iter().map(|param| param.count()).sum();
//! assert_eq!(count, 294_912);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
