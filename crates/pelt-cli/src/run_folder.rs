//! The folder of a finished run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use pelt_data::Target;
use pelt_encoder::{EncoderError, Head, HeadConfig};
use pelt_hooks::{ADAPTER, EncoderShape, NamedParam, load_named, values};
use pelt_methods::{Adapter, ModelInfo};
use pelt_metrics::Metric;
use pelt_tensors::{HostTensor, TensorFiles, write_atomically, write_safetensors};
use pelt_train::{CHECKPOINT_FILE, PeftModel, TrainConfig};
use serde::{Deserialize, Serialize};

use crate::device::device;
use crate::method::Tuning;
use crate::model::Base;

/// Marks a finished run; written last.
pub const RUN_FILE: &str = "run.json";
/// What a run was started with; written first.
pub const STARTED_FILE: &str = "started.json";
/// Trained encoder weights of full fine-tuning and BitFit.
const TUNED_FILE: &str = "tuned.safetensors";
/// The adapter's name in its files.
const ADAPTER_NAME: &str = "pelt";

/// Every file that a run writes.
const FILES: [&str; 9] = [
    RUN_FILE,
    STARTED_FILE,
    TUNED_FILE,
    CHECKPOINT_FILE,
    "metrics.jsonl",
    "adapter_config.json",
    "adapter.safetensors",
    "head_config.json",
    "model_head.safetensors",
];

/// The base model that a run belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaseModel {
    /// Where it was; the tokenizer is read from there too.
    pub path: String,
    /// SHA-256 of its weights.
    pub fingerprint: String,
    /// `bert` or `roberta`.
    pub architecture: String,
    /// Sizes.
    pub shape: EncoderShape,
}

/// The rows of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunData {
    pub task: Option<String>,
    pub train: String,
    pub train_rows: usize,
    pub train_fingerprint: String,
    pub validation: Option<String>,
    pub validation_rows: usize,
    pub text_column: Option<String>,
    pub pair_column: Option<String>,
    pub pairs: bool,
}

/// Everything that a run was started with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    pub tuning: Tuning,
    pub head: HeadConfig,
    pub target: Target,
    pub metrics: Vec<Metric>,
    pub primary_metric: Metric,
    pub base: BaseModel,
    pub data: RunData,
    pub train: TrainConfig,
    pub dropout: Option<f64>,
}

/// `run.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunRecord {
    pub version: String,
    pub config: RunConfig,
    pub results: Results,
}

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    pub trainable_parameters: usize,
    pub base_parameters: usize,
    pub steps: usize,
    pub best_step: usize,
    pub best: BTreeMap<String, f64>,
    pub seconds: f64,
    pub stopped_early: bool,
    pub peak_memory_mib: Option<u64>,
}

/// What is in the folder that a run should go to.
pub fn prepare(folder: &Path, force: bool, resume: bool) -> Result<()> {
    let shown = folder.display();
    let finished = folder.join(RUN_FILE).exists();
    let started = folder.join(STARTED_FILE).exists();
    if resume {
        ensure!(!finished, "{shown}: the run in this folder is already finished; there is nothing to resume");
        ensure!(started, "{shown}: there is no run in this folder that could be resumed");
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).map(Iterator::count);
    match entries {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => bail!("{shown}: cannot be used as the run's folder: {error}"),
        Ok(0) => {}
        Ok(_) if !finished && !started => {
            bail!("{shown}: the folder is not empty and holds no run; choose another one")
        }
        Ok(_) if !force && finished => {
            bail!("{shown}: the folder already holds a run; use --force to replace it, or another folder")
        }
        Ok(_) if !force => {
            bail!("{shown}: the folder holds an unfinished run; use --resume to continue it or --force to replace it")
        }
        Ok(_) => {}
    }
    std::fs::create_dir_all(folder).with_context(|| format!("{shown}: cannot create the run's folder"))?;
    for file in FILES {
        let path = folder.join(file);
        if path.exists() {
            std::fs::remove_file(&path).with_context(|| format!("{}: cannot be replaced", path.display()))?;
        }
    }
    Ok(())
}

/// Writes the configuration with which a run starts.
pub fn write_started(folder: &Path, config: &RunConfig) -> Result<()> {
    let text = serde_json::to_string_pretty(config)?;
    Ok(write_atomically(&folder.join(STARTED_FILE), text.as_bytes())?)
}

