//! BERT and RoBERTa text encoders that offer hook sites and know no method.
//!
//! [`Checkpoint::open`] reads an ordinary Hugging Face folder, [`Encoder`] runs packed batches through it, and a [`Head`]
//! turns hidden states into logits. The weights are never changed after loading; full fine-tuning works on a
//! [trainable copy](Encoder::trainable).

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
