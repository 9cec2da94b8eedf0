//! Everything that a run needs to go on after a kill, in one file.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use pelt_hooks::{NamedParam, ParamValues};
use pelt_tensors::{HostTensor, TensorFiles, write_safetensors};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::adamw::Kept;
use crate::evaluate::host_values;
use crate::loss_scale::LossScale;
use crate::{AdamW, TrainError};

/// The file of a run folder that `--resume` continues from.
pub const CHECKPOINT_FILE: &str = "checkpoint.safetensors";

/// Counters of a run. The order of rows and the dropout masks are functions of seed and step, so nothing else is needed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Optimiser steps taken.
    pub step: usize,
    /// Evaluations since the best one.
    pub without_improvement: usize,
    /// Best score so far.
    pub best_score: Option<f64>,
    /// Step of the best score.
    pub best_step: usize,
    /// Metrics at that step.
    pub best_values: BTreeMap<String, f64>,
    /// Seconds spent in earlier sittings.
    pub seconds: f64,
    /// Whether the evaluation after this step is still to be made: the state is saved before it.
    #[serde(default)]
    pub evaluation_due: bool,
    /// In `f16` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
}

/// A run between two steps.
#[derive(Debug)]
pub struct State {
    pub counters: Counters,
    pub optimizer: AdamW,
    /// The best weights so far, where there was an evaluation.
    pub best: Option<ParamValues>,
}

/// Writes the state beside the current weights. `identity` is what must be equal for a resumed run.
pub fn save(
    path: &Path,
    state: &State,
    params: &[NamedParam],
    values: &ParamValues,
    identity: &str,
) -> Result<(), TrainError> {
    let mut tensors = BTreeMap::new();
    let mut put = |kind: &str, param: &NamedParam, value: &Tensor<1>| {
        let values = host_values(value.clone())?;
        let shape = vec![values.len()];
        tensors.insert(
            format!("{kind}/{}", param.name),
            HostTensor { shape, values },
        );
        Ok::<_, TrainError>(())
    };
    let mut steps = BTreeMap::new();
    for param in params {
        if let Some(value) = values.get(&param.id) {
            put("value", param, value)?;
        }
        if let Some(value) = state.best.as_ref().and_then(|best| best.get(&param.id)) {
            put("best", param, value)?;
        }
        if let Some(kept) = state.optimizer.kept.get(&param.name) {
            let [first, second] = &kept.moments;
            put("first_moment", param, first)?;
            put("second_moment", param, second)?;
            steps.insert(&param.name, kept.steps);
        }
    }
    let describe = |error: serde_json::Error| TrainError::Io {
        path: path.to_path_buf(),
        message: format!("cannot describe the counters: {error}"),
    };
    let counters = serde_json::to_string(&state.counters).map_err(describe)?;
    let steps = serde_json::to_string(&steps).map_err(describe)?;
    let metadata = BTreeMap::from([
        ("counters".to_string(), counters),
        ("optimizer_steps".to_string(), steps),
        ("identity".to_string(), identity.to_string()),
        ("format".to_string(), "pelt-checkpoint-2".to_string()),
    ]);
    Ok(write_safetensors(path, &tensors, &metadata)?)
}

/// Reads a state and the weights that belong to it.
pub fn load(
    path: &Path,
    mut optimizer: AdamW,
    params: &[NamedParam],
    identity: &str,
    device: &Device,
) -> Result<(State, ParamValues), TrainError> {
    let resume = |message: String| TrainError::Resume {
        path: path.to_path_buf(),
        message,
    };
    let files = TensorFiles::open(path)?;
    let metadata = |key: &str| {
        let value = files.metadata().get(key);
        value.ok_or_else(|| resume(format!("the entry \"{key}\" is missing")))
    };
    if let Some(difference) = difference(metadata("identity")?, identity) {
        return Err(resume(difference));
    }
    let counters: Counters = serde_json::from_str(metadata("counters")?)
        .map_err(|e| resume(format!("the counters cannot be read: {e}")))?;
    let steps: BTreeMap<String, usize> = serde_json::from_str(metadata("optimizer_steps")?)
        .map_err(|e| resume(format!("the optimiser's steps cannot be read: {e}")))?;
    let read = |kind: &str, param: &NamedParam| -> Result<Option<Tensor<1>>, TrainError> {
        let name = format!("{kind}/{}", param.name);
        if !files.contains(&name) {
            return Ok(None);
        }
        let values = files.read(&name)?.values;
        if values.len() != param.count() {
            return Err(resume(format!(
                "{name} should have {} values but has {}",
                param.count(),
                values.len()
            )));
        }
        let count = values.len();
        let data = TensorData::new(values, [count]);
        Ok(Some(Tensor::from_data(data, device)))
    };
    let mut values = ParamValues::new();
    let mut best = ParamValues::new();
    for param in params {
        let value = read("value", param)?
            .ok_or_else(|| resume(format!("value/{} is missing", param.name)))?;
        values.insert(param.id, value);
        if let Some(value) = read("best", param)? {
            best.insert(param.id, value);
        }
        let moments = (read("first_moment", param)?, read("second_moment", param)?);
        if let (Some(first), Some(second)) = moments {
            let steps = steps.get(&param.name).copied().ok_or_else(|| {
                resume(format!(
                    "the optimiser's steps of {} are missing",
                    param.name
                ))
            })?;
            let moments = [first, second];
            let kept = Kept { steps, moments };
            optimizer.kept.insert(param.name.clone(), kept);
        }
    }
    let state = State {
        counters,
        optimizer,
        best: (!best.is_empty()).then_some(best),
    };
    Ok((state, values))
}

/// The first setting in which two identities (JSON objects) differ, as a sentence.
fn difference(saved: &str, current: &str) -> Option<String> {
    if saved == current {
        return None;
    }
    let (Ok(saved), Ok(current)) = (serde_json::from_str(saved), serde_json::from_str(current))
    else {
        return Some("it was saved by a run with other settings".into());
    };
    let (setting, old, new) = first_difference(&saved, &current)?;
    let show = |value: Option<&Value>| value.map_or("not set".to_string(), ToString::to_string);
    Some(format!(
        "it was saved with {setting} {}, but this run has {}",
        show(old),
        show(new)
    ))
}

/// A setting and its values in two sets of settings; `None` where it is not set.
pub type SettingDifference<'a> = (&'a str, Option<&'a Value>, Option<&'a Value>);

/// The first setting in which two sets of settings differ, be it in one of them alone.
pub fn first_difference<'a>(
    one: &'a Map<String, Value>,
    other: &'a Map<String, Value>,
) -> Option<SettingDifference<'a>> {
    let settings = one.keys().chain(other.keys());
    settings
        .map(|name| (name.as_str(), one.get(name), other.get(name)))
        .find(|(_, old, new)| old != new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_differing_setting_is_named() {
        let message = difference(r#"{"a": 1, "seed": 42}"#, r#"{"a": 1, "seed": 7}"#).unwrap();
        assert_eq!(message, "it was saved with seed 42, but this run has 7");
        assert_eq!(difference("{}", "{}"), None);
    }
}