/// Writes a trained model; `run.json` comes last, so that a folder with it is complete.
pub fn save(folder: &Path, config: &RunConfig, results: Results, model: &PeftModel<Adapter>, base: &Base) -> Result<()> {
    let info = ModelInfo {
        model_type: config.base.architecture.clone(),
        model_name: config.base.path.clone(),
        model_class: match config.base.architecture.as_str() {
            "roberta" => "RobertaForSequenceClassification".into(),
            _ => "BertForSequenceClassification".into(),
        },
        hidden_size: config.base.shape.hidden_size,
    };
    if let Tuning::Adapter(adapter) = &config.tuning {
        pelt_methods::save(folder, ADAPTER_NAME, adapter, &model.method, &info)?;
    }
    let tensors = host_tensors(&model.head.named_params(), &values(&model.head))?;
    let labels = crate::data::label_names(&config.target);
    pelt_methods::save_head(folder, ADAPTER_NAME, &tensors, labels.as_deref(), config.head.labels, &info)?;
    if let Some(encoder) = &model.tuned {
        let tensors = host_tensors(&model.tuned_params(), &values(encoder))?;
        let prefix = &config.base.architecture;
        let tensors = tensors
            .into_iter()
            .map(|(name, tensor)| (format!("{prefix}.{name}"), tensor))
            .collect();
        let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        write_safetensors(&folder.join(TUNED_FILE), &tensors, &metadata)?;
    }
    debug_assert_eq!(base.config().shape, config.base.shape);
    let record = RunRecord {
        version: env!("CARGO_PKG_VERSION").to_string(),
        config: config.clone(),
        results,
    };
    let text = serde_json::to_string_pretty(&record)?;
    write_atomically(&folder.join(RUN_FILE), text.as_bytes())?;
    for file in [CHECKPOINT_FILE, STARTED_FILE] {
        let path = folder.join(file);
        if path.exists() {
            std::fs::remove_file(&path).with_context(|| format!("{}: cannot be removed", path.display()))?;
        }
    }
    Ok(())
}

fn host_tensors(params: &[NamedParam], values: &pelt_hooks::ParamValues) -> Result<BTreeMap<String, HostTensor>> {
    let mut out = BTreeMap::new();
    for param in params {
        let value = values.get(&param.id).context("a parameter has no value")?;
        let host = value.clone().into_data().try_to_vec_as::<f32>();
        let host = host.map_err(|e| anyhow::anyhow!("cannot read {} from the device: {e:?}", param.name))?;
        let name = param.name.replace(ADAPTER, ADAPTER_NAME);
        out.insert(name, HostTensor::new(param.shape.clone(), param.to_file(host))?);
    }
    Ok(out)
}

/// A finished run, ready to predict.
pub struct Run {
    pub record: RunRecord,
    pub model: PeftModel<Adapter>,
}

/// Reads `run.json`.
pub fn read_record(folder: &Path) -> Result<RunRecord> {
    let path = folder.join(RUN_FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(_) if folder.join(STARTED_FILE).exists() => {
            bail!("{}: the run is not finished; continue it with `pelt train --resume`", folder.display())
        }
        Err(error) => bail!("{}: not a finished run: {error}", path.display()),
    };
    serde_json::from_str(&text).with_context(|| format!("{}: not a run's record", path.display()))
}

/// Loads a run onto its base model.
pub fn load(folder: &Path, model: &Path) -> Result<Run> {
    let record = read_record(folder)?;
    let base = Base::open(model, None)?;
    let config = &record.config;
    let found = base.checkpoint.fingerprint()?;
    ensure!(
        found == config.base.fingerprint,
        "{}: the run was trained on another base model: its weights have SHA-256 {}, those of {} have {}",
        folder.display(),
        short(&config.base.fingerprint),
        model.display(),
        short(&found)
    );
    let device = device();
    let head = load_head(folder, config.head, base.config().shape.hidden_size)?;
    let method = match &config.tuning {
        Tuning::Adapter(_) => {
            let shape = base.encoder.shape();
            let frozen = |name: &str| base.checkpoint.tensor(name).ok().map(|t| t.values);
            pelt_methods::load(folder, shape, &config.base.architecture, &device, &frozen)?.adapter
        }
        Tuning::Full | Tuning::BitFit => config.tuning.adapter().init(base.encoder.shape(), &device, &|_| None)?,
    };
    let mut model = PeftModel::new(Arc::clone(&base.encoder), method, head);
    if config.tuning.tunes_encoder() {
        model = model.with_tuned_encoder(|name| config.tuning.trains(name));
        let files = TensorFiles::open(&folder.join(TUNED_FILE))?;
        let params = model.tuned_params();
        let prefix = &config.base.architecture;
        if let Some(encoder) = model.tuned.take() {
            let encoder = load_named(encoder, &params, &device, |param| {
                read_exactly(&files, &format!("{prefix}.{}", param.name), &param.shape)
            })?;
            model.tuned = Some(encoder);
        }
    }
    Ok(Run { record, model })
}

/// The head that a run saved.
pub fn load_head(folder: &Path, config: HeadConfig, width: usize) -> Result<Head> {
    let files = TensorFiles::open_folder(folder, &["model_head"])?;
    let head = Head::new(config, width, &device());
    let params = head.named_params();
    load_named(head, &params, &device(), |param| {
        read_exactly(&files, &param.name.replace(ADAPTER, ADAPTER_NAME), &param.shape)
    })
}

fn read_exactly(files: &TensorFiles, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let tensor = files.read(name).map_err(EncoderError::from)?;
    ensure!(
        tensor.shape == shape,
        "{}: {name} should be {shape:?} but is {:?}",
        files.path().display(),
        tensor.shape
    );
    Ok(tensor.values)
}

fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}

/// The model folder that a run's record names, for messages.
pub fn run_path(folder: &Path) -> PathBuf {
    folder.join(RUN_FILE)
}
