//! The folder of a finished run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use pelt_data::{AnswerRules, Target};
use pelt_encoder::{EncoderError, Head, HeadConfig};
use pelt_hooks::{ADAPTER, EncoderShape, NamedParam, load_named, values};
use pelt_methods::{Adapter, ModelInfo, as_fusion, trained_level};
use pelt_metrics::Metric;
use pelt_tensors::{HostTensor, TensorFiles, write_atomically, write_safetensors};
use pelt_train::{CHECKPOINT_FILE, PeftModel, TrainConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::device::device;
use crate::levels::{FusedAdapters, LevelsBelow};
use crate::method::Tuning;
use crate::model::{Base, absolute};
use crate::pretrain_folder::PRETRAIN_FILE;

/// Marks a finished run; written last.
pub const RUN_FILE: &str = "run.json";
/// What a run was started with; written first.
pub const STARTED_FILE: &str = "started.json";
/// Trained encoder weights of full fine-tuning and BitFit.
const TUNED_FILE: &str = "tuned.safetensors";
/// Trained mixtures of AdapterFusion.
const FUSION_FILE: &str = "model_adapter_fusion.safetensors";
/// The adapter's name in its files.
pub const ADAPTER_NAME: &str = "pelt";

/// Every file that a run writes.
const FILES: [&str; 11] = [
    RUN_FILE,
    STARTED_FILE,
    TUNED_FILE,
    CHECKPOINT_FILE,
    "metrics.jsonl",
    "adapter_config.json",
    "adapter.safetensors",
    "adapter_fusion_config.json",
    FUSION_FILE,
    "head_config.json",
    "model_head.safetensors",
];

/// What a folder is for, and what lies in it.
pub struct FolderKind {
    /// Marks a finished run; written last.
    pub finished: &'static str,
    /// Every file that a run writes.
    pub files: &'static [&'static str],
}

/// The folder of `pelt train`.
pub const RUN_FOLDER: FolderKind = FolderKind {
    finished: RUN_FILE,
    files: &FILES,
};

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

impl BaseModel {
    /// The base model in `folder`.
    pub fn of(folder: &Path, base: &Base) -> Result<Self> {
        Ok(Self {
            path: absolute(folder)?,
            fingerprint: base.checkpoint.fingerprint()?,
            architecture: base.config().architecture.name().into(),
            shape: *base.encoder.shape(),
        })
    }

    /// Its repository on the Hub, or its folder.
    pub fn name(&self) -> String {
        pelt_hub::repository_of(Path::new(&self.path)).unwrap_or_else(|| self.path.clone())
    }
}

/// The rows of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunData {
    pub task: Option<String>,
    pub train: String,
    pub train_rows: usize,
    pub train_fingerprint: String,
    pub validation: Option<String>,
    pub validation_fingerprint: Option<String>,
    pub validation_rows: usize,
    pub text_column: Option<String>,
    pub pair_column: Option<String>,
    pub pairs: bool,
    /// What is known about the task's rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The rows that are scored once, with the best weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_rows: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_fingerprint: Option<String>,
    /// Seed of the order from which training rows are taken, where it is not that of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u64>,
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
    /// How questions are read and answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub questions: Option<QuestionSettings>,
    /// SHA-256 of the adapter's weights that the run went on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_adapter: Option<String>,
    /// The frozen adapters that the run's own one was trained on top of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<LevelsBelow>,
    /// The frozen adapters that the run mixes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fused: Option<FusedAdapters>,
}

impl RunConfig {
    /// The adapters that the run in `folder` mixes.
    pub fn fused(&self, folder: &Path) -> Result<&FusedAdapters> {
        self.fused.as_ref().with_context(|| {
            let shown = folder.display();
            format!("{shown}: not a run's record: it does not say which adapters are mixed")
        })
    }
}

/// How questions are read and answered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QuestionSettings {
    /// Tokens that consecutive windows share.
    pub doc_stride: usize,
    #[serde(flatten)]
    pub rules: AnswerRules,
}

/// `run.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunRecord {
    pub version: String,
    pub config: RunConfig,
    pub results: Results,
    /// SHA-256 of every tensor file of the run, by file name.
    pub files: BTreeMap<String, String>,
}

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    pub trainable_parameters: usize,
    pub base_parameters: usize,
    pub steps: usize,
    /// Rows of an optimiser step: those of a batch, times the batches that are added up.
    #[serde(default)]
    pub effective_batch_size: usize,
    /// The device that it was trained on.
    #[serde(default)]
    pub device: String,
    pub best_step: usize,
    pub best: BTreeMap<String, f64>,
    /// The rows that `best` was measured on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_on: Option<ScoredRows>,
    /// Scores of the best weights on rows that chose nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<TestScores>,
    /// Training rows that were cut to the longest sequence.
    #[serde(default)]
    pub truncated_rows: usize,
    pub seconds: f64,
    pub stopped_early: bool,
    pub peak_memory_mib: Option<u64>,
}

