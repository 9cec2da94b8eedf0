//! (IA)³: trained factors on the activations of a frozen encoder (arXiv 2205.05638).
//!
//! [`Ia3Config`] describes a run, [`Ia3`] is the method for an encoder of this workspace, and [`Ia3Site`] the factors at
//! one projection.

mod config;
mod ia3;
mod site;

pub use config::{Ia3Config, Ia3Target};
pub use ia3::Ia3;
pub use site::{Ia3Site, Side};
