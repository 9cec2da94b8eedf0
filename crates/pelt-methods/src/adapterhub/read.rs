//! Reading an AdapterHub folder.

use pelt_hooks::{ADAPTER, NamedParam};
use pelt_tensors::TensorFiles;
use serde_json::Value;

use super::json::from_json;
use crate::format::{Loaded, Target};
use crate::tensors::fill;
use crate::{AdapterConfig, MethodError, PartConfig, load_head};

/// Layer copies of a prefix that the library writes beside the model-level tensors.
const LAYER_POOL: &str = ".attention.self.prefix_tuning.pool.prefix_tunings.";

pub fn load(json: &Value, target: &Target<'_>) -> Result<Loaded, MethodError> {
    check_model(json, target)?;
    let config = json.get("config");
    let config = config.ok_or_else(|| target.error("the entry \"config\" is missing"))?;
    let mut config = from_json(config).map_err(|message| target.error(message))?;
    old_scale(json, &mut config);
    let files = TensorFiles::open_folder(target.folder, &["adapter"])?;
    let name = adapter_name(json, &files);
    let prefixes = [format!("{}.", target.model_type), String::new()];
    let aliases = |param: &NamedParam| {
        let full = param.name.replace(ADAPTER, &name);
        let mut names: Vec<String> = prefixes.iter().map(|p| format!("{p}{full}")).collect();
        if let Some(tail) = full.strip_prefix("prefix_tuning.prefix_tunings.") {
            names.extend(
                prefixes
                    .iter()
                    .map(|p| format!("{p}encoder.layer.0{LAYER_POOL}{tail}")),
            );
        }
        names
    };
    let known = |name: &str| name.contains(LAYER_POOL) || name.starts_with("heads.");
    let adapter = target.init(&config)?;
    let adapter = fill(adapter, &files, target.device, &aliases, &known, &|_, values| Ok(values))?;
    let head = load_head(target.folder)?;
    Ok(Loaded {
        name,
        config,
        adapter,
        head,
    })
}

fn check_model(json: &Value, target: &Target<'_>) -> Result<(), MethodError> {
    if let Some(hidden) = json.get("hidden_size").and_then(Value::as_u64)
        && hidden != target.shape.hidden_size as u64
    {
        return Err(target.error(format!(
            "the adapter is for a hidden size of {hidden}, but the model's is {}",
            target.shape.hidden_size
        )));
    }
    if let Some(model_type) = json.get("model_type").and_then(Value::as_str)
        && model_type != target.model_type
        && !(matches!(model_type, "xlm-roberta" | "camembert") && target.model_type == "roberta")
    {
        return Err(target.error(format!(
            "the adapter is for a model of type {model_type}, but this one is {}",
            target.model_type
        )));
    }
    Ok(())
}

/// Versions before 1.1.0 forgot the factor alpha / r of a plain LoRA; the library then loads it with alpha = r.
fn old_scale(json: &Value, config: &mut AdapterConfig) {
    let version = json.get("version").and_then(Value::as_str).unwrap_or_default();
    let Some(version) = version.strip_prefix("adapters.") else {
        return;
    };
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if (major, minor) >= (1, 1) {
        return;
    }
    if let [PartConfig::Lora(lora)] = config.parts.as_mut_slice()
        && !lora.use_gating
    {
        lora.alpha = lora.r as f64;
    }
}

/// The name in the configuration; tensors decide where it is missing or another one.
fn adapter_name(json: &Value, files: &TensorFiles) -> String {
    const MARKS: [&str; 5] = [
        ".loras.",
        ".adapters.",
        "prefix_tuning.prefix_tunings.",
        ".prefix_gates.",
        "prompt_tuning.prompt_tunings.",
    ];
    let named = json.get("name").and_then(Value::as_str);
    let in_tensors = || {
        files.names().find_map(|tensor| {
            let tail = MARKS.iter().find_map(|mark| tensor.split_once(mark)).map(|s| s.1)?;
            tail.split('.').next().map(str::to_string)
        })
    };
    match named {
        Some(name) if files.names().any(|t| t.split('.').any(|piece| piece == name)) => name.to_string(),
        _ => in_tensors().or(named.map(str::to_string)).unwrap_or_default(),
    }
}