/// Rows on which a model was scored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScoredRows {
    /// Data set and split, such as `mrpc validation`.
    pub set: String,
    pub rows: usize,
    /// Rows that were cut to the longest sequence.
    pub truncated_rows: usize,
}

/// Scores on rows that were not used to choose the weights.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TestScores {
    #[serde(flatten)]
    pub on: ScoredRows,
    pub values: BTreeMap<String, f64>,
}

/// Makes the folder ready for a run, or checks that it holds one to resume.
pub fn prepare(kind: &FolderKind, folder: &Path, force: bool, resume: bool) -> Result<()> {
    let shown = folder.display();
    let finished = folder.join(kind.finished).exists();
    let started = folder.join(STARTED_FILE).exists();
    if resume {
        ensure!(
            !finished,
            "{shown}: the run in this folder is already finished; there is nothing to resume"
        );
        ensure!(
            started,
            "{shown}: there is no run in this folder that could be resumed"
        );
        return remove_temporary_files(kind, folder);
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
            bail!(
                "{shown}: the folder already holds a run; use --force to replace it, or another folder"
            )
        }
        Ok(_) if !force => {
            bail!(
                "{shown}: the folder holds an unfinished run; use --resume to continue it or --force to replace it"
            )
        }
        Ok(_) => {}
    }
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{shown}: cannot create the run's folder"))?;
    for file in kind.files {
        let path = folder.join(file);
        if path.exists() {
            std::fs::remove_file(&path)
                .with_context(|| format!("{}: cannot be replaced", path.display()))?;
        }
    }
    remove_temporary_files(kind, folder)
}

/// Removes what a run that was killed in the middle of writing a file left behind.
fn remove_temporary_files(kind: &FolderKind, folder: &Path) -> Result<()> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("{}: cannot be read", folder.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours = kind
            .files
            .iter()
            .any(|file| name.starts_with(&format!(".{file}.")));
        if ours && name.ends_with(".tmp") {
            let path = entry.path();
            std::fs::remove_file(&path)
                .with_context(|| format!("{}: cannot be removed", path.display()))?;
        }
    }
    Ok(())
}

/// What must be equal for a resumed run: everything but where the model and the adapters below lie, and how often the state
/// is saved.
pub fn identity(mut config: Value) -> Map<String, Value> {
    let mut out = Map::new();
    if let Some(base) = config["base"].as_object_mut() {
        base.remove("path");
    }
    for frozen in ["/stack/levels", "/fused/adapters"] {
        let levels = config.pointer_mut(frozen);
        for level in levels.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(level) = level.as_object_mut() {
                level.remove("path");
            }
        }
    }
    if let Some(train) = config["train"].as_object_mut() {
        train.remove("checkpoint_every");
        // One entry per setting lets a mismatch name the setting.
        out.append(train);
    }
    if let Some(fields) = config.as_object_mut() {
        fields.remove("train");
        out.append(fields);
    }
    out
}

/// Checks that the run in the folder was started with this configuration: before the first checkpoint there is nothing
/// else that could tell.
pub fn check_started(folder: &Path, config: &impl Serialize) -> Result<()> {
    let path = folder.join(STARTED_FILE);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{}: cannot be read", path.display()))?;
    let started: Value = serde_json::from_str(&text)
        .with_context(|| format!("{}: not a run's configuration", path.display()))?;
    // Both go through text, so that numbers are rounded alike.
    let current = identity(serde_json::from_str(&serde_json::to_string(config)?)?);
    for (setting, old) in identity(started) {
        let new = current.get(&setting).unwrap_or(&Value::Null);
        ensure!(
            old == *new,
            "{}: cannot resume: the run was started with {setting} {old}, but now it is {new}",
            folder.display()
        );
    }
    Ok(())
}

/// Writes the configuration with which a run starts.
pub fn write_started(folder: &Path, config: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(config)?;
    Ok(write_atomically(
        &folder.join(STARTED_FILE),
        text.as_bytes(),
    )?)
}

/// The base model of a run as adapter files describe it.
pub fn model_info(config: &RunConfig) -> ModelInfo {
    let family = match config.base.architecture.as_str() {
        "roberta" => "Roberta",
        _ => "Bert",
    };
    let task = match config.target {
        Target::Span => "QuestionAnswering",
        Target::Classification { .. } | Target::Regression { .. } => "SequenceClassification",
    };
    ModelInfo {
        model_type: config.base.architecture.clone(),
        model_name: config.base.name(),
        model_class: format!("{family}For{task}"),
        hidden_size: config.base.shape.hidden_size,
    }
}

