//! Prefix tuning: trained key and value rows in front of every layer's own (arXiv 2101.00190).
//!
//! [`PrefixConfig`] describes a run, [`Prefix`] is the method for an encoder of this workspace, and [`PrefixTable`] the
//! parameters that all layers' rows come from.

mod config;
mod non_linearity;
mod prefix;
mod table;

pub use config::PrefixConfig;
pub use non_linearity::NonLinearity;
pub use prefix::Prefix;
pub use table::{PrefixNetwork, PrefixTable};
