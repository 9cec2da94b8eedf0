//! UniPELT and unions: methods that act side by side (arXiv 2110.07577).
//!
//! [`UniPelt`] is the gated prefix, LoRA and bottleneck adapter of the paper, with an optional prompt in front;
//! [`Union`] puts any methods of one type together.

mod combine;
mod config;
mod error;
mod overlay;
mod union;
mod unipelt;

pub use config::UniPeltConfig;
pub use error::UnionError;
pub use union::Union;
pub use unipelt::UniPelt;
