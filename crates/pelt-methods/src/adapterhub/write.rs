//! Writing an AdapterHub folder.

use std::collections::BTreeMap;
use std::path::Path;

use pelt_hooks::{ADAPTER, Method, values};
use pelt_tensors::{HostTensor, TensorFiles, write_atomically, write_pytorch, write_safetensors};
use serde_json::{Value, json};

use super::VERSION;
use super::json::to_json;
use crate::format::CONFIG_FILE;
use crate::{Adapter, AdapterConfig, MethodError};

/// The base model as adapter files describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// `bert` or `roberta`.
    pub model_type: String,
    /// Name or path of the model.
    pub model_name: String,
    /// The transformers class, e.g. `BertForSequenceClassification`; tensors of a bare `BertModel` have no prefix.
    pub model_class: String,
    /// Width of a hidden state.
    pub hidden_size: usize,
}

impl ModelInfo {
    /// What the names of the encoder's tensors begin with.
    fn prefix(&self) -> String {
        match self.model_class.as_str() {
            "BertModel" | "RobertaModel" => String::new(),
            _ => format!("{}.", self.model_type),
        }
    }

    /// What is said of the model, and of the writer, in the description of anything of this name.
    pub(crate) fn describe(&self, name: &str) -> Value {
        json!({
            "hidden_size": self.hidden_size,
            "model_class": self.model_class,
            "model_name": self.model_name,
            "model_type": self.model_type,
            "name": name,
            "version": VERSION,
        })
    }

    /// The class that has flexible heads.
    pub fn flexible_class(&self) -> String {
        match self.model_type.as_str() {
            "roberta" => "RobertaAdapterModel".into(),
            _ => "BertAdapterModel".into(),
        }
    }
}

/// Writes `adapter_config.json` and `adapter.safetensors`.
///
/// A prefix is written once, under its model-level name, which the library reads back. A part with settings that the
/// library does not have gets an architecture that the library refuses, so that it never computes something else.
///
/// # Errors
/// If a file cannot be written.
pub fn save(
    folder: &Path,
    name: &str,
    config: &AdapterConfig,
    adapter: &Adapter,
    model: &ModelInfo,
) -> Result<(), MethodError> {
    let path = folder.join(CONFIG_FILE);
    let described = to_json(config).map_err(|e| {
        MethodError::file(&path, format!("the configuration cannot be written: {e}"))
    })?;
    let tensors = host_tensors(adapter, name, model, &path)?;
    let mut json = model.describe(name);
    json["config"] = described;
    write_both(&folder.join("adapter.safetensors"), &tensors, &path, &json)
}

/// The files of tensors that this crate writes, and the names under which AdapterHub's library looks for them unless it is told
/// to read safetensors.
const PYTORCH_COPIES: [(&str, &str); 3] = [
    ("adapter.safetensors", "pytorch_adapter.bin"),
    ("model_head.safetensors", "pytorch_model_head.bin"),
    (
        "model_adapter_fusion.safetensors",
        "pytorch_model_adapter_fusion.bin",
    ),
];

/// Writes a PyTorch file beside each file of tensors of a folder.
///
/// # Errors
/// If a file cannot be read or written.
pub fn save_pytorch_copies(folder: &Path) -> Result<(), MethodError> {
    for (from, to) in PYTORCH_COPIES {
        let from = folder.join(from);
        if from.exists() {
            let tensors = TensorFiles::open(&from)?.read_all()?;
            write_pytorch(&folder.join(to), &tensors)?;
        }
    }
    Ok(())
}

/// Writes the tensors, and then what describes them.
pub(crate) fn write_both(
    file: &Path,
    tensors: &BTreeMap<String, HostTensor>,
    path: &Path,
    json: &Value,
) -> Result<(), MethodError> {
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    write_safetensors(file, tensors, &metadata)?;
    write_atomically(path, format!("{json:#}").as_bytes())?;
    Ok(())
}

/// Every trained tensor under its name in files.
pub(super) fn host_tensors<M: Method>(
    method: &M,
    name: &str,
    model: &ModelInfo,
    path: &Path,
) -> Result<BTreeMap<String, HostTensor>, MethodError> {
    let tensors = tensors_by_name(method, path)?.into_iter();
    let full = |own: String| format!("{}{}", model.prefix(), own.replace(ADAPTER, name));
    Ok(tensors.map(|(own, tensor)| (full(own), tensor)).collect())
}

/// Every trained tensor under its own name, with [`ADAPTER`] in the place of the adapter's.
pub(crate) fn tensors_by_name<M: Method>(
    method: &M,
    path: &Path,
) -> Result<BTreeMap<String, HostTensor>, MethodError> {
    let values = values(method);
    let mut tensors = BTreeMap::new();
    for param in method.named_params() {
        let value = values
            .get(&param.id)
            .map(|value| value.clone().into_data().try_to_vec_as::<f32>());
        let Some(Ok(value)) = value else {
            let message = format!(
                "the values of {} cannot be read from the device",
                param.name
            );
            return Err(MethodError::file(path, message));
        };
        let tensor = HostTensor::new(param.shape.clone(), param.to_file(value))?;
        tensors.insert(param.name.clone(), tensor);
    }
    Ok(tensors)
}
