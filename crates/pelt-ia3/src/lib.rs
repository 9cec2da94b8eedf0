//! (IA)³: trained factors on the activations of a frozen encoder (arXiv 2205.05638).
//!
//! [`Ia3Config`] describes a run, [`Ia3`] is the method for an encoder of this workspace, and [`Ia3Site`] the factors at
//! one projection.
//!
//! ```
//! use burn::tensor::Device;
//! use pelt_hooks::{EncoderShape, Method};
//! use pelt_ia3::Ia3Config;
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
//! // Keys, values and what the intermediate layer gives are scaled, in two layers.
//! let ia3 = Ia3Config::default().init(&shape, &Device::flex())?;
//! let params = ia3.named_params();
//! assert_eq!(params[0].name, "encoder.layer.0.attention.self.key.loras.{adapter}.lora_B");
//! assert_eq!(params.iter().map(|param| param.count()).sum::<usize>(), 2 * (4 + 4 + 8));
//! // Factors of one change nothing, until they are trained.
//! let factors: Vec<f32> = ia3.sites[0].factor.val().into_data().iter().collect();
//! assert_eq!(factors, [1.0; 4]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod ia3;
mod site;

pub use config::{Ia3Config, Ia3Target};
pub use ia3::Ia3;
pub use site::{Ia3Site, Side};
