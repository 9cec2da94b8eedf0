//! The folder that `pelt pretrain` writes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use pelt_encoder::{Architecture, HeadConfig};
use pelt_methods::{Adapter, ModelInfo};
use pelt_tensors::{TensorFiles, write_atomically};
use pelt_train::{CHECKPOINT_FILE, PeftModel, TrainConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::corpus::TextsRecord;
use crate::method::Tuning;
use crate::model::Base;
use crate::model_folder::{self, MODEL_FILE, TOKENIZER_FILES};
use crate::run_folder::{ADAPTER_NAME, FolderKind, STARTED_FILE, head_tensors, remove_unfinished};
use crate::run_record::BaseModel;

/// Marks a finished run; written last.
pub const PRETRAIN_FILE: &str = "pretrain.json";
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
                model_name: config.base.name(),
                model_class: model_class(base).into(),
                hidden_size: config.base.shape.hidden_size,
            };
            pelt_methods::save(folder, ADAPTER_NAME, adapter, &model.method, &info)?;
            let tensors = head_tensors(&model.head)?;
            let outputs = config.head.labels;
            pelt_methods::save_head(folder, ADAPTER_NAME, &tensors, None, outputs, &info)?;
        }
        Tuning::Full | Tuning::BitFit => {
            let changes = vec![
                ("architectures", json!([model_class(base)])),
                ("tie_word_embeddings", true.into()),
            ];
            model_folder::write(folder, model, base, base_folder, changes)?;
        }
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
