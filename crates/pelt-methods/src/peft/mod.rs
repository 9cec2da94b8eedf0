//! The format of Hugging Face PEFT: LORA, IA3, PREFIX_TUNING and PROMPT_TUNING.

use std::collections::BTreeMap;

use pelt_hooks::{ADAPTER, NamedParam};
use pelt_prefix::PrefixConfig;
use pelt_prompt::{PromptConfig, PromptInit};
use pelt_tensors::{HostTensor, TensorFiles};
use serde_json::Value;

use crate::format::{BaseTensors, Loaded, Target};
use crate::tensors::{Reading, Stored, check_model, fill};
use crate::{AdapterConfig, LoadedHead, MethodError, PartConfig};

mod ia3;
mod lora;
mod targets;
mod write;

pub use write::{PeftTarget, peft_cannot_hold, save_peft};

/// Modules that PEFT saves whole: task heads.
const HEADS: [&str; 3] = ["classifier", "score", "qa_outputs"];

/// What the names of the encoder's tensors begin with.
const ROOT: &str = "base_model.model.";

/// The one tensor of the methods that learn virtual tokens.
const PROMPT_EMBEDDINGS: &str = "prompt_embeddings";

pub fn load(
    json: &Value,
    target: &Target<'_>,
    base: BaseTensors<'_>,
) -> Result<Loaded, MethodError> {
    let files = TensorFiles::open_folder(target.folder, &["adapter_model"])?;
    let part = match json.get("peft_type").and_then(Value::as_str) {
        Some("LORA") => lora::config(json, target, &files).map(PartConfig::Lora),
        Some("IA3") => ia3::config(json, target, &files).map(PartConfig::Ia3),
        Some("PREFIX_TUNING") => prefix(json, target).map(PartConfig::Prefix),
        Some("PROMPT_TUNING") => prompt(json).map(PartConfig::Prompt),
        other => Err(format!(
            "the peft_type {} is not supported, expected LORA, IA3, PREFIX_TUNING or PROMPT_TUNING",
            other.unwrap_or("null")
        )),
    };
    let config = AdapterConfig {
        parts: vec![part.map_err(|message| target.error(message))?],
    };
    target.check_width(json.get("token_dim").and_then(Value::as_u64))?;
    target.check_width(lora::width(&files))?;
    let roots = [format!("{ROOT}{}.", target.model_type), ROOT.to_string()];
    let stored = |param: &NamedParam| stored(param, &roots, &config);
    let adjust = |param: &NamedParam, values: Vec<f32>| match param.name.strip_suffix(".bias_delta")
    {
        Some(path) => difference_to_frozen(path, values, target, base),
        None => Ok(values),
    };
    let known = |name: &str| head_name(name).is_some();
    let adapter = target.build(&config)?;
    check_model(&files, &adapter, target, ROOT, &known)?;
    let reading = Reading {
        stored: &stored,
        known: &known,
        adjust: &adjust,
    };
    let adapter = fill(adapter, &files, target.device, &reading)?;
    let head = head(&files)?;
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

/// Where PEFT stores a parameter.
fn stored(param: &NamedParam, roots: &[String; 2], config: &AdapterConfig) -> Stored {
    let mut shape = param.shape.clone();
    let Some((path, tensor)) = param.name.split_once(&format!(".loras.{ADAPTER}.")) else {
        if let [PartConfig::Prefix(prefix)] = config.parts.as_slice() {
            // A matrix there, and the same numbers in one row here.
            shape = vec![prefix.prefix_length, param.count() / prefix.prefix_length];
        }
        return Stored {
            names: vec![PROMPT_EMBEDDINGS.into()],
            shape,
        };
    };
    if matches!(config.parts.as_slice(), [PartConfig::Ia3(_)]) {
        let factor = |root: &String| format!("{root}{path}.{}", ia3::FACTOR);
        // One column where the output is scaled, one row where the input is.
        if shape.len() == 1 {
            shape.insert(0, 1);
        }
        return Stored {
            names: roots.iter().map(factor).collect(),
            shape,
        };
    }
    let tails = match tensor {
        "bias_delta" => vec![format!("{path}.base_layer.bias"), format!("{path}.bias")],
        _ => vec![format!("{path}.{tensor}.weight")],
    };
    let names = tails
        .iter()
        .flat_map(|tail| roots.iter().map(move |root| format!("{root}{tail}")));
    Stored {
        names: names.collect(),
        shape,
    }
}

/// PEFT stores the trained bias itself; ours is the difference to the frozen one.
fn difference_to_frozen(
    path: &str,
    trained: Vec<f32>,
    target: &Target<'_>,
    base: BaseTensors<'_>,
) -> Result<Vec<f32>, MethodError> {
    let name = format!("{}.bias", path.replace(&format!(".loras.{ADAPTER}"), ""));
    let frozen = base(&name).filter(|frozen| frozen.len() == trained.len());
    let frozen =
        frozen.ok_or_else(|| target.error(format!("the base model has no {name} of that size")))?;
    Ok(trained
        .iter()
        .zip(&frozen)
        .map(|(new, old)| new - old)
        .collect())
}

/// `classifier.weight` for a tensor of a saved head.
fn head_name(name: &str) -> Option<&str> {
    let tail = name.strip_prefix("base_model.")?;
    let tail = tail.strip_prefix("model.").unwrap_or(tail);
    let adapted = tail.contains(".lora_") || tail.ends_with(ia3::FACTOR);
    let module = tail.split('.').next()?;
    (HEADS.contains(&module) && !adapted).then_some(tail)
}

fn head(files: &TensorFiles) -> Result<BTreeMap<String, HostTensor>, MethodError> {
    let mut out = BTreeMap::new();
    for name in files.names() {
        if let Some(short) = head_name(name) {
            out.insert(short.to_string(), files.read(name)?);
        }
    }
    Ok(out)
}

fn prefix(json: &Value, target: &Target<'_>) -> Result<PrefixConfig, String> {
    for (field, found) in [
        ("num_layers", target.shape.layers),
        ("num_attention_heads", target.shape.heads),
    ] {
        match number(json, field)? {
            Some(made_for) if made_for != found => {
                return Err(format!(
                    "the adapter was made for a model with {field} {made_for}, but this one has {found}"
                ));
            }
            _ => {}
        }
    }
    one_submodule(json)?;
    Ok(PrefixConfig {
        prefix_length: length(json)?,
        // Only the projected prefix is saved, whatever prefix_projection says.
        flat: true,
        shift_positions: true,
        ..PrefixConfig::default()
    })
}

fn prompt(json: &Value) -> Result<PromptConfig, String> {
    one_submodule(json)?;
    let text = json.get("prompt_tuning_init_text").and_then(Value::as_str);
    let init = json.get("prompt_tuning_init").and_then(Value::as_str);
    Ok(PromptConfig {
        prompt_length: length(json)?,
        word_embeddings: true,
        prompt_init: match (init, text) {
            (Some("TEXT"), Some(_)) => PromptInit::FromString,
            (Some("SAMPLE_VOCAB"), _) => PromptInit::SampledVocab,
            _ => PromptInit::RandomNormal,
        },
        prompt_init_text: text.map(str::to_string),
        ..PromptConfig::default()
    })
}

fn length(json: &Value) -> Result<usize, String> {
    let length = number(json, "num_virtual_tokens")?;
    length.ok_or_else(|| "the entry \"num_virtual_tokens\" is missing".into())
}

fn one_submodule(json: &Value) -> Result<(), String> {
    match number(json, "num_transformer_submodules")? {
        None | Some(1) => Ok(()),
        Some(other) => Err(format!(
            "num_transformer_submodules = {other} is not supported, expected 1"
        )),
    }
}

fn number(json: &Value, field: &str) -> Result<Option<usize>, String> {
    match json.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_u64().and_then(|n| usize::try_from(n).ok());
            let number =
                number.ok_or_else(|| format!("{field} must be a whole number, but is {value}"))?;
            Ok(Some(number))
        }
    }
}
