//! The format of Hugging Face PEFT: LORA, PREFIX_TUNING and PROMPT_TUNING.

use std::collections::BTreeMap;

use pelt_hooks::{ADAPTER, Method, NamedParam, load_named};
use pelt_lora::{AttnMatrix, LoraBias, LoraConfig};
use pelt_prefix::PrefixConfig;
use pelt_prompt::PromptConfig;
use pelt_tensors::TensorFiles;
use serde_json::Value;

use crate::format::{BaseTensors, Loaded, Target};
use crate::tensors::fill;
use crate::{Adapter, AdapterConfig, LoadedHead, MethodError, PartConfig};

/// Modules that PEFT saves whole: task heads.
const HEADS: [&str; 3] = ["classifier", "score", "qa_outputs"];

pub fn load(json: &Value, target: &Target<'_>, base: BaseTensors<'_>) -> Result<Loaded, MethodError> {
    let kind = json.get("peft_type").and_then(Value::as_str).unwrap_or_default();
    let part = match kind {
        "LORA" => lora(json, target.shape.layers).map(PartConfig::Lora),
        "PREFIX_TUNING" => prefix(json, target).map(PartConfig::Prefix),
        "PROMPT_TUNING" => prompt(json, target).map(PartConfig::Prompt),
        other => Err(format!(
            "peft_type must be LORA, PREFIX_TUNING or PROMPT_TUNING, but is \"{other}\""
        )),
    };
    let config = AdapterConfig {
        parts: vec![part.map_err(|message| target.error(message))?],
    };
    let files = TensorFiles::open_folder(target.folder, &["adapter_model"])?;
    let head = head(&files)?;
    let roots = [
        format!("base_model.model.{}.", target.model_type),
        "base_model.model.".to_string(),
    ];
    let aliases = |param: &NamedParam| -> Vec<String> {
        match stored_name(&param.name) {
            Some(name) if name == "prompt_embeddings" => vec![name],
            Some(name) => roots.iter().map(|root| format!("{root}{name}")).collect(),
            None => vec![param.name.clone()],
        }
    };
    let known = |name: &str| head_name(name).is_some();
    let adjust = |param: &NamedParam, values: Vec<f32>| match param.name.strip_suffix(".bias_delta") {
        // PEFT stores the trained bias itself; ours is the difference to the frozen one.
        Some(path) => {
            let path = path.replace(&format!(".loras.{ADAPTER}"), "");
            let frozen = base(&format!("{path}.bias"));
            let frozen = frozen.filter(|bias| bias.len() == values.len());
            let frozen = frozen.ok_or_else(|| target.error(format!("the base model has no {path}.bias")))?;
            Ok(values.iter().zip(&frozen).map(|(new, old)| new - old).collect())
        }
        None => Ok(values),
    };
    let adapter = target.init(&config)?;
    let adapter = match kind {
        "PREFIX_TUNING" => fill_flat(adapter, &files, target, &known)?,
        _ => fill(adapter, &files, target.device, &aliases, &known, &adjust)?,
    };
    Ok(Loaded {
        name: "default".into(),
        config,
        adapter,
        head: (!head.is_empty()).then_some(LoadedHead {
            tensors: head,
            labels: None,
            name: None,
        }),
    })
}

/// The prefix is one matrix in the file, and the same numbers in one row here.
fn fill_flat(
    adapter: Adapter,
    files: &TensorFiles,
    target: &Target<'_>,
    known: &dyn Fn(&str) -> bool,
) -> Result<Adapter, MethodError> {
    let params = adapter.named_params();
    let unexpected: Vec<&str> = files
        .names()
        .filter(|name| *name != "prompt_embeddings" && !known(name))
        .collect();
    if !unexpected.is_empty() {
        return Err(target.error(format!("unexpected tensors: {}", unexpected.join(", "))));
    }
    load_named(adapter, &params, target.device, |param| {
        let tensor = files.read("prompt_embeddings")?;
        if tensor.values.len() != param.count() {
            return Err(target.error(format!(
                "prompt_embeddings should hold {} values but is {:?}",
                param.count(),
                tensor.shape
            )));
        }
        Ok(tensor.values)
    })
}

/// Our name of a parameter, as PEFT stores it below the model's root.
fn stored_name(name: &str) -> Option<String> {
    if name.starts_with("prompt_tuning.") {
        return Some("prompt_embeddings".into());
    }
    let (path, tensor) = name.split_once(&format!(".loras.{ADAPTER}."))?;
    Some(match tensor {
        "lora_A" | "lora_B" => format!("{path}.{tensor}.weight"),
        "bias_delta" => format!("{path}.base_layer.bias"),
        _ => return None,
    })
}

/// `classifier.weight` for a tensor of a saved head.
fn head_name(name: &str) -> Option<&str> {
    let tail = name.strip_prefix("base_model.")?;
    let tail = tail.strip_prefix("model.").unwrap_or(tail);
    let module = tail.split('.').next()?;
    HEADS.contains(&module).then_some(tail)
}

