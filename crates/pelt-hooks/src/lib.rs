//! The contract between a frozen text encoder and the methods that adapt it.
//!
//! The encoder offers *sites* and asks the [`EncoderHooks`] it is given for a contribution at each of them; hooks return
//! contributions and the encoder adds them. A method is a burn `Module` that owns only its trainable parameters and
//! implements [`Method`]. Hidden states are packed: see [`Packing`].
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use pelt_hooks::{EncoderHooks, Hidden, Packing, Pass, ProjectionSite, SiteInput};
//!
//! /// Adds half of what each projection gives.
//! struct Half;
//!
//! impl EncoderHooks for Half {
//!     fn projection(&self, _: ProjectionSite, input: &SiteInput<'_>, _: &Pass) -> Option<Tensor<2>> {
//!         Some(input.output.clone() * 0.5)
//!     }
//! }
//!
//! // A sequence of two tokens and a sequence of one, in three rows.
//! let packing = Packing::new([2, 1]);
//! assert_eq!(packing.offsets(), [0, 2, 3]);
//! let values = Tensor::<2>::from_data([[2.0], [4.0], [6.0]], &Device::flex());
//! let rows = Hidden { values: values.clone(), packing };
//! let input = SiteInput { rows: &rows, all: &rows, output: &values };
//! let added = Half.projection(ProjectionSite::Pooler, &input, &Pass::evaluate());
//! let added: Vec<f32> = added.ok_or("nothing is added")?.into_data().iter().collect();
//! assert_eq!(added, [1.0, 2.0, 3.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
