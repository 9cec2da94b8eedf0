//! A model folder that any reader of Hugging Face's layout can open.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use pelt_hooks::values;
use pelt_methods::Adapter;
use pelt_tensors::{write_atomically, write_safetensors};
use pelt_train::PeftModel;
use serde_json::Value;

use crate::model::Base;
use crate::run_folder::{head_tensors, host_tensors};

/// The weights of a whole model.
pub const MODEL_FILE: &str = "model.safetensors";

/// What a tokenizer can consist of.
pub const TOKENIZER_FILES: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// Writes encoder and head, the tokenizer of the base model, and its configuration with these entries changed.
pub fn write(
    folder: &Path,
    model: &PeftModel<Adapter>,
    base: &Base,
    base_folder: &Path,
    changes: Vec<(&str, Value)>,
) -> Result<()> {
    let prefix = base.config().architecture.name();
    let mut tensors = head_tensors(&model.head)?;
    let mut encoder = match &model.tuned {
        // What was not trained is as it was: a run in half precision has rounded its copy.
        Some(_) => host_tensors(&base.encoder.named_params(), &values(base.encoder.as_ref()))?,
        None => host_tensors(&model.encoder().named_params(), &values(model.encoder()))?,
    };
    if let Some(tuned) = &model.tuned {
        encoder.extend(host_tensors(&model.tuned_params(), &values(tuned))?);
    }
    for (name, tensor) in encoder {
        tensors.insert(format!("{prefix}.{name}"), tensor);
    }
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    write_safetensors(&folder.join(MODEL_FILE), &tensors, &metadata)?;
    for file in TOKENIZER_FILES {
        let from = base_folder.join(file);
        if from.exists() {
            let bytes = std::fs::read(&from)
                .with_context(|| format!("{}: cannot be read", from.display()))?;
            write_atomically(&folder.join(file), &bytes)?;
        }
    }
    let path = base_folder.join("config.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{}: cannot be read", path.display()))?;
    let mut config: Value = serde_json::from_str(&text)
        .with_context(|| format!("{}: not a model configuration", path.display()))?;
    let fields = config
        .as_object_mut()
        .with_context(|| format!("{}: not a model configuration", path.display()))?;
    for (name, value) in changes {
        fields.insert(name.to_string(), value);
    }
    for name in ["dtype", "torch_dtype"] {
        if let Some(value) = fields.get_mut(name) {
            *value = "float32".into();
        }
    }
    let text = format!("{config:#}");
    Ok(write_atomically(
        &folder.join("config.json"),
        text.as_bytes(),
    )?)
}
