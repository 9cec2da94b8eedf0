//! Reading an AdapterHub folder.

use pelt_hooks::{ADAPTER, NamedParam};
use pelt_tensors::TensorFiles;
use serde_json::Value;

use super::json::from_json;
use crate::format::{Loaded, Target, check_name};
use crate::tensors::{Reading, Stored, check_model, fill};
use crate::{AdapterConfig, LoadedHead, MethodError, PartConfig, load_head};

/// What precedes the adapter's name in the names of its tensors.
const BEFORE_NAME: [&str; 6] = [
    ".loras.",
    "adapters.",
    "prefix_tunings.",
    "prefix_gates.",
    "prompt_tunings.",
    "shared_parameters.",
];

/// What follows the adapter's name there. A name may have dots in it.
const BEHIND_NAME: [&str; 11] = [
    ".lora_A",
    ".lora_B",
    ".adapter_down.",
    ".adapter_up.",
    ".adapter_norm_",
    ".phm_rule",
    ".self_prefix.",
    ".prompt_embedding.",
    ".scaling",
    ".gate.",
    ".weight",
];

/// What the library's predecessor called the adapters of a sub-layer.
const OLD_NAMES: [(&str, &str); 4] = [
    (
        ".attention.output.adapters.",
        ".attention.output.attention_text_task_adapters.",
    ),
    (
        ".attention.output.adapters.",
        ".attention.output.attention_text_lang_adapters.",
    ),
    (".output.adapters.", ".output.layer_text_task_adapters."),
    (".output.adapters.", ".output.layer_text_lang_adapters."),
];

/// The part of the name of a prefix tensor that the library repeats in every layer.
const LAYER_COPY: &str = ".attention.self.prefix_tuning.pool.prefix_tunings.";
const PREFIX: &str = "prefix_tuning.prefix_tunings.";
const PROMPT: &str = "prompt_tuning.prompt_tunings.";

pub fn load(json: &Value, target: &Target<'_>) -> Result<Loaded, MethodError> {
    check_description(json, target)?;
    let config = json.get("config");
    let config = config.ok_or_else(|| target.error("the entry \"config\" is missing"))?;
    let mut config = from_json(config, json.get("version").is_some())
        .map_err(|message| target.error(message))?;
    set_old_scale(json, &mut config);
    let files = TensorFiles::open_folder(target.folder, &["adapter"])?;
    set_ejected(&mut config, &files);
    let name = match config.parts.as_slice() {
        // Its levels have names of their own, of which this is the beginning.
        [PartConfig::Stack(_)] => json
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .into(),
        _ => adapter_name(json, &files),
    };
    check_name(target.path, &name)?;
    let roots = [format!("{}.", target.model_type), String::new()];
    let stored = |param: &NamedParam| Stored {
        names: stored_names(&param.name, &name, &roots, &files),
        shape: param.shape.clone(),
    };
    let known = |name: &str| name.contains(LAYER_COPY) || name.starts_with("heads.");
    let adapter = target.build(&config)?;
    check_model(&files, &adapter, target, "", &known)?;
    check_prefix_layers(&config, &files, target)?;
    let reading = Reading {
        stored: &stored,
        known: &known,
        adjust: &|_, values| Ok(values),
    };
    let adapter = fill(adapter, &files, target.device, &reading)?;
    let head = load_head(target.folder)?.map(|head| with_name(head, &name));
    Ok(Loaded {
        name,
        config,
        adapter,
        head,
    })
}

/// What the configuration says about the base model.
pub(super) fn check_description(json: &Value, target: &Target<'_>) -> Result<(), MethodError> {
    if let Some(made_for) = json.get("model_type").and_then(Value::as_str) {
        let family = match made_for {
            "xlm-roberta" | "camembert" => "roberta",
            other => other,
        };
        if family != target.model_type {
            return Err(target.other_type(made_for));
        }
    }
    target.check_width(json.get("hidden_size").and_then(Value::as_u64))
}

