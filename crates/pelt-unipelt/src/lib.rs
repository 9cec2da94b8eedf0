//! UniPELT and unions: methods that act side by side (arXiv 2110.07577).
//!
//! [`UniPelt`] is the gated prefix, LoRA and bottleneck adapter of the paper, with an optional prompt in front;
//! [`Union`] puts any methods of one type together, and [`Stack`] puts them on top of one another.

mod combine;
mod config;
mod error;
mod overlay;
mod stack;
mod union;
mod unipelt;

pub use config::UniPeltConfig;
pub use error::{StackError, UnionError};
pub use stack::{Stack, StackRules, StackedLora, StackedParallel};
pub use union::Union;
pub use unipelt::UniPelt;
