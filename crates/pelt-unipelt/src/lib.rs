//! UniPELT and unions: methods that act side by side (arXiv 2110.07577).
//!
//! [`UniPelt`] is the gated prefix, LoRA and bottleneck adapter of the paper, with an optional prompt in front;
//! [`Union`] puts any methods of one type together, and [`Stack`] puts them on top of one another.
//!
//! ```
//! use burn::tensor::Device;
//! use pelt_hooks::{EncoderShape, Method};
//! use pelt_unipelt::UniPeltConfig;
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
//! let method = UniPeltConfig::with_prompt().init(&bert_base, &Device::flex())?;
//! let params = method.named_params();
//! assert_eq!(params.iter().map(|param| param.count()).sum::<usize>(), 11_091_056);
//! // In every layer there are gates of the prefix, of the adapter, and of LoRA at query and value.
//! let is_gate = |name: &str| name.contains("gate") && name.ends_with(".weight");
//! assert_eq!(params.iter().filter(|param| is_gate(&param.name)).count(), 4 * 12);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod combine;
mod config;
mod error;
mod overlay;
mod stack;
mod union;
mod unipelt;

pub use config::UniPeltConfig;
pub use error::{StackError, UnionError};
pub use stack::{Stack, StackRules, StackedLora, StackedParallel};
pub use union::Union;
pub use unipelt::UniPelt;
