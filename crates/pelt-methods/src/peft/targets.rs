//! Which projections PEFT's settings choose.

use pelt_hooks::{Projection, ProjectionSite};
use serde_json::Value;

use crate::format::Target;

const PROJECTIONS: [Projection; 6] = [
    Projection::Query,
    Projection::Key,
    Projection::Value,
    Projection::AttentionOutput,
    Projection::Intermediate,
    Projection::Output,
];

/// The adapted projections.
pub struct Chosen {
    /// Those of every adapted layer.
    pub projections: Vec<Projection>,
    /// Layers that are not adapted.
    pub leave_out: Vec<usize>,
    /// Whether the pooler is.
    pub pooler: bool,
}

/// An error unless all these fields are missing, null, false or empty.
pub fn refuse(json: &Value, fields: &[&str]) -> Result<(), String> {
    for field in fields {
        let value = json.get(field).unwrap_or(&Value::Null);
        if !is_empty(value) {
            return Err(format!("{field} = {value} is not supported"));
        }
    }
    Ok(())
}

/// Reads `target_modules` and `layers_to_transform`. Some models have no pooler although their base has one, so the file
/// decides about it: `pooler_in_file`.
pub fn choose(
    json: &Value,
    usual: &[&str],
    target: &Target<'_>,
    pooler_in_file: bool,
) -> Result<Chosen, String> {
    let targets = names(json, "target_modules", usual)?;
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
    let is_target = |site: ProjectionSite| {
        let path = format!("{model}.{}", site.path());
        let ends = |target: &&str| match path.strip_suffix(*target) {
            Some(before) => before.is_empty() || before.ends_with('.'),
            None => false,
        };
        targets.iter().any(ends)
    };
    let mut leave_out = Vec::new();
    let mut chosen: Option<Vec<Projection>> = None;
    for layer in 0..target.shape.layers {
        let here = transformed
            .as_ref()
            .is_none_or(|layers| layers.contains(&layer));
        let in_layer = PROJECTIONS
            .into_iter()
            .filter(|projection| here && is_target(ProjectionSite::Layer(layer, *projection)));
        let in_layer: Vec<Projection> = in_layer.collect();
        if in_layer.is_empty() {
            leave_out.push(layer);
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
    let pooler = pooler_in_file && transformed.is_none() && is_target(ProjectionSite::Pooler);
    if chosen.is_none() {
        if !pooler {
            return Err(format!(
                "target_modules: none of {} is a layer of this model",
                targets.join(", ")
            ));
        }
        leave_out.clear();
    }
    Ok(Chosen {
        projections: chosen.unwrap_or_default(),
        leave_out,
        pooler,
    })
}

/// A list of names, or the usual ones where there is none.
pub fn names<'a>(json: &'a Value, field: &str, usual: &[&'a str]) -> Result<Vec<&'a str>, String> {
    match json.get(field) {
        None | Some(Value::Null) => Ok(usual.to_vec()),
        Some(Value::Array(names)) => Ok(names.iter().filter_map(Value::as_str).collect()),
        Some(other) => Err(format!(
            "{field} = {other} is not supported, expected a list of names"
        )),
    }
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
