//! Writing a PEFT folder.

use std::collections::BTreeMap;
use std::path::Path;

use pelt_hooks::{ADAPTER, EncoderShape, Projection, ProjectionSite};
use pelt_ia3::{Ia3Config, Ia3Target};
use pelt_lora::{AttnMatrix, LoraBias, LoraConfig};
use pelt_prefix::PrefixConfig;
use pelt_prompt::{Combine, PromptConfig};
use pelt_tensors::HostTensor;
use serde_json::{Value, json};

use super::{PROMPT_EMBEDDINGS, ROOT, ia3};
use crate::adapterhub::{tensors_by_name, write_both};
use crate::format::{BaseTensors, CONFIG_FILE};
use crate::{Adapter, AdapterConfig, AnyMethod, MethodError, ModelInfo, PartConfig};

/// What a PEFT folder is written for.
pub struct PeftTarget<'a> {
    /// The base model.
    pub model: &'a ModelInfo,
    /// Its sizes.
    pub shape: &'a EncoderShape,
    /// Its frozen tensors.
    pub base: BaseTensors<'a>,
    /// The tensors of the task head, which PEFT keeps in the same file.
    pub head: &'a BTreeMap<String, HostTensor>,
}

/// Writes `adapter_config.json` and `adapter_model.safetensors`.
///
/// A prefix is written as the table that its network gives: PEFT never reads the network.
///
/// # Errors
/// As [`peft_cannot_hold`] says, or a file that cannot be written.
pub fn save_peft(
    folder: &Path,
    config: &AdapterConfig,
    adapter: &Adapter,
    target: &PeftTarget<'_>,
) -> Result<(), MethodError> {
    let path = folder.join(CONFIG_FILE);
    let (part, module) =
        part_and_module(config, target.head).map_err(|why| MethodError::file(&path, why))?;
    let mut tensors = match (part, adapter.parts.as_slice()) {
        (PartConfig::Prefix(prefix), [AnyMethod::Prefix(method)]) => {
            let table = tensors_by_name(&method.clone().eject(), &path)?;
            only(table, prefix.prefix_length)?
        }
        (PartConfig::Prompt(prompt), _) => {
            only(tensors_by_name(adapter, &path)?, prompt.prompt_length)?
        }
        _ => projections(part, tensors_by_name(adapter, &path)?, target, &path)?,
    };
    let root = match part {
        // One level less than where PEFT wraps single layers.
        PartConfig::Prefix(_) | PartConfig::Prompt(_) => "base_model.",
        _ => ROOT,
    };
    for (name, tensor) in target.head {
        tensors.insert(format!("{root}{name}"), tensor.clone());
    }
    let mut json = match part {
        PartConfig::Lora(lora) => lora_json(lora, target.shape),
        PartConfig::Ia3(ia3) => ia3_json(ia3, target.shape),
        PartConfig::Prefix(prefix) => prefix_json(prefix, target.shape),
        PartConfig::Prompt(prompt) => prompt_json(prompt, target.shape),
        PartConfig::Bottleneck(_) | PartConfig::Stack(_) => Value::Null,
    };
    json["base_model_name_or_path"] = target.model.model_name.clone().into();
    json["inference_mode"] = true.into();
    json["modules_to_save"] = json!([module]);
    json["task_type"] = match module {
        "qa_outputs" => "QUESTION_ANS".into(),
        _ => "SEQ_CLS".into(),
    };
    write_both(
        &folder.join("adapter_model.safetensors"),
        &tensors,
        &path,
        &json,
    )
}

/// Why PEFT's format cannot hold an adapter with this head; nothing if it can.
pub fn peft_cannot_hold(
    config: &AdapterConfig,
    head: &BTreeMap<String, HostTensor>,
) -> Option<String> {
    part_and_module(config, head).err()
}

/// The one method of an adapter and the module of its head, where PEFT can hold both.
fn part_and_module<'a>(
    config: &'a AdapterConfig,
    head: &BTreeMap<String, HostTensor>,
) -> Result<(&'a PartConfig, &'static str), String> {
    let (part, module) = (only_part(config)?, head_module(head)?);
    // RoBERTa's head has two layers.
    if matches!(part, PartConfig::Prefix(_)) && head.contains_key("classifier.out_proj.weight") {
        return Err("PEFT cannot run a prefix on RoBERTa's model for classification".into());
    }
    Ok((part, module))
}

