//! Loading an adapter folder, whoever wrote it.

use std::path::Path;

use burn::tensor::Device;
use pelt_hooks::EncoderShape;
use serde_json::Value;

use crate::{Adapter, AdapterConfig, LoadedHead, MethodError, adapterhub, peft};

/// A frozen tensor of the base model by name, without the model's prefix.
pub type BaseTensors<'a> = &'a dyn Fn(&str) -> Option<Vec<f32>>;

/// An adapter from a folder.
#[derive(Debug)]
pub struct Loaded {
    /// Its name in the file.
    pub name: String,
    /// What it is.
    pub config: AdapterConfig,
    /// The weights.
    pub adapter: Adapter,
    /// The task head that was saved with it.
    pub head: Option<LoadedHead>,
}

/// Loads an adapter saved by AdapterHub's `adapters` or by PEFT.
///
/// `model_type` is `bert` or `roberta`, `device` where the parameters go (trainable on an autodiff device), and `base`
/// gives frozen tensors of the base model.
///
/// # Errors
/// A missing or broken file, an adapter for another model, a method that is not supported, or tensors that do not fit.
pub fn load(
    folder: &Path,
    shape: &EncoderShape,
    model_type: &str,
    device: &Device,
    base: BaseTensors<'_>,
) -> Result<Loaded, MethodError> {
    let path = folder.join("adapter_config.json");
    let text = std::fs::read_to_string(&path)
        .map_err(|e| MethodError::file(&path, format!("not an adapter folder: {e}")))?;
    let config: Value = serde_json::from_str(&text)
        .map_err(|e| MethodError::file(&path, format!("not a JSON file: {e}")))?;
    let target = Target {
        path: &path,
        folder,
        shape,
        model_type,
        device,
    };
    match config.get("peft_type") {
        Some(_) => peft::load(&config, &target, base),
        None => adapterhub::load(&config, &target),
    }
}

/// What an adapter is loaded for.
pub(crate) struct Target<'a> {
    /// `adapter_config.json`.
    pub path: &'a Path,
    pub folder: &'a Path,
    pub shape: &'a EncoderShape,
    pub model_type: &'a str,
    pub device: &'a Device,
}

impl Target<'_> {
    pub fn error(&self, message: impl Into<String>) -> MethodError {
        MethodError::file(self.path, message)
    }

    /// The parameters of a configuration, about to be overwritten.
    pub fn init(&self, config: &AdapterConfig) -> Result<Adapter, MethodError> {
        let mut config = config.clone();
        for part in &mut config.parts {
            if let crate::PartConfig::Prompt(prompt) = part {
                prompt.prompt_init = pelt_prompt::PromptInit::RandomUniform;
            }
        }
        config
            .init(self.shape, self.device, &|_| None)
            .map_err(|error| self.error(error.to_string()))
    }
}