fn head(files: &TensorFiles) -> Result<BTreeMap<String, pelt_tensors::HostTensor>, MethodError> {
    let mut out = BTreeMap::new();
    for name in files.names() {
        if let Some(short) = head_name(name) {
            out.insert(short.to_string(), files.read(name)?);
        }
    }
    Ok(out)
}

fn lora(json: &Value, layers: usize) -> Result<LoraConfig, String> {
    for field in ["rank_pattern", "alpha_pattern"] {
        let empty = json.get(field).and_then(Value::as_object).is_none_or(|map| map.is_empty());
        if !empty {
            return Err(format!("{field} is not supported"));
        }
    }
    for field in ["use_dora", "fan_in_fan_out", "lora_bias", "use_qalora"] {
        if json.get(field) == Some(&true.into()) {
            return Err(format!("{field} = true is not supported"));
        }
    }
    let mut config = LoraConfig {
        r: number(json, "r")?.unwrap_or(8),
        alpha: json.get("lora_alpha").and_then(Value::as_f64).unwrap_or(8.0),
        dropout: json.get("lora_dropout").and_then(Value::as_f64).unwrap_or(0.0),
        use_rslora: json.get("use_rslora") == Some(&true.into()),
        attn_matrices: vec![],
        bias: match json.get("bias").and_then(Value::as_str) {
            None | Some("none") => LoraBias::None,
            Some("lora_only") => LoraBias::LoraOnly,
            Some(other) => return Err(format!("bias must be none or lora_only, but is \"{other}\"")),
        },
        ..LoraConfig::default()
    };
    let targets = match json.get("target_modules") {
        Some(Value::Array(targets)) => targets.iter().filter_map(Value::as_str).collect(),
        None | Some(Value::Null) => vec!["query", "value"],
        Some(other) => return Err(format!("target_modules must be a list of names, but is {other}")),
    };
    let mut used = vec![false; targets.len()];
    // A target matches a module whose path ends with it.
    let mut targeted = |path: &str| {
        let mut any = false;
        for (target, used) in targets.iter().zip(&mut used) {
            if path == *target || path.ends_with(&format!(".{target}")) {
                *used = true;
                any = true;
            }
        }
        any
    };
    for (path, matrix) in [
        ("attention.self.query", AttnMatrix::Query),
        ("attention.self.key", AttnMatrix::Key),
        ("attention.self.value", AttnMatrix::Value),
    ] {
        if targeted(path) {
            config.attn_matrices.push(matrix);
        }
    }
    config.attn_output_lora = targeted("attention.output.dense");
    config.intermediate_lora = targeted("intermediate.dense");
    config.output_lora = targeted("layer.output.dense");
    config.pooler_lora = targeted("pooler.dense");
    if let Some((target, _)) = targets.iter().zip(&used).find(|(_, used)| !**used) {
        return Err(format!("target_modules: \"{target}\" is no layer of a BERT or RoBERTa encoder"));
    }
    if let Some(Value::Array(chosen)) = json.get("layers_to_transform") {
        let chosen: Vec<u64> = chosen.iter().filter_map(Value::as_u64).collect();
        config.leave_out = (0..layers).filter(|layer| !chosen.contains(&(*layer as u64))).collect();
        config.pooler_lora = false;
    } else if let Some(chosen) = json.get("layers_to_transform").and_then(Value::as_u64) {
        config.leave_out = (0..layers).filter(|layer| *layer as u64 != chosen).collect();
        config.pooler_lora = false;
    }
    Ok(config)
}

fn prefix(json: &Value, target: &Target<'_>) -> Result<PrefixConfig, String> {
    check(json, "num_layers", target.shape.layers)?;
    check(json, "num_attention_heads", target.shape.heads)?;
    check(json, "token_dim", target.shape.hidden_size)?;
    Ok(PrefixConfig {
        prefix_length: number(json, "num_virtual_tokens")?.ok_or("num_virtual_tokens is missing")?,
        // Only the projected prefix is saved, whatever prefix_projection says.
        flat: true,
        shift_positions: true,
        ..PrefixConfig::default()
    })
}

fn prompt(json: &Value, target: &Target<'_>) -> Result<PromptConfig, String> {
    check(json, "token_dim", target.shape.hidden_size)?;
    Ok(PromptConfig {
        prompt_length: number(json, "num_virtual_tokens")?.ok_or("num_virtual_tokens is missing")?,
        word_embeddings: true,
        prompt_init: pelt_prompt::PromptInit::RandomNormal,
        ..PromptConfig::default()
    })
}

fn number(json: &Value, field: &str) -> Result<Option<usize>, String> {
    match json.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_u64().and_then(|n| usize::try_from(n).ok());
            let number = number.ok_or_else(|| format!("{field} must be a whole number, but is {value}"))?;
            Ok(Some(number))
        }
    }
}

/// The adapter is for a model with `found` in `field`.
fn check(json: &Value, field: &str, expected: usize) -> Result<(), String> {
    match number(json, field)? {
        Some(found) if found != expected => Err(format!(
            "the adapter is for a model with {field} {found}, but this one has {expected}"
        )),
        _ => Ok(()),
    }
}
