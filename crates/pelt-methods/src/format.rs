//! Loading an adapter folder, whoever wrote it.

use std::path::Path;

use burn::tensor::Device;
use pelt_hooks::EncoderShape;
use pelt_tensors::{read_small_file, shown};
use serde_json::Value;

use crate::adapterhub::FUSION_CONFIG_FILE;
use crate::{Adapter, AdapterConfig, LoadedHead, MethodError, adapterhub, peft};

/// The file that describes an adapter.
pub(crate) const CONFIG_FILE: &str = "adapter_config.json";

/// The longest name of an adapter or a head, in bytes: it is repeated in the name of every parameter.
const LONGEST_NAME: usize = 256;

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
    /// The task head that was saved with it. The tensors of a flexible head carry the adapter's name.
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
    let path = folder.join(CONFIG_FILE);
    if !path.exists() {
        let mut message = match folder.join(FUSION_CONFIG_FILE).exists() {
            true => "this is an AdapterFusion, expected an adapter".to_string(),
            false => "not an adapter folder: it has no adapter_config.json".to_string(),
        };
        let inside = folders_of_adapters(folder).join(", ");
        if !inside.is_empty() {
            message += &format!("; there are adapters in its folders {inside}");
        }
        return Err(MethodError::file(folder, message));
    }
    let config = read_json(&path)?;
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

/// The names of the folders in this one that hold adapters, sorted.
fn folders_of_adapters(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let with_one = entries.filter(|entry| entry.path().join(CONFIG_FILE).is_file());
    let mut names: Vec<String> = with_one
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The content of an adapter folder's `adapter_config.json`, whoever wrote it.
///
/// # Errors
/// If it is missing or no JSON.
pub fn description(folder: &Path) -> Result<Value, MethodError> {
    read_json(&folder.join(CONFIG_FILE))
}

/// Reads a JSON file of moderate size.
pub(crate) fn read_json(path: &Path) -> Result<Value, MethodError> {
    serde_json::from_slice(&read_bytes(path)?)
        .map_err(|e| MethodError::file(path, format!("not a JSON file: {e}")))
}

/// Reads a file of moderate size.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, MethodError> {
    read_small_file(path).map_err(|e| MethodError::file(path, format!("cannot be read: {e}")))
}

/// Checks the name that `path` gives to an adapter or a head.
///
/// # Errors
/// If it is too long, or has control characters.
pub(crate) fn check_name(path: &Path, name: &str) -> Result<(), MethodError> {
    match name.len() <= LONGEST_NAME && !name.contains(char::is_control) {
        true => Ok(()),
        false => {
            let message = format!(
                "a name must have at most {LONGEST_NAME} bytes and no control characters, but here is {}",
                shown(name)
            );
            Err(MethodError::file(path, message))
        }
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

    pub fn other_type(&self, made_for: &str) -> MethodError {
        let model_type = self.model_type;
        self.error(format!(
            "the adapter was made for a model of type {made_for}, but this one is {model_type}"
        ))
    }

    pub fn other_layers(&self, made_for: usize) -> MethodError {
        let layers = self.shape.layers;
        self.error(format!(
            "the adapter was made for a model with {made_for} layers, but this one has {layers}"
        ))
    }

    pub fn check_width(&self, made_for: Option<u64>) -> Result<(), MethodError> {
        let width = self.shape.hidden_size;
        match made_for {
            Some(made_for) if made_for != width as u64 => Err(self.error(format!(
                "the adapter was made for a model with hidden size {made_for}, but this one has {width}"
            ))),
            _ => Ok(()),
        }
    }

    /// The parameters of a configuration, about to be filled. They have their shapes and no values: the configuration may ask
    /// for any size, so no memory is taken for them before the tensors have been looked at.
    pub fn build(&self, config: &AdapterConfig) -> Result<Adapter, MethodError> {
        // What a prompt once started from does not matter any more.
        let config = config.without_words();
        config
            .validate(self.shape)
            .and_then(|()| config.build(self.shape, self.device, &|_| None))
            .map_err(|error| self.error(error.to_string()))
    }
}
