//! Task heads saved beside an adapter.

use std::collections::BTreeMap;
use std::path::Path;

use pelt_tensors::{HostTensor, TensorFiles};
use serde_json::{Map, Value, json};

use crate::adapterhub::write_both;
use crate::format::{check_name, read_json};
use crate::{MethodError, ModelInfo};

/// The tensors of a task head from a file.
#[derive(Debug, Clone)]
pub struct LoadedHead {
    /// Tensors by name.
    pub tensors: BTreeMap<String, HostTensor>,
    /// Label names by number, where the file has them.
    pub labels: Option<Vec<String>>,
    /// The head's name: part of the tensor names of a flexible head.
    pub name: Option<String>,
}

/// Loads `head_config.json` with `model_head.safetensors` or `pytorch_model_head.bin`; `None` without them.
///
/// # Errors
/// If a file is there but broken.
pub fn load_head(folder: &Path) -> Result<Option<LoadedHead>, MethodError> {
    let path = folder.join("head_config.json");
    if !path.exists() {
        return Ok(None);
    }
    let config = read_json(&path)?;
    let name = config.get("name").and_then(Value::as_str);
    check_name(&path, name.unwrap_or_default())?;
    let files = TensorFiles::open_folder(folder, &["model_head"])?;
    // A flexible head keeps its settings in an object of its own.
    let settings = match config.get("config") {
        Some(Value::Object(inner)) => {
            check_flexible(inner).map_err(|message| MethodError::file(&path, message))?;
            inner
        }
        _ => config
            .as_object()
            .ok_or_else(|| MethodError::file(&path, "expected a JSON object"))?,
    };
    let labels = settings
        .get("label2id")
        .and_then(Value::as_object)
        .and_then(labels);
    Ok(Some(LoadedHead {
        tensors: files.read_all()?,
        labels,
        name: name.map(str::to_string),
    }))
}

/// Refuses a flexible head that computes something else than the tensors' names say: only the classification head with
/// two layers is known, those for spans and for tokens.
fn check_flexible(settings: &Map<String, Value>) -> Result<(), String> {
    let usual: Vec<(&str, Value)> = match settings.get("head_type").and_then(Value::as_str) {
        Some("classification") => vec![
            ("activation_function", "tanh".into()),
            ("bias", true.into()),
            ("layers", 2.into()),
            ("use_pooler", false.into()),
        ],
        Some("question_answering") => vec![("layers", 1.into())],
        Some("masked_lm") => vec![
            ("activation_function", "gelu".into()),
            ("bias", true.into()),
            ("layer_norm", true.into()),
            ("layers", 2.into()),
        ],
        other => {
            return Err(format!(
                "a head of type {} is not supported",
                other.unwrap_or("null")
            ));
        }
    };
    for (field, usual) in usual {
        match settings.get(field) {
            None | Some(Value::Null) => {}
            Some(value) if *value == usual => {}
            Some(value) => {
                return Err(format!(
                    "a head with {field} = {value} is not supported, expected {usual}"
                ));
            }
        }
    }
    Ok(())
}

fn labels(label2id: &Map<String, Value>) -> Option<Vec<String>> {
    let mut labels = vec![None; label2id.len()];
    for (label, number) in label2id {
        let number = usize::try_from(number.as_u64()?).ok()?;
        *labels.get_mut(number)? = Some(label.clone());
    }
    labels.into_iter().collect()
}

fn is_flexible_masked_lm(tensors: &BTreeMap<String, HostTensor>) -> bool {
    tensors
        .keys()
        .any(|name| name.starts_with("heads.") && name.ends_with(".3.bias"))
}

/// Writes a head in AdapterHub's format. Tensors named `heads.NAME...` make it a flexible head: one for classification, for
/// tokens where it ends with a bias of its own, or for spans where it has a single layer.
///
/// # Errors
/// If a file cannot be written.
pub fn save_head(
    folder: &Path,
    name: &str,
    tensors: &BTreeMap<String, HostTensor>,
    labels: Option<&[String]>,
    outputs: usize,
    model: &ModelInfo,
) -> Result<(), MethodError> {
    let flexible = tensors.keys().any(|name| name.starts_with("heads."));
    let tokens = ["cls.predictions.bias", "lm_head.bias"]
        .iter()
        .any(|name| tensors.contains_key(*name));
    // A static head for tokens has no labels, and the library then writes the two that every model has by default.
    let outputs = if tokens { 2 } else { outputs };
    let label2id: Map<String, Value> = match labels {
        Some(labels) => labels.iter().cloned().zip((0..).map(Value::from)).collect(),
        None if flexible && is_flexible_masked_lm(tensors) => Map::new(),
        None => (0..outputs)
            .map(|i| (format!("LABEL_{i}"), i.into()))
            .collect(),
    };
    let mut config = model.describe(name);
    if flexible {
        config["model_class"] = model.flexible_class().into();
    }
    match flexible {
        true if is_flexible_masked_lm(tensors) => {
            config["config"] = json!({
                "activation_function": "gelu",
                "bias": true,
                "embedding_size": model.hidden_size,
                "head_type": "masked_lm",
                "label2id": null,
                "layer_norm": true,
                "layers": 2,
                "shift_labels": false,
                "vocab_size": outputs,
            });
        }
        true if !tensors.keys().any(|name| name.ends_with(".4.weight")) => {
            config["config"] = json!({
                "activation_function": "tanh",
                "dropout_prob": null,
                "head_type": "question_answering",
                "label2id": label2id,
                "layers": 1,
                "num_labels": outputs,
            });
        }
        true => {
            config["config"] = json!({
                "activation_function": "tanh",
                "bias": true,
                "dropout_prob": null,
                "head_type": "classification",
                "label2id": label2id,
                "layers": 2,
                "num_labels": outputs,
                "use_pooler": false,
            });
        }
        false => {
            config["name"] = Value::Null;
            config["config"] = Value::Null;
            config["label2id"] = label2id.into();
            config["num_labels"] = outputs.into();
        }
    }
    let path = folder.join("head_config.json");
    let file = folder.join("model_head.safetensors");
    write_both(&file, tensors, &path, &config)
}
