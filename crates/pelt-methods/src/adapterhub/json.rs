//! `config` of an `adapter_config.json`, to and from ours.

use pelt_adapter::BottleneckConfig;
use pelt_lora::LoraConfig;
use pelt_prefix::PrefixConfig;
use pelt_prompt::PromptConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{AdapterConfig, PartConfig};

/// The parts that a file's `config` describes.
///
/// Fields that are not known are ignored, and missing ones take the library's defaults, which are ours.
pub fn from_json(config: &Value) -> Result<AdapterConfig, String> {
    let parts = match config.get("architecture").and_then(Value::as_str) {
        Some("union") => {
            let parts = config.get("configs").and_then(Value::as_array);
            let parts = parts.ok_or("config.configs of a union is missing")?;
            parts.iter().map(part).collect::<Result<_, _>>()?
        }
        _ => vec![part(config)?],
    };
    Ok(AdapterConfig { parts })
}

fn part(config: &Value) -> Result<PartConfig, String> {
    let fields = config.as_object().ok_or("config is not an object")?;
    match config.get("architecture").and_then(Value::as_str) {
        Some("lora") => {
            refuse(fields, "composition_mode", &["add".into()], "(IA)³ is not supported")?;
            refuse(fields, "selfattn_lora", &[true.into()], "only LoRA on attention projections with selfattn_lora is")?;
            refuse(fields, "use_dora", &[false.into()], "DoRA is not supported")?;
            refuse(fields, "vera_d", &[Value::Null], "VeRA is not supported")?;
            let mut lora: LoraConfig = known(fields, &LoraConfig::default())?;
            if fields.get("selfattn_lora") == Some(&false.into()) {
                lora.attn_matrices.clear();
            }
            Ok(PartConfig::Lora(lora))
        }
        Some("prefix_tuning") => known::<PrefixConfig>(fields, &PrefixConfig::default()).map(PartConfig::Prefix),
        Some("prompt_tuning") => known::<PromptConfig>(fields, &PromptConfig::default()).map(PartConfig::Prompt),
        None if fields.contains_key("reduction_factor") => {
            refuse(fields, "phm_layer", &[false.into()], "Compacter is not supported")?;
            refuse(fields, "inv_adapter", &[Value::Null], "invertible adapters are not supported")?;
            refuse(fields, "original_ln_after", &[true.into()], "only adapters in front of the layer's own norm are supported")?;
            refuse(fields, "stochastic_depth", &[0.0.into(), 0.into()], "stochastic depth is not supported")?;
            known::<BottleneckConfig>(fields, &BottleneckConfig::default()).map(PartConfig::Bottleneck)
        }
        Some(other) => Err(format!("the architecture \"{other}\" is not supported")),
        None => Err("config names no architecture, and is no bottleneck adapter".into()),
    }
}

/// An error unless the field is missing or one of the allowed values.
fn refuse(fields: &Map<String, Value>, field: &str, allowed: &[Value], why: &str) -> Result<(), String> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(()),
        Some(value) if allowed.contains(value) => Ok(()),
        Some(value) => Err(format!("{why} ({field} is {value})")),
    }
}

/// Only the fields that our configuration has, over the defaults.
fn known<C: Serialize + DeserializeOwned>(fields: &Map<String, Value>, defaults: &C) -> Result<C, String> {
    let defaults = serde_json::to_value(defaults).map_err(|e| e.to_string())?;
    let mut ours = defaults.as_object().cloned().unwrap_or_default();
    for (name, value) in fields {
        let optional = name == "prompt_init_text";
        let present = ours.contains_key(name) || optional;
        if present && !(value.is_null() && !optional) {
            ours.insert(name.clone(), value.clone());
        }
    }
    serde_json::from_value(ours.into()).map_err(|e| e.to_string())
}

/// What the library writes for this configuration.
pub fn to_json(config: &AdapterConfig) -> Result<Value, String> {
    match config.parts.as_slice() {
        [part] => part_json(part),
        parts => {
            let parts = parts.iter().map(part_json).collect::<Result<Vec<_>, _>>()?;
            Ok(json!({ "architecture": "union", "configs": parts }))
        }
    }
}

fn part_json(part: &PartConfig) -> Result<Value, String> {
    let ours = serde_json::to_value(part).map_err(|e| e.to_string())?;
    let mut ours = ours.as_object().cloned().unwrap_or_default();
    ours.remove("type");
    // Fields of ours that the library does not have may only hold what it does anyway.
    let own: &[(&str, Value)] = match part {
        PartConfig::Lora(_) => &[
            ("attn_output_lora", json!(false)),
            ("pooler_lora", json!(false)),
            ("use_rslora", json!(false)),
            ("bias", json!("none")),
            ("init", Value::Null),
        ],
        PartConfig::Prefix(_) => &[("shift_positions", json!(false)), ("init", Value::Null)],
        PartConfig::Prompt(_) => &[("word_embeddings", json!(false))],
        PartConfig::Bottleneck(_) => &[],
    };
    for (field, allowed) in own {
        let value = ours.remove(*field).unwrap_or_default();
        if !allowed.is_null() && value != *allowed {
            return Err(format!("AdapterHub's format cannot say {field} = {value}"));
        }
    }
    let mut out = match part {
        PartConfig::Lora(_) => json!({
            "architecture": "lora",
            "composition_mode": "add",
            "dtype": null,
            "init_weights_seed": null,
            "selfattn_lora": true,
            "use_dora": false,
            "vera_b": null,
            "vera_d": null,
        }),
        PartConfig::Prefix(_) => json!({
            "architecture": "prefix_tuning",
            "cross_prefix": true,
            "encoder_prefix": true,
            "init_weights_seed": null,
        }),
        PartConfig::Prompt(_) => json!({
            "architecture": "prompt_tuning",
            "init_weights_seed": null,
            "prompt_init_text": null,
        }),
        PartConfig::Bottleneck(_) => json!({
            "cross_adapter": false,
            "factorized_phm_W": true,
            "factorized_phm_rule": false,
            "hypercomplex_nonlinearity": "glorot-uniform",
            "init_weights_seed": null,
            "inv_adapter": null,
            "inv_adapter_reduction_factor": null,
            "learn_phm": true,
            "phm_bias": true,
            "phm_c_init": "normal",
            "phm_dim": 4,
            "phm_init_range": 0.0001,
            "phm_layer": false,
            "phm_rank": 1,
            "shared_W_phm": false,
            "shared_phm_rule": true,
            "stochastic_depth": 0.0,
        }),
    };
    if let Value::Object(fields) = &mut out {
        for (name, value) in ours {
            fields.insert(name.clone(), as_written(&name, value));
        }
    }
    if let PartConfig::Prompt(prompt) = part {
        // The library knows two ways to start; a trained prompt no longer depends on it.
        if prompt.prompt_init != pelt_prompt::PromptInit::FromString {
            out["prompt_init"] = "random_uniform".into();
        }
    }
    Ok(out)
}

/// The library writes whole numbers without a point, except where its default has one.
fn as_written(name: &str, value: Value) -> Value {
    let float = matches!(name, "dropout" | "scaling");
    match &value {
        Value::Number(number) if !float => match number.as_f64() {
            Some(x) if x.fract() == 0.0 && x.abs() < 1e15 => (x as i64).into(),
            _ => value,
        },
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), as_written("", value.clone())))
            .collect::<Map<_, _>>()
            .into(),
        _ => value,
    }
}
