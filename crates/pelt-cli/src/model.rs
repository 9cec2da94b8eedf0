//! Building a model from a checkpoint, a method and a head.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::{Device, Tensor};
use pelt_data::Tokenizer;
use pelt_encoder::{
    Architecture, Checkpoint, Encoder, EncoderConfig, Head, HeadConfig, HeadKind, PromptLabels,
};
use pelt_methods::{Adapter, AdapterConfig, Level, Loaded, LoadedFusion, PromptConfig, PromptInit};

use crate::args::HeadChoice;
use crate::device::device;

/// An opened base model.
pub struct Base {
    pub checkpoint: Checkpoint,
    pub encoder: Arc<Encoder>,
}

impl Base {
    /// Opens the folder and loads the frozen encoder; `dropout` replaces the model's own probabilities.
    pub fn open(folder: &Path, dropout: Option<f64>) -> Result<Self> {
        let checkpoint = Checkpoint::open(folder)?;
        let mut encoder = checkpoint.encoder(&device())?;
        if let Some(p) = dropout {
            encoder = encoder.with_dropout(p, p);
        }
        Ok(Self {
            checkpoint,
            encoder: Arc::new(encoder),
        })
    }

    pub fn config(&self) -> &EncoderConfig {
        self.checkpoint.config()
    }

    /// The values of a frozen tensor, by its name without the model's prefix.
    pub fn frozen(&self, name: &str) -> Option<Vec<f32>> {
        let tensor = self.checkpoint.tensor(name).ok()?;
        Some(tensor.values)
    }

    /// Loads the adapter in a folder of ours or of another library to `device`.
    pub fn load_adapter(&self, folder: &Path, device: &Device) -> Result<Loaded> {
        let model_type = self.config().architecture.name();
        let frozen = |name: &str| self.frozen(name);
        let shape = self.encoder.shape();
        Ok(pelt_methods::load(
            folder, shape, model_type, device, &frozen,
        )?)
    }

    /// Loads the mixture of these adapters in a folder of ours or of another library.
    pub fn load_fusion(&self, folder: &Path, adapters: Vec<Level>) -> Result<LoadedFusion> {
        let model_type = self.config().architecture.name();
        let shape = self.encoder.shape();
        Ok(pelt_methods::load_fusion(
            folder,
            adapters,
            shape,
            model_type,
            &device(),
        )?)
    }
}

/// The head for a new run.
pub fn head_config(
    config: &EncoderConfig,
    choice: HeadChoice,
    labels: usize,
    dropout: Option<f64>,
) -> HeadConfig {
    let kind = match (choice, config.architecture) {
        (HeadChoice::Auto, Architecture::Bert) if config.shape.pooler => HeadKind::BertPooled,
        (HeadChoice::Auto, Architecture::Roberta) => HeadKind::Roberta,
        (HeadChoice::Auto | HeadChoice::Flexible, _) => HeadKind::Flexible,
    };
    HeadConfig {
        kind,
        labels,
        dropout: dropout.unwrap_or(config.classifier_dropout),
    }
}

/// The head for a new run that answers questions.
pub fn span_head_config(
    config: &EncoderConfig,
    choice: HeadChoice,
    prompt_labels: PromptLabels,
    dropout: Option<f64>,
) -> HeadConfig {
    HeadConfig {
        kind: match choice {
            HeadChoice::Auto => HeadKind::Span { prompt_labels },
            HeadChoice::Flexible => HeadKind::FlexibleSpan { prompt_labels },
        },
        labels: 2,
        dropout: dropout.unwrap_or(config.classifier_dropout),
    }
}

/// A new adapter on `device`, with prompts that start from words read by the model's tokenizer.
pub fn new_adapter(
    config: &AdapterConfig,
    base: &Base,
    tokenizer: &Tokenizer,
    seed: u64,
    device: &Device,
) -> Result<Adapter> {
    config.validate(base.encoder.shape())?;
    pelt_hooks::seed(seed);
    let failed = RefCell::new(None);
    let rows = |prompt: &PromptConfig| {
        if !prompt.prompt_init.needs_rows() {
            return None;
        }
        let rows = prompt_rows(prompt, &base.encoder, tokenizer, seed);
        rows.map_err(|error| failed.replace(Some(error))).ok()
    };
    let adapter = config.init(base.encoder.shape(), device, &rows);
    match failed.into_inner() {
        Some(error) => Err(error),
        None => Ok(adapter?),
    }
}

/// Word embeddings for a prompt that starts from a text or from sampled words.
fn prompt_rows(
    prompt: &PromptConfig,
    encoder: &Encoder,
    tokenizer: &Tokenizer,
    seed: u64,
) -> Result<Tensor<2>> {
    let text = prompt.prompt_init_text.as_deref();
    let text = text.filter(|_| prompt.prompt_init == PromptInit::FromString);
    let ids = match text {
        Some(text) => {
            let unusable = || format!("the prompt cannot start from {text:?}");
            let ids = tokenizer.encode_text_with_special_tokens(text);
            let ids = ids.with_context(unusable)?;
            ensure!(!ids.is_empty(), "{}: it has no tokens", unusable());
            ids
        }
        None => pelt_data::first_rows(encoder.shape().vocab_size, prompt.prompt_length, seed)
            .into_iter()
            .map(|row| row as u32)
            .collect(),
    };
    let words = encoder.shape().vocab_size;
    if let Some(id) = ids.iter().find(|id| **id as usize >= words) {
        bail!(
            "the tokenizer does not belong to this model: a prompt starts from token {id}, but the model has only {words}"
        );
    }
    Ok(encoder.word_embeddings(&ids))
}

/// The tokenizer of a model folder.
pub fn tokenizer(folder: &Path) -> Result<Tokenizer> {
    Ok(Tokenizer::load(folder)?)
}

/// A new head on `device`; its values follow those of the adapter from the same seed.
pub fn new_head(config: HeadConfig, base: &Base, device: &Device) -> Head {
    Head::new(config, base.encoder.shape().hidden_size, device)
}

/// The folder as an absolute path, to be kept in a run.
pub fn absolute(path: &Path) -> Result<String> {
    let absolute = std::path::absolute(path)
        .with_context(|| format!("{}: cannot be made absolute", path.display()))?;
    Ok(absolute.display().to_string())
}

/// Layers that are skipped, of which the model must have all.
pub fn skipped_layers(layers: &[usize], base: &Base) -> Result<Vec<usize>> {
    let count = base.encoder.shape().layers;
    if let Some(layer) = layers.iter().find(|layer| **layer >= count) {
        bail!("--skip-layers has layer {layer}, but the model has {count} layers, from 0");
    }
    Ok(layers.to_vec())
}
