//! Prompt tuning: trained vectors put among the embeddings of every sequence (arXiv 2104.08691).
//!
//! [`PromptConfig`] describes a run and [`PromptTuning`] is the method for an encoder of this workspace.

mod config;
mod prompt;

pub use config::{Combine, PromptConfig, PromptInit};
pub use prompt::PromptTuning;