/// Writes a trained model; `run.json` comes last, so that a folder with it is complete.
pub fn save(
    folder: &Path,
    config: &RunConfig,
    results: Results,
    model: &PeftModel<Adapter>,
    base: &Base,
) -> Result<()> {
    let info = model_info(config);
    match &config.tuning {
        Tuning::Adapter(adapter) => {
            let own = trained_level(&model.method);
            pelt_methods::save(folder, ADAPTER_NAME, adapter, own, &info)?;
        }
        Tuning::Fusion(fusion) => {
            let mixture = as_fusion(&model.method).context("the run has no mixture")?;
            let names = &config.fused(folder)?.names;
            pelt_methods::save_fusion(folder, names, fusion, mixture, &info)?;
        }
        Tuning::Full | Tuning::BitFit => {}
    }
    let tensors = head_tensors(&model.head)?;
    let labels = crate::data::label_names(&config.target);
    pelt_methods::save_head(
        folder,
        ADAPTER_NAME,
        &tensors,
        labels.as_deref(),
        config.head.labels,
        &info,
    )?;
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
        files: tensor_files(folder)?,
    };
    let text = serde_json::to_string_pretty(&record)?;
    write_atomically(&folder.join(RUN_FILE), text.as_bytes())?;
    remove_unfinished(folder)
}

/// Removes what only an unfinished run has.
pub fn remove_unfinished(folder: &Path) -> Result<()> {
    for file in [CHECKPOINT_FILE, STARTED_FILE] {
        let path = folder.join(file);
        if path.exists() {
            std::fs::remove_file(&path)
                .with_context(|| format!("{}: cannot be removed", path.display()))?;
        }
    }
    Ok(())
}

/// SHA-256 of every tensor file that `save` wrote.
fn tensor_files(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut out = BTreeMap::new();
    for file in [
        "adapter.safetensors",
        FUSION_FILE,
        "model_head.safetensors",
        TUNED_FILE,
    ] {
        let path = folder.join(file);
        if path.exists() {
            out.insert(file.to_string(), TensorFiles::open(&path)?.sha256()?);
        }
    }
    Ok(out)
}

/// A head's parameters under their names in files.
pub fn head_tensors(head: &Head) -> Result<BTreeMap<String, HostTensor>> {
    host_tensors(&head.named_params(), &values(head))
}

/// Parameters under their names in files, with the adapter's name in them.
pub fn host_tensors(
    params: &[NamedParam],
    values: &pelt_hooks::ParamValues,
) -> Result<BTreeMap<String, HostTensor>> {
    let mut out = BTreeMap::new();
    for param in params {
        let value = values.get(&param.id).context("a parameter has no value")?;
        let host = value.clone().into_data().try_to_vec_as::<f32>();
        let host =
            host.map_err(|e| anyhow::anyhow!("cannot read {} from the device: {e:?}", param.name))?;
        let name = param.name.replace(ADAPTER, ADAPTER_NAME);
        out.insert(
            name,
            HostTensor::new(param.shape.clone(), param.to_file(host))?,
        );
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
        Err(_) if folder.join(PRETRAIN_FILE).exists() => bail!(
            "{}: this is the result of `pelt pretrain`, which has no task head; train it on a task with `pelt train`",
            folder.display()
        ),
        Err(_) if folder.join(STARTED_FILE).exists() => {
            bail!(
                "{}: the run is not finished; continue it with `pelt train --resume`",
                folder.display()
            )
        }
        Err(error) => bail!("{}: not a finished run: {error}", path.display()),
    };
    serde_json::from_str(&text).with_context(|| format!("{}: not a run's record", path.display()))
}

/// Loads a run onto its base model, which was opened from the folder `model`.
pub fn load(folder: &Path, record: RunRecord, base: &Base, model: &Path) -> Result<Run> {
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
    for (file, written) in &record.files {
        let path = folder.join(file);
        let found = TensorFiles::open(&path)?.sha256()?;
        ensure!(
            found == *written,
            "{}: the file has changed since the run wrote it: its SHA-256 should be {} but is {}",
            path.display(),
            short(written),
            short(&found)
        );
    }
    let device = device();
    let head = load_head(folder, config.head, base.config().shape.hidden_size)?;
    let method = match &config.tuning {
        Tuning::Adapter(method) => {
            let own = base.load_adapter(folder, &device)?.adapter;
            match &config.stack {
                Some(below) => below.put_below(folder, method.clone(), own, base)?,
                None => own,
            }
        }
        Tuning::Fusion(_) => config.fused(folder)?.load(folder, base)?,
        Tuning::Full | Tuning::BitFit => {
            config
                .tuning
                .adapter()
                .init(base.encoder.shape(), &device, &|_| None)?
        }
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
        read_exactly(
            &files,
            &param.name.replace(ADAPTER, ADAPTER_NAME),
            &param.shape,
        )
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

/// The beginning of a fingerprint, for messages.
pub fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}
