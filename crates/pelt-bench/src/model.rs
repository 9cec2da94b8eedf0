//! From a checkpoint folder and a method to a model that can be trained.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use pelt_data::Tokenizer;
use pelt_encoder::{
    Architecture, Checkpoint, Encoder, EncoderConfig, Head, HeadConfig, HeadKind, Precision,
};
use pelt_methods::{Adapter, PromptConfig};
use pelt_train::PeftModel;

use crate::{BenchError, MethodChoice};

/// What is measured, and where.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// Checkpoint folder.
    pub model: &'a Path,
    /// The method's name, for the report.
    pub method_name: &'a str,
    /// The method.
    pub method: &'a MethodChoice,
    /// Rows of a batch.
    pub batch: usize,
    /// Seed of initial values, row order and dropout.
    pub seed: u64,
    /// Of hidden states and frozen weights.
    pub precision: Precision,
    /// Where it runs, without autodiff.
    pub device: &'a Device,
}

impl Setup<'_> {
    /// The model with a new adapter and a head of `labels` outputs, as `pelt train` would start with it.
    pub(crate) fn build(
        &self,
        labels: usize,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<PeftModel<Adapter>, BenchError> {
        supported(self.precision, self.device)?;
        let checkpoint = Checkpoint::open(self.model)?;
        let encoder = Arc::new(checkpoint.encoder(self.device)?);
        let training = self.device.clone().autodiff();
        pelt_hooks::seed(self.seed);
        let rows = |prompt: &PromptConfig| prompt_rows(prompt, &encoder, tokenizer, self.seed);
        let config = self.method.adapter();
        let adapter = config.init(encoder.shape(), &training, &rows)?;
        let head = head_config(checkpoint.config(), labels);
        let head = Head::new(head, encoder.shape().hidden_size, &training);
        let model = PeftModel::new(encoder, adapter, head);
        let model = match self.method {
            MethodChoice::Adapter(_) => model,
            MethodChoice::Full => model.with_tuned_encoder(|_| true),
            MethodChoice::BitFit => model.with_tuned_encoder(|name| name.ends_with(".bias")),
        };
        Ok(model.with_precision(self.precision))
    }
}

/// Checks that a device computes in a precision.
pub(crate) fn supported(precision: Precision, device: &Device) -> Result<(), BenchError> {
    match precision.is_supported(device) {
        true => Ok(()),
        false => Err(BenchError::NotThere(precision)),
    }
}

/// The head that transformers gives such a model.
fn head_config(config: &EncoderConfig, labels: usize) -> HeadConfig {
    let kind = match config.architecture {
        Architecture::Bert if config.shape.pooler => HeadKind::BertPooled,
        Architecture::Bert => HeadKind::Flexible,
        Architecture::Roberta => HeadKind::Roberta,
    };
    HeadConfig {
        kind,
        labels,
        dropout: config.classifier_dropout,
    }
}

/// Word embeddings for a prompt that starts from a text or from sampled words.
fn prompt_rows(
    prompt: &PromptConfig,
    encoder: &Encoder,
    tokenizer: Option<&Tokenizer>,
    seed: u64,
) -> Option<Tensor<2>> {
    let words = encoder.shape().vocab_size;
    let ids: Vec<u32> = match prompt.prompt_init_text.as_deref() {
        Some(text) => tokenizer?.encode_text_with_special_tokens(text).ok()?,
        None => pelt_data::first_rows(words, prompt.prompt_length, seed)
            .into_iter()
            .map(|row| row as u32)
            .collect(),
    };
    let known = ids.iter().all(|id| (*id as usize) < words);
    (known && !ids.is_empty()).then(|| encoder.word_embeddings(&ids))
}

/// Number of values that a model trains; a tensor with two names counts once.
pub(crate) fn trainable(model: &PeftModel<Adapter>) -> usize {
    let mut params = model.named_params();
    params.sort_by_key(|param| param.id);
    params.dedup_by_key(|param| param.id);
    params.iter().map(pelt_hooks::NamedParam::count).sum()
}
