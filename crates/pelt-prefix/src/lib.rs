//! Prefix tuning: trained key and value rows in front of every layer's own (arXiv 2101.00190).
//!
//! [`PrefixConfig`] describes a run, [`Prefix`] is the method for an encoder of this workspace, and [`PrefixTable`] the
//! parameters that all layers' rows come from.
//!
//! ```
//! use burn::tensor::Device;
//! use pelt_hooks::{EncoderShape, Method};
//! use pelt_prefix::{Prefix, PrefixConfig};
//!
//! let shape = EncoderShape {
//!     layers: 2,
//!     hidden_size: 4,
//!     heads: 2,
//!     intermediate_size: 8,
//!     vocab_size: 10,
//!     max_positions: 16,
//!     pooler: true,
//! };
//! let config = PrefixConfig {
//!     prefix_length: 3,
//!     bottleneck_size: 8,
//!     ..PrefixConfig::default()
//! };
//! let prefix = config.init(&shape, &Device::flex())?;
//! let count = |prefix: &Prefix| prefix.named_params().iter().map(|param| param.count()).sum::<usize>();
//! assert_eq!(count(&prefix), 3 * 4 + (4 * 8 + 8) + (8 * 16 + 16));
//! // The network is for training alone; what it makes is three rows of keys and of values for each of the two layers.
//! assert_eq!(count(&prefix.eject()), 3 * 2 * 2 * 4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod non_linearity;
mod prefix;
mod table;

pub use config::PrefixConfig;
pub use non_linearity::NonLinearity;
pub use prefix::Prefix;
pub use table::{PrefixNetwork, PrefixTable};
