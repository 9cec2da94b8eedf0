//! The sizes of an encoder.

use serde::{Deserialize, Serialize};

/// The sizes of an encoder that a method needs to know before it can create its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncoderShape {
    /// Number of transformer layers.
    pub layers: usize,
    /// Width of a hidden state, `d` in the equations.
    pub hidden_size: usize,
    /// Number of attention heads; divides `hidden_size`.
    pub heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Rows of the word embedding table.
    pub vocab_size: usize,
    /// The longest sequence, special tokens included, that the position table can hold.
    pub max_positions: usize,
    /// Whether the encoder has a pooler (a dense layer with tanh on the first row).
    pub pooler: bool,
}
