//! The tensor operations that a frozen encoder with small trainable parts is made of.
//!
//! Every operation has a [`generic`] body in burn primitives that serves every backend. With the feature `flex`,
//! `f32` tensors on the Flex backend (under autodiff or not) go through kernels with a hand-written backward pass
//! instead. All operations work on packed rows (`[tokens, width]`, no padding).
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use pelt_hooks::Packing;
//! use pelt_ops::{AttentionLayout, attention};
//!
//! // A sequence of two tokens and a sequence of one.
//! let packing = Packing::new([2, 1]);
//! let layout = AttentionLayout {
//!     keys: packing.clone(),
//!     queries: packing,
//!     heads: 1,
//!     dropout: 0.0,
//!     dropout_key: None,
//! };
//! // Where all keys are alike, every token gets the mean of its own sequence's values.
//! let device = Device::flex();
//! let keys = Tensor::<2>::zeros([3, 2], &device);
//! let values = Tensor::<2>::from_data([[1.0, 2.0], [3.0, 6.0], [7.0, 8.0]], &device);
//! let found = attention(keys.clone(), keys, values, vec![], &layout);
//! let expected = Tensor::<2>::from_data([[2.0, 4.0], [2.0, 4.0], [7.0, 8.0]], &device);
//! let difference: f32 = (found - expected).abs().max().into_scalar();
//! assert!(difference < 1e-5, "{difference}");
//! ```

mod activation;
mod adamw;
mod attention;
mod dropout;
#[cfg(feature = "flex")]
mod flex;
mod gate;
pub mod generic;
mod linear;
mod loss;
mod mask;
mod memory;
mod narrow;
mod norm;
mod parts;
mod precision;
#[cfg(feature = "profile")]
pub mod profile;
mod sum;

pub use activation::gelu;
pub use adamw::{AdamWStep, adamw, sum_of_squares};
pub use attention::{AttentionLayout, attention};
pub use dropout::dropout;
pub use gate::gate;
pub use linear::Linear;
pub use loss::{cross_entropy, mean_squared_error};
pub use memory::{Memory, keep_freed_memory};
pub use narrow::Narrow;
pub use norm::LayerNorm;
pub use parts::{PARTS, parts, side_by_side, tunes_for_shapes, workers};
pub use precision::{full, like};
pub use sum::add;
