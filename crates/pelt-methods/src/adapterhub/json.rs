//! `config` of an `adapter_config.json`, to and from ours.

use pelt_adapter::BottleneckConfig;
use pelt_lora::LoraConfig;
use pelt_prefix::PrefixConfig;
use pelt_prompt::{PromptConfig, PromptInit};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{AdapterConfig, PartConfig};

/// The `architecture` of a part with settings that AdapterHub does not have. The library refuses an architecture that it
/// does not know, where it would silently ignore a setting.
const OWN_ARCHITECTURE: &str = "pelt";

/// How Kronecker products are made and shared, where there are any.
const PHM: [(&str, bool); 6] = [
    ("factorized_phm_W", true),
    ("factorized_phm_rule", false),
    ("learn_phm", true),
    ("phm_bias", true),
    ("shared_W_phm", false),
    ("shared_phm_rule", true),
];

/// The parts that a file's `config` describes. Fields that are not known are ignored, and missing ones take the library's
/// defaults. `versioned` says whether the file names the library's version; older ones spell activations differently.
pub fn from_json(config: &Value, versioned: bool) -> Result<AdapterConfig, String> {
    let parts = match architecture(config) {
        Some("union") => {
            let parts = config.get("configs").and_then(Value::as_array);
            let parts = parts.ok_or("the entry config.configs of a union is missing")?;
            let parts: Result<Vec<_>, _> =
                parts.iter().map(|config| part(config, versioned)).collect();
            parts?
        }
        _ => vec![part(config, versioned)?],
    };
    Ok(AdapterConfig { parts })
}

fn architecture(config: &Value) -> Option<&str> {
    config.get("architecture").and_then(Value::as_str)
}

fn part(config: &Value, versioned: bool) -> Result<PartConfig, String> {
    let fields = config.as_object().ok_or("config must be an object")?;
    match architecture(config) {
        Some("lora") if fields.get("composition_mode") == Some(&"scale".into()) => {
            super::ia3::from_fields(fields).map(PartConfig::Ia3)
        }
        Some("lora") => lora(fields).map(PartConfig::Lora),
        Some("prefix_tuning") => {
            refuse(
                fields,
                "encoder_prefix",
                &[true.into()],
                "a prefix outside the encoder",
            )?;
            known(fields, &PrefixConfig::default()).map(PartConfig::Prefix)
        }
        Some("prompt_tuning") => known(fields, &PromptConfig::default()).map(PartConfig::Prompt),
        None if fields.contains_key("reduction_factor") => {
            bottleneck(fields, versioned).map(PartConfig::Bottleneck)
        }
        Some(OWN_ARCHITECTURE) => {
            let mut fields = fields.clone();
            fields.remove("architecture");
            serde_json::from_value(fields.into()).map_err(|e| e.to_string())
        }
        Some(other) => Err(format!("the architecture \"{other}\" is not supported")),
        None => Err("config names no architecture, and is no bottleneck adapter".into()),
    }
}

fn lora(fields: &Map<String, Value>) -> Result<LoraConfig, String> {
    refuse(
        fields,
        "composition_mode",
        &["add".into()],
        "a way to combine other than adding and scaling",
    )?;
    refuse(fields, "use_dora", &[false.into()], "DoRA")?;
    refuse(fields, "vera_d", &[], "VeRA")?;
    refuse(fields, "vera_b", &[], "VeRA")?;
    let mut fields = fields.clone();
    // The ways to start differ from ours, and are over once there is a file.
    fields.remove("init_weights");
    let mut lora: LoraConfig = known(&fields, &LoraConfig::default())?;
    if fields.get("selfattn_lora") == Some(&false.into()) {
        lora.attn_matrices.clear();
    }
    Ok(lora)
}

fn bottleneck(fields: &Map<String, Value>, versioned: bool) -> Result<BottleneckConfig, String> {
    if fields.get("phm_layer") == Some(&true.into()) {
        for (field, usual) in PHM {
            let what = "Compacter with other shared parts";
            refuse(fields, field, &[usual.into()], what)?;
        }
    }
    refuse(fields, "inv_adapter", &[], "an invertible adapter")?;
    refuse(fields, "invertible_adapter", &[], "an invertible adapter")?;
    refuse(
        fields,
        "original_ln_after",
        &[true.into()],
        "an adapter behind the layer's own norm",
    )?;
    refuse(
        fields,
        "stochastic_depth",
        &[0.0.into(), 0.into()],
        "stochastic depth",
    )?;
    let defaults = BottleneckConfig {
        original_ln_before: false,
        ..BottleneckConfig::default()
    };
    let mut fields = fields.clone();
    if let Some(Value::String(non_linearity)) = fields.get_mut("non_linearity")
        && !versioned
    {
        match non_linearity.as_str() {
            "gelu" => *non_linearity = "gelu_new".into(),
            "gelu_orig" => *non_linearity = "gelu".into(),
            _ => {}
        }
    }
    known(&fields, &defaults)
}

/// An error unless the field is missing, null or one of the allowed values.
pub(super) fn refuse(
    fields: &Map<String, Value>,
    field: &str,
    allowed: &[Value],
    what: &str,
) -> Result<(), String> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(()),
        Some(value) if allowed.contains(value) => Ok(()),
        Some(value) => Err(format!("{what} is not supported ({field} is {value})")),
    }
}

