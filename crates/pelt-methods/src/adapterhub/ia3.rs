//! AdapterHub's (IA)³: a LoRA whose one column multiplies instead of adding.

use pelt_ia3::{Ia3Config, Ia3Target};
use serde_json::{Map, Value, json};

use super::json::{known, refuse};

/// The projections of the self-attention and the library's names for them.
const ATTENTION: [(Ia3Target, &str); 3] = [
    (Ia3Target::Query, "q"),
    (Ia3Target::Key, "k"),
    (Ia3Target::Value, "v"),
];

/// The other projections and the fields that choose them.
const OTHERS: [(Ia3Target, &str); 2] = [
    (Ia3Target::Intermediate, "intermediate_lora"),
    (Ia3Target::Output, "output_lora"),
];

/// What the fields of a file describe.
pub fn from_fields(fields: &Map<String, Value>) -> Result<Ia3Config, String> {
    refuse(fields, "r", &[1.into()], "(IA)³ with more than one column")?;
    refuse(
        fields,
        "dropout",
        &[0.into(), 0.0.into()],
        "(IA)³ with dropout",
    )?;
    refuse(fields, "use_dora", &[false.into()], "DoRA")?;
    let mut config: Ia3Config = known(fields, &Ia3Config::default())?;
    config.targets.clear();
    let listed = match fields.get("attn_matrices") {
        Some(Value::Array(listed)) => listed.clone(),
        Some(Value::Null) | None => vec!["k".into(), "v".into()],
        Some(other) => return Err(format!("attn_matrices must be a list, but is {other}")),
    };
    if fields.get("selfattn_lora") != Some(&false.into()) {
        for matrix in listed {
            let target = ATTENTION.iter().find(|(_, name)| matrix == *name);
            let (target, _) = target
                .ok_or_else(|| format!("attn_matrices must hold q, k and v, but has {matrix}"))?;
            config.targets.push(*target);
        }
    }
    for (target, field) in OTHERS {
        if fields.get(field) == Some(&true.into()) {
            config.targets.push(target);
        }
    }
    Ok(config)
}

/// What the library writes, or `None` for settings that it does not have.
pub fn to_fields(config: &Ia3Config) -> Option<Map<String, Value>> {
    let name = |target: &Ia3Target| {
        let known = ATTENTION.iter().find(|(known, _)| known == target);
        known.map(|(_, name)| Value::from(*name))
    };
    let has = |target: Ia3Target| config.targets.contains(&target);
    let foreign = has(Ia3Target::AttentionOutput) || has(Ia3Target::Pooler);
    if foreign || !config.feedforward.is_empty() {
        return None;
    }
    let attention: Vec<Value> = config.targets.iter().filter_map(name).collect();
    let fields = json!({
        "alpha": config.alpha,
        "architecture": "lora",
        "composition_mode": "scale",
        "dropout": 0.0,
        "dtype": null,
        "init_weights": "ia3",
        "init_weights_seed": null,
        "intermediate_lora": has(Ia3Target::Intermediate),
        "leave_out": config.leave_out,
        "output_lora": has(Ia3Target::Output),
        "r": 1,
        "selfattn_lora": !attention.is_empty(),
        "attn_matrices": attention,
        "use_dora": false,
        "use_gating": config.use_gating,
        "vera_b": null,
        "vera_d": null,
    });
    match fields {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}
