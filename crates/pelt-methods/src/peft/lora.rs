//! PEFT's LoRA.

use pelt_hooks::Projection;
use pelt_lora::{AttnMatrix, LoraBias, LoraConfig};
use pelt_tensors::TensorFiles;
use serde_json::Value;

use super::{ROOT, number};
use crate::format::Target;

/// Settings that change what is computed in ways that are not supported: they must be null, false or empty.
const REFUSED: [&str; 17] = [
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "exclude_modules",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "layers_pattern",
    "lora_bias",
    "monteclora_config",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
];

/// The projections of a layer and their paths in it.
const PROJECTIONS: [(Projection, &str); 6] = [
    (Projection::Query, "attention.self.query"),
    (Projection::Key, "attention.self.key"),
    (Projection::Value, "attention.self.value"),
    (Projection::AttentionOutput, "attention.output.dense"),
    (Projection::Intermediate, "intermediate.dense"),
    (Projection::Output, "output.dense"),
];

/// What the file describes; the message is completed with the file's name by the caller.
pub fn config(
    json: &Value,
    target: &Target<'_>,
    files: &TensorFiles,
) -> Result<LoraConfig, String> {
    for field in REFUSED {
        let value = json.get(field).unwrap_or(&Value::Null);
        if !is_empty(value) {
            return Err(format!("{field} = {value} is not supported"));
        }
    }
    match json.get("init_lora_weights") {
        None | Some(Value::Null | Value::Bool(_)) => {}
        Some(Value::String(init)) if matches!(init.as_str(), "gaussian" | "orthogonal" | "eva") => {
        }
        Some(other) => {
            return Err(format!(
                "init_lora_weights = {other} changes the base model, which is not supported"
            ));
        }
    }
    let mut config = LoraConfig {
        r: number(json, "r")?.unwrap_or(8),
        alpha: real(json, "lora_alpha")?.unwrap_or(8.0),
        dropout: real(json, "lora_dropout")?.unwrap_or(0.0),
        use_rslora: json.get("use_rslora") == Some(&true.into()),
        attn_matrices: vec![],
        bias: match json.get("bias") {
            None | Some(Value::Null) => LoraBias::None,
            Some(Value::String(bias)) if bias == "none" => LoraBias::None,
            Some(Value::String(bias)) if bias == "lora_only" => LoraBias::LoraOnly,
            Some(other) => {
                return Err(format!(
                    "bias = {other} is not supported, expected \"none\" or \"lora_only\""
                ));
            }
        },
        ..LoraConfig::default()
    };
    choose(json, target, files, &mut config)?;
    Ok(config)
}

/// Sets the adapted projections and the layers that are left out.
fn choose(
    json: &Value,
    target: &Target<'_>,
    files: &TensorFiles,
    config: &mut LoraConfig,
) -> Result<(), String> {
    let targets = match json.get("target_modules") {
        None | Some(Value::Null) => vec!["query", "value"],
        Some(Value::Array(targets)) => targets.iter().filter_map(Value::as_str).collect(),
        Some(other) => {
            return Err(format!(
                "target_modules = {other} is not supported, expected a list of names"
            ));
        }
    };
    let transformed = layers_to_transform(json)?;
    if let Some(beyond) = transformed
        .iter()
        .flatten()
        .find(|layer| **layer >= target.shape.layers)
    {
        return Err(format!(
            "layers_to_transform has layer {beyond}, but this model has {} layers",
            target.shape.layers
        ));
    }
    let model = target.model_type;
    // A target matches every module whose path ends with it.
    let is_target = |path: &str| {
        let ends = |target: &&str| path == *target || path.ends_with(&format!(".{target}"));
        targets.iter().any(ends)
    };
    let mut chosen: Option<Vec<Projection>> = None;
    for layer in 0..target.shape.layers {
        let here = transformed
            .as_ref()
            .is_none_or(|layers| layers.contains(&layer));
        let in_layer = PROJECTIONS.iter().filter(|(_, path)| {
            here && is_target(&format!("{model}.encoder.layer.{layer}.{path}"))
        });
        let in_layer: Vec<Projection> = in_layer.map(|(projection, _)| *projection).collect();
        if in_layer.is_empty() {
            config.leave_out.push(layer);
            continue;
        }
        match &chosen {
            Some(before) if *before != in_layer => {
                return Err(
                    "target_modules with different targets in different layers is not supported"
                        .into(),
                );
            }
            _ => chosen = Some(in_layer),
        }
    }
    // Some models have no pooler although their base has one, so the file decides.
    let in_file = files
        .names()
        .any(|name| name.contains("pooler.dense.lora_"));
    config.pooler_lora =
        in_file && transformed.is_none() && is_target(&format!("{model}.pooler.dense"));
    if chosen.is_none() {
        if !config.pooler_lora {
            return Err(format!(
                "target_modules: none of {} is a layer of this model",
                targets.join(", ")
            ));
        }
        config.leave_out.clear();
    }
    for projection in chosen.into_iter().flatten() {
        match projection {
            Projection::Query => config.attn_matrices.push(AttnMatrix::Query),
            Projection::Key => config.attn_matrices.push(AttnMatrix::Key),
            Projection::Value => config.attn_matrices.push(AttnMatrix::Value),
            Projection::AttentionOutput => config.attn_output_lora = true,
            Projection::Intermediate => config.intermediate_lora = true,
            Projection::Output => config.output_lora = true,
        }
    }
    Ok(())
}

/// The only layers that are adapted, if the file names any.
fn layers_to_transform(json: &Value) -> Result<Option<Vec<usize>>, String> {
    let value = match json.get("layers_to_transform") {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value,
    };
    let list = match value {
        Value::Array(list) => list.as_slice(),
        single => std::slice::from_ref(single),
    };
    let layers: Option<Vec<usize>> = list
        .iter()
        .map(|layer| layer.as_u64().and_then(|layer| usize::try_from(layer).ok()))
        .collect();
    match layers {
        Some(layers) => Ok(Some(layers)),
        None => Err(format!(
            "layers_to_transform must be layer numbers, but is {value}"
        )),
    }
}

/// The hidden size of the model that the adapter was made for, as far as its tensors show it.
pub fn width(files: &TensorFiles) -> Option<u64> {
    let name = files.names().find(|name| {
        name.starts_with(ROOT)
            && name.contains(".attention.self.")
            && name.ends_with(".lora_A.weight")
    })?;
    files.shape(name)?.get(1).map(|width| *width as u64)
}

fn real(json: &Value, field: &str) -> Result<Option<f64>, String> {
    match json.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) => Ok(Some(number)),
            None => Err(format!("{field} must be a number, but is {value}")),
        },
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Number(_) => false,
    }
}
