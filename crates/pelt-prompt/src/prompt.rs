//! The prompt of an encoder.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use pelt_hooks::{ADAPTER, EncoderHooks, Method, NamedParam, ProjectionSite, Prompt, PromptPlace};

/// Prompt tuning (arXiv 2104.08691) for encoders: the same trained rows in every sequence.
///
/// With [`PromptPlace::BeforeSequence`] the first row of a sequence is the first prompt vector, and heads that read the
/// first row read that. Spans and token labels have to be moved by the prompt's length.
#[derive(Module, Debug)]
pub struct PromptTuning {
    /// `[prompt_length, d]`, trained.
    pub embedding: Param<Tensor<2>>,
    /// Where the rows go.
    #[module(skip)]
    pub place: PromptPlace,
}

impl EncoderHooks for PromptTuning {
    fn changes(&self, _site: ProjectionSite) -> bool {
        false
    }

    fn changes_layer(&self, _layer: usize) -> bool {
        false
    }

    fn prompt(&self) -> Option<Prompt> {
        Some(Prompt {
            embeddings: self.embedding.val(),
            place: self.place,
        })
    }
}

impl Method for PromptTuning {
    fn named_params(&self) -> Vec<NamedParam> {
        let name = format!("prompt_tuning.prompt_tunings.{ADAPTER}.prompt_embedding.weight");
        vec![NamedParam::new(name, &self.embedding)]
    }
}
