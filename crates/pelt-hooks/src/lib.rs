//! The contract between a frozen text encoder and the methods that adapt it.
//!
//! The encoder offers *sites* and asks the [`EncoderHooks`] it is given for a contribution at each of them; hooks return
//! contributions and the encoder adds them. A method is a burn `Module` that owns only its trainable parameters and
//! implements [`Method`]. Hidden states are packed: see [`Packing`].

mod batch;
mod delta;
mod error;
mod gate;
mod hooks;
mod init;
mod packing;
mod params;
mod pass;
mod settings;
mod shape;

pub use batch::{LeadingStates, PackedBatch, Sequence};
pub use delta::{ProjectionChange, ProjectionDelta};
pub use error::ConfigError;
pub use gate::{Gate, GateBias};
pub use hooks::{
    EncoderHooks, Hidden, KeyValue, Method, NoHooks, Projection, ProjectionSite, Prompt,
    PromptPlace, Reads, SiteInput, Sublayer, SublayerSite, SublayerStates,
};
pub use init::{constant, draw, normal, seed, truncated_normal, uniform};
pub use packing::Packing;
pub use params::{
    ADAPTER, NamedParam, ParamGradients, ParamValues, gradients, load, load_named, values,
};
pub use pass::Pass;
pub use settings::{Init, check_alpha, check_dropout, check_leave_out, check_some_layer_left};
pub use shape::EncoderShape;