/// Only the fields that our configuration has, over the defaults.
pub(super) fn known<C: Serialize + DeserializeOwned>(
    fields: &Map<String, Value>,
    defaults: &C,
) -> Result<C, String> {
    let defaults = serde_json::to_value(defaults).map_err(|e| e.to_string())?;
    let mut ours = defaults.as_object().cloned().unwrap_or_default();
    for (name, value) in fields {
        // Left out of ours where there is none.
        let present = ours.contains_key(name) || name == "prompt_init_text";
        if present && !value.is_null() {
            ours.insert(name.clone(), value.clone());
        }
    }
    serde_json::from_value(ours.into()).map_err(|e| format!("config: {e}"))
}

/// What the library writes for this configuration.
pub fn to_json(config: &AdapterConfig) -> Result<Value, serde_json::Error> {
    match config.parts.as_slice() {
        [part] => part_json(part),
        parts => {
            let parts: Result<Vec<_>, _> = parts.iter().map(part_json).collect();
            Ok(json!({ "architecture": "union", "configs": parts? }))
        }
    }
}

fn part_json(part: &PartConfig) -> Result<Value, serde_json::Error> {
    let ours = serde_json::to_value(part)?;
    let mut ours = ours.as_object().cloned().unwrap_or_default();
    // How parameters started is of no use once they are trained.
    ours.remove("init");
    if let PartConfig::Stack(_) = part {
        ours.insert("architecture".into(), OWN_ARCHITECTURE.into());
        return Ok(ours.into());
    }
    if let PartConfig::Ia3(config) = part {
        return Ok(match super::ia3::to_fields(config) {
            Some(fields) => as_written("", fields.into()),
            None => {
                ours.insert("architecture".into(), OWN_ARCHITECTURE.into());
                ours.into()
            }
        });
    }
    let own = own_fields(part);
    if own
        .iter()
        .any(|(field, usual)| ours.get(*field) != Some(usual))
    {
        ours.insert("architecture".into(), OWN_ARCHITECTURE.into());
        return Ok(ours.into());
    }
    ours.remove("type");
    for (field, _) in own {
        ours.remove(field);
    }
    let mut out = library_fields(part);
    for (name, value) in ours {
        let value = as_written(&name, value);
        out.insert(name, value);
    }
    match part {
        PartConfig::Lora(lora) if lora.attn_matrices.is_empty() => {
            out.insert("selfattn_lora".into(), false.into());
        }
        // The library knows two ways to start.
        PartConfig::Prompt(prompt) if prompt.prompt_init != PromptInit::FromString => {
            out.insert("prompt_init".into(), "random_uniform".into());
        }
        _ => {}
    }
    Ok(out.into())
}

/// Why AdapterHub's library would refuse this part, if it would.
pub fn adapterhub_cannot_hold(part: &PartConfig) -> Option<String> {
    let ours = serde_json::to_value(part).unwrap_or_default();
    match part {
        PartConfig::Stack(_) => Some("a stack is several adapters there".into()),
        PartConfig::Ia3(config) => super::ia3::to_fields(config).is_none().then(|| {
            "(IA)³ scales no inputs there, and neither attention.output.dense nor the pooler".into()
        }),
        _ => {
            let mut fields = own_fields(part).into_iter();
            let (field, _) = fields.find(|(field, usual)| ours.get(*field) != Some(usual))?;
            let found = &ours[field];
            Some(format!("{} has no {field} = {found} there", part.name()))
        }
    }
}

/// Fields that AdapterHub does not have, with the value that describes what it does.
fn own_fields(part: &PartConfig) -> Vec<(&'static str, Value)> {
    match part {
        PartConfig::Lora(_) => vec![
            ("attn_output_lora", false.into()),
            ("pooler_lora", false.into()),
            ("use_rslora", false.into()),
            ("bias", "none".into()),
        ],
        PartConfig::Prefix(_) => vec![("shift_positions", false.into())],
        PartConfig::Prompt(_) => vec![("word_embeddings", false.into())],
        // The last two are written apart: (IA)³ has fields of other names there, and a stack is no part there.
        PartConfig::Bottleneck(_) | PartConfig::Ia3(_) | PartConfig::Stack(_) => vec![],
    }
}

/// Fields that the library writes and we do not have.
fn library_fields(part: &PartConfig) -> Map<String, Value> {
    let fields = match part {
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
            "phm_init_range": 0.0001,
            "shared_W_phm": false,
            "shared_phm_rule": true,
            "stochastic_depth": 0.0,
        }),
        PartConfig::Ia3(_) | PartConfig::Stack(_) => Value::Null,
    };
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// The library writes whole numbers without a point, except where its default has one.
fn as_written(name: &str, value: Value) -> Value {
    let float = matches!(name, "dropout" | "scaling");
    match &value {
        Value::Number(number) if !float => match number.as_f64() {
            Some(x) if x.fract() == 0.0 && x.abs() < 1e15 => (x as i64).into(),
            _ => value,
        },
        Value::Object(map) => {
            let entries = map
                .iter()
                .map(|(key, value)| (key.clone(), as_written("", value.clone())));
            entries.collect::<Map<_, _>>().into()
        }
        _ => value,
    }
}
