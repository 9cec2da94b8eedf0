//! The folder that `pelt pretrain` writes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use pelt_encoder::{Architecture, HeadConfig};
use pelt_hooks::values;
use pelt_methods::{Adapter, ModelInfo};
use pelt_tensors::{TensorFiles, write_atomically, write_safetensors};
use pelt_train::{CHECKPOINT_FILE, PeftModel, TrainConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::corpus::TextsRecord;
use crate::method::Tuning;
use crate::model::Base;
use crate::run_folder::{
    ADAPTER_NAME, BaseModel, FolderKind, STARTED_FILE, host_tensors, remove_unfinished,
};

/// Marks a finished run; written last.
pub const PRETRAIN_FILE: &str = "pretrain.json";
/// The weights of a whole model.
const MODEL_FILE: &str = "model.safetensors";
/// What a tokenizer can consist of.
const TOKENIZER_FILES: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// The folder of `pelt pretrain`.
pub const PRETRAIN_FOLDER: FolderKind = FolderKind {
    finished: PRETRAIN_FILE,
    files: &[
        PRETRAIN_FILE,
        STARTED_FILE,
        CHECKPOINT_FILE,
        "metrics.jsonl",
        MODEL_FILE,
        "config.json",
        TOKENIZER_FILES[0],
        TOKENIZER_FILES[1],
        TOKENIZER_FILES[2],
        TOKENIZER_FILES[3],
        TOKENIZER_FILES[4],
        TOKENIZER_FILES[5],
        TOKENIZER_FILES[6],
        "adapter_config.json",
        "adapter.safetensors",
        "head_config.json",
        "model_head.safetensors",
    ],
};

/// Everything that a run was started with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PretrainConfig {
    pub tuning: Tuning,
    pub head: HeadConfig,
    /// Whether the model had no such head, so that a new one was started.
    pub new_head: bool,
    pub base: BaseModel,
    /// What `--corpus` named.
    pub corpus: Vec<String>,
    pub packing: pelt_data::TextPacking,
    pub texts: TextsRecord,
    pub held_out: Option<TextsRecord>,
    pub train: TrainConfig,
    pub dropout: Option<f64>,
}

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PretrainResults {
    pub trainable_parameters: usize,
    pub base_parameters: usize,
    pub steps: usize,
    /// Rows of an optimiser step: those of a batch, times the batches that are added up.
    pub effective_batch_size: usize,
    /// The device that it was trained on.
    pub device: String,
    pub best_step: usize,
    /// Loss, perplexity and accuracy on the held-out texts before the first step.
    pub before: BTreeMap<String, f64>,
    /// The same with the weights that were kept.
    pub best: BTreeMap<String, f64>,
    pub seconds: f64,
    pub stopped_early: bool,
    pub peak_memory_mib: Option<u64>,
}

#[derive(Serialize)]
struct PretrainRecord<'a> {
    version: &'a str,
    config: &'a PretrainConfig,
    results: &'a PretrainResults,
    /// SHA-256 of every tensor file, by file name.
    files: BTreeMap<String, String>,
}

/// Writes a whole model where the encoder was trained, else the adapter and its head; the record comes last.
pub fn save(
    folder: &Path,
    config: &PretrainConfig,
    results: &PretrainResults,
    model: &PeftModel<Adapter>,
    base: &Base,
    base_folder: &Path,
) -> Result<()> {
    match &config.tuning {
        Tuning::Adapter(adapter) => {
            let info = ModelInfo {
                model_type: config.base.architecture.clone(),
                model_name: config.base.path.clone(),
                model_class: model_class(base).into(),
                hidden_size: config.base.shape.hidden_size,
            };
            pelt_methods::save(folder, ADAPTER_NAME, adapter, &model.method, &info)?;
            let tensors = host_tensors(&model.head.named_params(), &values(&model.head))?;
            let outputs = config.head.labels;
            pelt_methods::save_head(folder, ADAPTER_NAME, &tensors, None, outputs, &info)?;
        }
        Tuning::Full | Tuning::BitFit => save_model(folder, model, base, base_folder)?,
        Tuning::Fusion(_) => bail!("a mixture is trained on a task"),
    }
    let mut files = BTreeMap::new();
    for file in [MODEL_FILE, "adapter.safetensors", "model_head.safetensors"] {
        let path = folder.join(file);
        if path.exists() {
            files.insert(file.to_string(), TensorFiles::open(&path)?.sha256()?);
        }
    }
    let record = PretrainRecord {
        version: env!("CARGO_PKG_VERSION"),
        config,
        results,
        files,
    };
    let text = serde_json::to_string_pretty(&record)?;
    write_atomically(&folder.join(PRETRAIN_FILE), text.as_bytes())?;
    remove_unfinished(folder)
}

fn model_class(base: &Base) -> &'static str {
    match base.config().architecture {
        Architecture::Bert => "BertForMaskedLM",
        Architecture::Roberta => "RobertaForMaskedLM",
    }
}

/// A model folder that any reader of Hugging Face's layout can open.
fn save_model(
    folder: &Path,
    model: &PeftModel<Adapter>,
    base: &Base,
    base_folder: &Path,
) -> Result<()> {
    let encoder = model.encoder();
    let prefix = base.config().architecture.name();
    let mut tensors = host_tensors(&model.head.named_params(), &values(&model.head))?;
    for (name, tensor) in host_tensors(&encoder.named_params(), &values(encoder))? {
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
    config["architectures"] = serde_json::json!([model_class(base)]);
    config["tie_word_embeddings"] = true.into();
    for name in ["dtype", "torch_dtype"] {
        if let Some(value) = config.get_mut(name) {
            *value = "float32".into();
        }
    }
    write_atomically(
        &folder.join("config.json"),
        format!("{config:#}").as_bytes(),
    )?;
    Ok(())
}