/// The one method of an adapter that PEFT can hold.
fn only_part(config: &AdapterConfig) -> Result<&PartConfig, String> {
    let [part] = config.parts.as_slice() else {
        let names: Vec<&str> = config.parts.iter().map(PartConfig::name).collect();
        let names = names.join(", ");
        return Err(format!(
            "it has several parts ({names}), and PEFT has one method an adapter"
        ));
    };
    match part_cannot_be_held(part) {
        Some(why) => Err(why),
        None => Ok(part),
    }
}

/// Why PEFT has no such method, if it has none.
fn part_cannot_be_held(part: &PartConfig) -> Option<String> {
    let gated = |use_gating: bool| {
        use_gating.then(|| "it has gates (use_gating = true), and PEFT has none".to_string())
    };
    match part {
        PartConfig::Lora(lora) => gated(lora.use_gating),
        PartConfig::Ia3(ia3) => gated(ia3.use_gating),
        PartConfig::Prefix(prefix) => gated(prefix.use_gating).or_else(|| {
            if !prefix.shift_positions {
                return Some(
                    "its prefix leaves the positions of tokens as they are, and PEFT moves them up (prefix.shift_positions = true trains one of that kind)".into()
                );
            }
            let left_out = !prefix.leave_out.is_empty();
            left_out.then(|| format!("PEFT's prefix is in all layers, and this one leaves out {:?}", prefix.leave_out))
        }),
        PartConfig::Prompt(prompt) => {
            if !prompt.word_embeddings {
                return Some(
                    "its prompt is put behind the embedding block, and PEFT's among the word embeddings (prompt.word_embeddings = true trains one of that kind)".into()
                );
            }
            (prompt.combine != Combine::Prefix)
                .then(|| "its prompt is behind the first token, and PEFT's in front of it".to_string())
        }
        PartConfig::Bottleneck(_) => Some("PEFT has no bottleneck adapters".into()),
        PartConfig::Stack(_) => Some("it is a stack of several adapters".into()),
    }
}

/// The module of the head in transformers' own classes.
fn head_module(head: &BTreeMap<String, HostTensor>) -> Result<&'static str, String> {
    for module in ["classifier", "qa_outputs"] {
        let start = format!("{module}.");
        if !head.is_empty() && head.keys().all(|name| name.starts_with(&start)) {
            return Ok(module);
        }
    }
    Err("its head is not one of transformers' own classes (train with --head auto)".into())
}

/// The one tensor of a method that learns virtual tokens, `[rows, columns]`.
fn only(
    tensors: BTreeMap<String, HostTensor>,
    rows: usize,
) -> Result<BTreeMap<String, HostTensor>, MethodError> {
    let mut out = BTreeMap::new();
    for tensor in tensors.into_values() {
        let columns = tensor.values.len() / rows;
        let table = HostTensor::new(vec![rows, columns], tensor.values)?;
        out.insert(PROMPT_EMBEDDINGS.to_string(), table);
    }
    Ok(out)
}

/// The tensors of LoRA and (IA)³ under PEFT's names.
fn projections(
    part: &PartConfig,
    tensors: BTreeMap<String, HostTensor>,
    target: &PeftTarget<'_>,
    config: &Path,
) -> Result<BTreeMap<String, HostTensor>, MethodError> {
    let root = format!("{ROOT}{}.", target.model.model_type);
    let mark = format!(".loras.{ADAPTER}.");
    let mut out = BTreeMap::new();
    for (name, mut tensor) in tensors {
        let Some((path, kind)) = name.split_once(&mark) else {
            return Err(MethodError::file(
                config,
                format!("PEFT has no place for {name}"),
            ));
        };
        let name = match (part, kind) {
            (PartConfig::Ia3(ia3), _) => {
                for value in &mut tensor.values {
                    // PEFT has no alpha.
                    *value *= ia3.alpha as f32;
                }
                if tensor.shape.len() == 1 {
                    tensor.shape.insert(0, 1);
                }
                format!("{path}.{}", ia3::FACTOR)
            }
            (_, "bias_delta") => {
                let frozen = (target.base)(&format!("{path}.bias"));
                let frozen = frozen.filter(|frozen| frozen.len() == tensor.values.len());
                let frozen = frozen.ok_or_else(|| {
                    MethodError::file(
                        config,
                        format!("the base model has no {path}.bias of that size"),
                    )
                })?;
                for (value, frozen) in tensor.values.iter_mut().zip(frozen) {
                    *value += frozen;
                }
                format!("{path}.base_layer.bias")
            }
            _ => format!("{path}.{kind}.weight"),
        };
        out.insert(format!("{root}{name}"), tensor);
    }
    Ok(out)
}

