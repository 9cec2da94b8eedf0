//! Bottleneck adapters: small networks around the sub-layers of a frozen encoder.
//!
//! [`BottleneckConfig`] describes a run and has the usual presets; [`Bottleneck`] is the method for an encoder of this
//! workspace, and [`BottleneckBlock`] the small network at one sub-layer.
//!
//! ```
//! use burn::tensor::Device;
//! use pelt_adapter::{BottleneckConfig, ReductionFactor};
//! use pelt_hooks::{EncoderShape, Method};
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
//! let config = BottleneckConfig {
//!     reduction_factor: ReductionFactor::Everywhere(8.0),
//!     ..BottleneckConfig::seq_bn()
//! };
//! let params = config.init(&bert_base, &Device::flex())?.named_params();
//! assert_eq!(params[0].name, "encoder.layer.0.output.adapters.{adapter}.adapter_down.0.weight");
//! assert_eq!(params[0].shape, [96, 768]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod block;
mod bottleneck;
mod config;
mod fusion;
mod non_linearity;
mod phm;
mod reduction;
mod settings;

pub use block::BottleneckBlock;
pub use bottleneck::{Bottleneck, BottleneckLayer};
pub use config::BottleneckConfig;
pub use fusion::{Fusion, FusionBlock, FusionConfig, FusionKind, FusionLayer};
pub use non_linearity::NonLinearity;
pub use phm::{AdapterLinear, PhmLinear};
pub use reduction::ReductionFactor;
pub use settings::{InitWeights, ResidualBeforeLn, Scaling};
