//! Filling an adapter from a file, with every mismatch named.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Device;
use pelt_hooks::{Method, NamedParam, load_named};
use pelt_tensors::TensorFiles;

use crate::{Adapter, MethodError};

/// The names under which a parameter may be stored: any that is there is taken.
pub type Aliases<'a> = &'a dyn Fn(&NamedParam) -> Vec<String>;

/// Loads all parameters of `adapter`. `known` are further tensors of the file that are not the adapter's.
///
/// # Errors
/// Everything missing, mis-shaped or unexpected, by name, in one error.
pub fn fill(
    adapter: Adapter,
    files: &TensorFiles,
    device: &Device,
    aliases: Aliases<'_>,
    known: &dyn Fn(&str) -> bool,
    adjust: &dyn Fn(&NamedParam, Vec<f32>) -> Result<Vec<f32>, MethodError>,
) -> Result<Adapter, MethodError> {
    let params = adapter.named_params();
    let mut chosen = BTreeMap::new();
    let mut used = BTreeSet::new();
    let mut problems = vec![];
    for param in &params {
        let names = aliases(param);
        let found = names.iter().find(|name| files.contains(name));
        used.extend(names.iter().cloned());
        let Some(name) = found else {
            problems.push(format!("{} is missing", names[0]));
            continue;
        };
        match files.shape(name) {
            Some(shape) if shape == param.shape => {
                chosen.insert(param.name.clone(), name.clone());
            }
            shape => problems.push(format!(
                "{name} should be {:?} but is {:?}",
                param.shape,
                shape.unwrap_or_default()
            )),
        }
    }
    for name in files.names() {
        if !used.contains(name) && !known(name) {
            problems.push(format!("{name} is unexpected"));
        }
    }
    if !problems.is_empty() {
        let more = problems.len().saturating_sub(20);
        problems.truncate(20);
        if more > 0 {
            problems.push(format!("and {more} more"));
        }
        return Err(MethodError::file(
            files.path(),
            format!("the tensors do not fit adapter_config.json: {}", problems.join("; ")),
        ));
    }
    load_named(adapter, &params, device, |param| {
        let values = files.read(&chosen[&param.name])?.values;
        adjust(param, values)
    })
}
