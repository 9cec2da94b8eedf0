//! The format of AdapterHub's `adapters`.

mod ia3;
mod json;
mod read;
mod write;

pub use write::{ModelInfo, save};

pub(crate) use read::load;

/// The library version whose format is written.
pub(crate) const VERSION: &str = "adapters.1.3.0";
