//! The folder of a finished run.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use pelt_encoder::{EncoderError, Head, HeadConfig};
use pelt_hooks::{ADAPTER, NamedParam, load_named, values};
use pelt_methods::{Adapter, as_fusion, trained_level};
use pelt_tensors::{HostTensor, TensorFiles, read_small_file, write_atomically, write_safetensors};
use pelt_train::{CHECKPOINT_FILE, PeftModel, first_difference};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::device::device;
use crate::method::Tuning;
use crate::model::Base;
use crate::pretrain_folder::PRETRAIN_FILE;
use crate::run_record::{Results, RunConfig, RunRecord, model_info};

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
    // A run that was killed while it wrote its first file left no more than a part of that.
    let entries = std::fs::read_dir(folder).map(|entries| {
        let names = entries.flatten().map(|entry| entry.file_name());
        names.filter(|name| !is_temporary(kind, name)).count()
    });
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
        if is_temporary(kind, &entry.file_name()) {
            let path = entry.path();
            std::fs::remove_file(&path)
                .with_context(|| format!("{}: cannot be removed", path.display()))?;
        }
    }
    Ok(())
}

/// Whether a file of this name is a part of one of the folder's files, from before it got its own name.
fn is_temporary(kind: &FolderKind, name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let of = |file: &&str| name.starts_with(&format!(".{file}."));
    name.ends_with(".tmp") && kind.files.iter().any(of)
}

/// What must be equal for a resumed run: everything but where the model and the adapters below lie, and how often the state
/// is saved.
pub fn identity(mut config: Value) -> Map<String, Value> {
    let mut out = Map::new();
    if let Some(base) = config.pointer_mut("/base").and_then(Value::as_object_mut) {
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
    if let Some(train) = config.pointer_mut("/train").and_then(Value::as_object_mut) {
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
    let bytes =
        read_small_file(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let started: Value = serde_json::from_slice(&bytes)
        .with_context(|| format!("{}: not a run's configuration", path.display()))?;
    let current = identity(serde_json::from_str(&serde_json::to_string(config)?)?);
    let started = identity(started);
    if let Some((setting, old, new)) = first_difference(&started, &current) {
        let [old, new] = [old, new].map(|value| value.unwrap_or(&Value::Null));
        bail!(
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
    let bytes = match read_small_file(&path) {
        Ok(bytes) => bytes,
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
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{}: not a run's record", path.display()))
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
        ensure!(
            FILES.contains(&file.as_str()),
            "{}: {file:?} is no file of a run",
            folder.join(RUN_FILE).display()
        );
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
        Tuning::Adapter(_) => {
            let own = base.load_adapter(folder, &device)?;
            match &config.stack {
                Some(below) => below.put_below(folder, own.config, own.adapter, base)?,
                None => own.adapter,
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
    let record = folder.join(RUN_FILE);
    config
        .validate()
        .map_err(|message| anyhow::anyhow!("{}: the head's {message}", record.display()))?;
    let head = Head::lazy(config, width, &device());
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
    if let Some(found) = files.shape(name) {
        ensure!(
            found == shape,
            "{}: {name} should be {shape:?} but is {found:?}",
            files.path().display()
        );
    }
    Ok(files.read(name).map_err(EncoderError::from)?.values)
}

/// The beginning of a fingerprint, for messages.
pub fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}