/// Names of modules by which PEFT finds these projections and no others: the ends of their paths, or whole paths where an end
/// would say too much.
fn modules(
    projections: &[Projection],
    pooler: bool,
    leave_out: &[usize],
    shape: &EncoderShape,
) -> Vec<String> {
    let has = |projection| projections.contains(&projection);
    // The path of one ends with that of the other.
    let ambiguous = has(Projection::Output) && !has(Projection::AttentionOutput);
    let mut names = Vec::new();
    if ambiguous || !leave_out.is_empty() {
        for layer in (0..shape.layers).filter(|layer| !leave_out.contains(layer)) {
            let site = |projection: &Projection| ProjectionSite::Layer(layer, *projection).path();
            names.extend(projections.iter().map(site));
        }
    } else {
        let end = |projection: &Projection| match projection {
            Projection::Query => "query",
            Projection::Key => "key",
            Projection::Value => "value",
            Projection::AttentionOutput => "attention.output.dense",
            Projection::Intermediate => "intermediate.dense",
            Projection::Output => "output.dense",
        };
        names.extend(
            projections
                .iter()
                .map(|projection| end(projection).to_string()),
        );
    }
    if pooler {
        names.push(ProjectionSite::Pooler.path());
    }
    names
}

fn lora_json(lora: &LoraConfig, shape: &EncoderShape) -> Value {
    let attention = lora.attn_matrices.iter().map(|matrix| match matrix {
        AttnMatrix::Query => Projection::Query,
        AttnMatrix::Key => Projection::Key,
        AttnMatrix::Value => Projection::Value,
    });
    let mut projections: Vec<Projection> = attention.collect();
    for (wanted, projection) in [
        (lora.attn_output_lora, Projection::AttentionOutput),
        (lora.intermediate_lora, Projection::Intermediate),
        (lora.output_lora, Projection::Output),
    ] {
        if wanted {
            projections.push(projection);
        }
    }
    json!({
        "alpha_pattern": {},
        "bias": match lora.bias {
            LoraBias::None => "none",
            LoraBias::LoraOnly => "lora_only",
        },
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "layers_to_transform": null,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "peft_type": "LORA",
        "r": lora.r,
        "rank_pattern": {},
        "target_modules": modules(&projections, lora.pooler_lora, &lora.leave_out, shape),
        "use_rslora": lora.use_rslora,
    })
}

fn ia3_json(ia3: &Ia3Config, shape: &EncoderShape) -> Value {
    let modules = |targets: &[Ia3Target]| {
        let projections: Vec<Projection> = targets.iter().filter_map(projection).collect();
        let pooler = targets.contains(&Ia3Target::Pooler);
        modules(&projections, pooler, &ia3.leave_out, shape)
    };
    json!({
        "fan_in_fan_out": false,
        "feedforward_modules": modules(&ia3.feedforward),
        "init_ia3_weights": true,
        "peft_type": "IA3",
        "target_modules": modules(&ia3.targets),
    })
}

fn projection(target: &Ia3Target) -> Option<Projection> {
    match target {
        Ia3Target::Query => Some(Projection::Query),
        Ia3Target::Key => Some(Projection::Key),
        Ia3Target::Value => Some(Projection::Value),
        Ia3Target::AttentionOutput => Some(Projection::AttentionOutput),
        Ia3Target::Intermediate => Some(Projection::Intermediate),
        Ia3Target::Output => Some(Projection::Output),
        Ia3Target::Pooler => None,
    }
}

fn prefix_json(prefix: &PrefixConfig, shape: &EncoderShape) -> Value {
    let mut json = virtual_tokens(prefix.prefix_length, shape);
    json["encoder_hidden_size"] = shape.hidden_size.into();
    json["peft_type"] = "PREFIX_TUNING".into();
    json["prefix_projection"] = false.into();
    json
}

fn prompt_json(prompt: &PromptConfig, shape: &EncoderShape) -> Value {
    let mut json = virtual_tokens(prompt.prompt_length, shape);
    json["peft_type"] = "PROMPT_TUNING".into();
    // How it started is of no use once it is trained.
    json["prompt_tuning_init"] = "RANDOM".into();
    json["prompt_tuning_init_text"] = Value::Null;
    json["tokenizer_name_or_path"] = Value::Null;
    json
}

fn virtual_tokens(count: usize, shape: &EncoderShape) -> Value {
    json!({
        "num_attention_heads": shape.heads,
        "num_layers": shape.layers,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": count,
        "token_dim": shape.hidden_size,
    })
}
