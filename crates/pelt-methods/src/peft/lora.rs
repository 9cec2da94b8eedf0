//! PEFT's LoRA.

use pelt_hooks::Projection;
use pelt_lora::{AttnMatrix, LoraBias, LoraConfig};
use pelt_tensors::TensorFiles;
use serde_json::Value;

use super::targets::{choose, refuse};
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

/// What the file describes; the message is completed with the file's name by the caller.
pub fn config(
    json: &Value,
    target: &Target<'_>,
    files: &TensorFiles,
) -> Result<LoraConfig, String> {
    refuse(json, &REFUSED)?;
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
    let in_file = files
        .names()
        .any(|name| name.contains("pooler.dense.lora_"));
    let chosen = choose(json, &["query", "value"], target, in_file)?;
    config.pooler_lora = chosen.pooler;
    config.leave_out = chosen.leave_out;
    for projection in chosen.projections {
        match projection {
            Projection::Query => config.attn_matrices.push(AttnMatrix::Query),
            Projection::Key => config.attn_matrices.push(AttnMatrix::Key),
            Projection::Value => config.attn_matrices.push(AttnMatrix::Value),
            Projection::AttentionOutput => config.attn_output_lora = true,
            Projection::Intermediate => config.intermediate_lora = true,
            Projection::Output => config.output_lora = true,
        }
    }
    Ok(config)
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