/// Versions before 1.1.0 forgot the factor alpha / r of a plain LoRA; the library then loads it with alpha = r.
fn set_old_scale(json: &Value, config: &mut AdapterConfig) {
    let version = json
        .get("version")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let Some(version) = version.strip_prefix("adapters.") else {
        return;
    };
    let mut numbers = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
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

/// After removing the network of a prefix, the library still writes that it is not flat.
fn set_ejected(config: &mut AdapterConfig, files: &TensorFiles) {
    let flat = files
        .names()
        .any(|name| name.ends_with(".self_prefix.control_trans"));
    for part in &mut config.parts {
        if let PartConfig::Prefix(prefix) = part {
            prefix.flat |= flat;
        }
    }
}

/// A prefix for another number of layers shows in the number of its columns only.
fn check_prefix_layers(
    config: &AdapterConfig,
    files: &TensorFiles,
    target: &Target<'_>,
) -> Result<(), MethodError> {
    let Some(prefix) = config.parts.iter().find_map(|part| match part {
        PartConfig::Prefix(prefix) => Some(prefix),
        _ => None,
    }) else {
        return Ok(());
    };
    let (tail, per_layer) = match prefix.flat {
        true => (
            ".self_prefix.control_trans",
            2 * target.shape.hidden_size * prefix.prefix_length,
        ),
        false => (
            ".self_prefix.control_trans.2.bias",
            2 * target.shape.hidden_size,
        ),
    };
    let name = files.names().find(|name| name.ends_with(tail));
    let Some([values]) = name.and_then(|name| files.shape(name)) else {
        return Ok(());
    };
    let made_for = values / per_layer + prefix.leave_out.len();
    match values % per_layer == 0 && made_for != target.shape.layers {
        true => Err(target.other_layers(made_for)),
        false => Ok(()),
    }
}

/// The names under which a parameter may be stored.
fn stored_names(param: &str, name: &str, roots: &[String; 2], files: &TensorFiles) -> Vec<String> {
    let full = param.replace(ADAPTER, name);
    let mut names: Vec<String> = roots.iter().map(|root| format!("{root}{full}")).collect();
    for (new, old) in OLD_NAMES {
        if full.contains(new) {
            let full = full.replace(new, old);
            names.extend(roots.iter().map(|root| format!("{root}{full}")));
        }
    }
    if let Some(tail) = full.strip_prefix(PREFIX) {
        let copies = files
            .names()
            .filter(|name| match name.split_once(LAYER_COPY) {
                Some((_, copied)) => copied == tail,
                None => false,
            });
        names.extend(copies.map(str::to_string));
    }
    if param.starts_with(PROMPT) {
        // The library does not rename the prompt when it renames an adapter.
        let prompts = files.names().filter(|name| name.contains(PROMPT));
        names.extend(prompts.map(str::to_string));
    }
    names
}

/// The name in the configuration; the tensors decide where it is missing or they have another one.
fn adapter_name(json: &Value, files: &TensorFiles) -> String {
    let named = json.get("name").and_then(Value::as_str);
    let behind_mark = |tensor: &'_ str| -> Option<(usize, usize)> {
        let start = BEFORE_NAME
            .iter()
            .find_map(|mark| Some(tensor.find(mark)? + mark.len()))?;
        let ends = BEHIND_NAME
            .iter()
            .filter_map(|mark| tensor.get(start..)?.find(mark));
        Some((start, start + ends.min()?))
    };
    let in_file = |tensor: &'_ str| {
        behind_mark(tensor).and_then(|(start, end)| tensor.get(start..end).map(str::to_string))
    };
    let mut found = files.names().filter_map(in_file);
    match named {
        Some(name) if has_tensors(name, files) => name.to_string(),
        Some(name) => found.next().unwrap_or_else(|| name.to_string()),
        None => found.next().unwrap_or_default(),
    }
}

/// Whether the file has tensors of an adapter of this name.
fn has_tensors(name: &str, files: &TensorFiles) -> bool {
    let marks = BEFORE_NAME.map(|mark| format!("{mark}{name}."));
    files
        .names()
        .any(|tensor| marks.iter().any(|mark| tensor.contains(mark)))
}

/// The head with the adapter's name in those of its tensors.
fn with_name(head: LoadedHead, adapter: &str) -> LoadedHead {
    let Some(own) = &head.name else {
        return head;
    };
    let (old, new) = (format!("heads.{own}."), format!("heads.{adapter}."));
    let rename = |name: &str| match name.strip_prefix(&old) {
        Some(tail) => format!("{new}{tail}"),
        None => name.to_string(),
    };
    let tensors = head.tensors.iter();
    LoadedHead {
        tensors: tensors
            .map(|(name, tensor)| (rename(name), tensor.clone()))
            .collect(),
        labels: head.labels,
        name: Some(adapter.to_string()),
    }
}
