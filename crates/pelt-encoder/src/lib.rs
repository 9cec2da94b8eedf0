//! BERT and RoBERTa text encoders that offer hook sites and know no method.
//!
//! [`Checkpoint::open`] reads an ordinary Hugging Face folder, [`Encoder`] runs packed batches through it, and a [`Head`]
//! turns hidden states into logits. The weights are never changed after loading; full fine-tuning works on a
//! [trainable copy](Encoder::trainable).
//!
//! ```
//! use burn::tensor::Device;
//! use pelt_encoder::{Checkpoint, RowsRead, first_rows};
//! use pelt_hooks::{NoHooks, PackedBatch, Pass, Sequence};
//! # let folder = pelt_testkit::fixture("models/bert/base");
//!
//! // `folder` holds the `config.json` and `model.safetensors` of a tiny BERT, whose hidden states have 32 columns.
//! let encoder = Checkpoint::open(&folder)?.encoder(&Device::flex())?;
//! let sequence = |input_ids: Vec<u32>| Sequence {
//!     token_type_ids: vec![0; input_ids.len()],
//!     input_ids,
//! };
//! let sequences = [sequence(vec![2, 10, 11, 3]), sequence(vec![2, 12, 3])];
//! let batch = PackedBatch::new(&sequences);
//! let all = encoder.forward(&batch, &NoHooks, RowsRead::All, &Pass::evaluate())?;
//! assert_eq!(all.values.dims(), [7, 32]);
//!
//! // A head for classes reads the first row of every sequence, for which less has to be computed.
//! let first = encoder.forward(&batch, &NoHooks, RowsRead::First, &Pass::evaluate())?;
//! let difference: f32 = (first.values - first_rows(&all).values).abs().max().into_scalar();
//! assert!(difference < 1e-5, "{difference}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod checkpoint;
mod config;
mod embeddings;
mod encoder;
mod error;
mod head;
mod layer;
mod masked_lm;
mod precision;
mod span;

pub use checkpoint::Checkpoint;
pub use config::{Activation, Architecture, EncoderConfig};
pub use encoder::{Encoder, RowsRead};
pub use error::EncoderError;
pub use head::{Head, HeadConfig, HeadKind};
pub use layer::first_rows;
pub use precision::Precision;
pub use span::{PromptLabels, SpanLayout};
