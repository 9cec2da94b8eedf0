//! Prompt tuning: trained vectors put among the embeddings of every sequence (arXiv 2104.08691).
//!
//! [`PromptConfig`] describes a run and [`PromptTuning`] is the method for an encoder of this workspace.
//!
//! ```
//! use burn::tensor::Device;
//! use pelt_hooks::{EncoderHooks, EncoderShape, Method, PromptPlace};
//! use pelt_prompt::PromptConfig;
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
//! let config = PromptConfig {
//!     prompt_length: 5,
//!     ..PromptConfig::default()
//! };
//! let method = config.init(&bert_base, &Device::flex())?;
//! assert_eq!(method.named_params()[0].shape, [5, 768]);
//! let prompt = method.prompt().ok_or("there is no prompt")?;
//! assert_eq!(prompt.embeddings.dims(), [5, 768]);
//! assert_eq!(prompt.place, PromptPlace::BeforeSequence);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod prompt;

pub use config::{Combine, PromptConfig, PromptInit};
pub use prompt::PromptTuning;
