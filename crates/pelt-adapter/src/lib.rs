//! Bottleneck adapters: small networks around the sub-layers of a frozen encoder.
//!
//! [`BottleneckConfig`] describes a run and has the usual presets; [`Bottleneck`] is the method for an encoder of this
//! workspace, and [`BottleneckBlock`] the small network at one sub-layer.

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
