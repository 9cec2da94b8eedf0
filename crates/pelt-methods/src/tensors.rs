//! Filling an adapter from a file, with every mismatch named.

use std::collections::{HashMap, HashSet};

use burn::module::ParamId;
use burn::tensor::Device;
use pelt_hooks::{Method, NamedParam, load_named};
use pelt_tensors::{TensorFiles, shown, shown_shape};

use crate::MethodError;
use crate::format::Target;

/// At most this many mismatches are listed.
const LISTED: usize = 20;

/// How a file holds a parameter.
pub struct Stored {
    /// The names under which it may be stored, the usual one first; the first that is there is taken.
    pub names: Vec<String>,
    /// Its extents in the file.
    pub shape: Vec<usize>,
}

/// Makes a parameter's values out of those of the file.
pub type Adjust<'a> = dyn Fn(&NamedParam, Vec<f32>) -> Result<Vec<f32>, MethodError> + 'a;

/// How a file is read into an adapter.
pub struct Reading<'a> {
    pub stored: &'a dyn Fn(&NamedParam) -> Stored,
    /// Whether a tensor of the file may be left unread.
    pub known: &'a dyn Fn(&str) -> bool,
    pub adjust: &'a Adjust<'a>,
}

/// Loads all parameters of `adapter`.
///
/// # Errors
/// Everything missing, mis-shaped or unexpected, by name, in one error.
pub fn fill<M: Method>(
    adapter: M,
    files: &TensorFiles,
    device: &Device,
    reading: &Reading<'_>,
) -> Result<M, MethodError> {
    let mut found = Vec::new();
    let mut names = HashMap::new();
    let mut used = HashSet::new();
    let mut missing = Vec::new();
    let mut problems = Vec::new();
    for param in adapter.named_params() {
        let stored = (reading.stored)(&param);
        let name = stored
            .names
            .iter()
            .find(|name| files.contains(name))
            .cloned();
        used.extend(stored.names.iter().cloned());
        match name {
            None => missing.push((param.id, stored.names.into_iter().next())),
            Some(name) => {
                let shape = files.shape(&name).unwrap_or_default();
                if shape != stored.shape {
                    problems.push(format!(
                        "{} should be {:?} but is {}",
                        shown(&name),
                        stored.shape,
                        shown_shape(shape)
                    ));
                }
                names.insert(param.name.clone(), name);
                found.push(param);
            }
        }
    }
    // A parameter that has several names in a file needs to be there under one of them only.
    let filled: HashSet<ParamId> = found.iter().map(|param| param.id).collect();
    missing.retain(|(id, _)| !filled.contains(id));
    let missing = missing.into_iter().filter_map(|(_, name)| name);
    problems.extend(missing.map(|name| format!("{} is missing", shown(&name))));
    for name in files.names() {
        if !used.contains(name) && !(reading.known)(name) {
            problems.push(format!("{} is unexpected", shown(name)));
        }
    }
    if !problems.is_empty() {
        let more = problems.len().saturating_sub(LISTED);
        problems.truncate(LISTED);
        if more > 0 {
            problems.push(format!("and {more} more"));
        }
        let message = format!(
            "the tensors do not fit adapter_config.json: {}",
            problems.join("; ")
        );
        return Err(MethodError::file(files.path(), message));
    }
    load_named(adapter, &found, device, |param| {
        let values = files.read(&names[&param.name])?.values;
        (reading.adjust)(param, values)
    })
}

/// Checks by the names of the tensors that they are for this family of models and for as many layers; `adapter` has the
/// parameters that are to be read, and `root` is what all names may begin with.
///
/// # Errors
/// Saying what the adapter was made for, and what the model is.
pub fn check_model<M: Method>(
    files: &TensorFiles,
    adapter: &M,
    target: &Target<'_>,
    root: &str,
    known: &dyn Fn(&str) -> bool,
) -> Result<(), MethodError> {
    let names: Vec<&str> = files.names().filter(|name| !known(name)).collect();
    for other in ["bert", "roberta"] {
        let start = format!("{root}{other}.");
        if other != target.model_type && names.iter().any(|name| name.starts_with(&start)) {
            return Err(target.other_type(other));
        }
    }
    let in_file = names.iter().filter_map(|name| layer(name)).max();
    let params = adapter.named_params();
    let wanted = params.iter().filter_map(|param| layer(&param.name)).max();
    match (in_file, wanted) {
        (Some(last), Some(wanted)) if last != wanted => {
            let unlike = last.saturating_add(1);
            // Layers behind the last adapted one leave no trace in the file.
            let behind = target.shape.layers - 1 - wanted;
            Err(target.other_layers(unlike.saturating_add(behind)))
        }
        _ => Ok(()),
    }
}

/// The layer that a tensor belongs to.
fn layer(name: &str) -> Option<usize> {
    let (_, tail) = name.split_once("encoder.layer.")?;
    tail.split('.').next()?.parse().ok()
}
