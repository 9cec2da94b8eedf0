//! AdapterHub's files of AdapterFusion.

use std::path::Path;

use burn::tensor::Device;
use pelt_adapter::{Bottleneck, Fusion, FusionConfig, FusionKind};
use pelt_hooks::{ADAPTER, EncoderShape, NamedParam};
use pelt_tensors::TensorFiles;
use serde_json::{Map, Value, json};

use super::json::{known, refuse};
use super::read::check_description;
use super::write::{ModelInfo, host_tensors, write_both};
use crate::format::{Target, read_json};
use crate::fusion::bottleneck;
use crate::stack::names_apart;
use crate::tensors::{Reading, Stored, check_model, fill};
use crate::{Level, MethodError};

/// The file that describes a fusion.
pub(crate) const CONFIG_FILE: &str = "adapter_fusion_config.json";

/// The tensors' file, without its ending.
const TENSORS: &str = "model_adapter_fusion";

/// A fusion from a folder.
#[derive(Debug)]
pub struct LoadedFusion {
    /// The names of the fused adapters; the last one's rules hold.
    pub names: Vec<String>,
    /// For each of these names, the place of its adapter among those given.
    pub order: Vec<usize>,
    /// What it is.
    pub config: FusionConfig,
    /// The weights, with the adapters.
    pub fusion: Fusion,
}

/// Loads the fusion of these adapters. They are taken in the order of the fusion's file, by name, where a number is added to
/// one that comes again.
///
/// # Errors
/// A missing or broken file, a fusion of other adapters or for another model, adapters that are no bottleneck adapters,
/// and settings that are not supported.
pub fn load_fusion(
    folder: &Path,
    adapters: Vec<Level>,
    shape: &EncoderShape,
    model_type: &str,
    device: &Device,
) -> Result<LoadedFusion, MethodError> {
    let path = folder.join(CONFIG_FILE);
    let json = read_json(&path)?;
    let target = Target {
        path: &path,
        folder,
        shape,
        model_type,
        device,
    };
    check_description(&json, &target)?;
    let fields = json.get("config").and_then(Value::as_object);
    let fields = fields.ok_or_else(|| target.error("the entry \"config\" is missing"))?;
    let config = from_fields(fields).map_err(|message| target.error(message))?;
    let names = names(&json).ok_or_else(|| {
        target.error("the entry \"adapter_names\" is missing or not a list of names")
    })?;
    let adapters =
        in_order(names_apart(adapters), &names).map_err(|message| target.error(message))?;
    let (order, adapters) = adapters.into_iter().unzip();
    let fusion = config.init(adapters, shape, device)?;
    let files = TensorFiles::open_folder(folder, &[TENSORS])?;
    let all = names.join(",");
    let stored = |param: &NamedParam| {
        let full = param.name.replace(ADAPTER, &all);
        Stored {
            names: vec![format!("{model_type}.{full}"), full],
            shape: param.shape.clone(),
        }
    };
    let known = |_: &str| false;
    check_model(&files, &fusion, &target, "", &known)?;
    let reading = Reading {
        stored: &stored,
        known: &known,
        adjust: &|_, values| Ok(values),
    };
    let fusion = fill(fusion, &files, device, &reading)?;
    Ok(LoadedFusion {
        names,
        order,
        config,
        fusion,
    })
}

/// Writes `adapter_fusion_config.json` and `model_adapter_fusion.safetensors`. The fused adapters are not written.
///
/// # Errors
/// If a file cannot be written.
pub fn save_fusion(
    folder: &Path,
    names: &[String],
    config: &FusionConfig,
    fusion: &Fusion,
    model: &ModelInfo,
) -> Result<(), MethodError> {
    let path = folder.join(CONFIG_FILE);
    let name = names.join(",");
    let tensors = host_tensors(fusion, &name, model, &path)?;
    let dynamic = config.kind == FusionKind::Dynamic;
    let mut json = model.describe(&name);
    json["adapter_names"] = json!(names);
    json["config"] = json!({
        "dropout_prob": config.dropout_prob,
        "key": true,
        "query": true,
        "query_before_ln": false,
        "regularization": config.regularization,
        "residual_before": false,
        "temperature": false,
        "value": dynamic,
        "value_before_softmax": true,
        "value_initialized": dynamic,
    });
    let file = folder.join(format!("{TENSORS}.safetensors"));
    write_both(&file, &tensors, &path, &json)
}

fn from_fields(fields: &Map<String, Value>) -> Result<FusionConfig, String> {
    for (field, usual) in [
        ("key", true),
        ("query", true),
        ("query_before_ln", false),
        ("residual_before", false),
        ("temperature", false),
    ] {
        refuse(
            fields,
            field,
            &[usual.into()],
            "another kind of AdapterFusion",
        )?;
    }
    let mut config: FusionConfig = known(fields, &FusionConfig::default())?;
    if fields.get("value") == Some(&false.into()) {
        config.kind = FusionKind::Static;
    }
    config.dropout_prob = match fields.get("dropout_prob") {
        None | Some(Value::Null) => None,
        Some(p) => {
            let number = p.as_f64();
            Some(number.ok_or_else(|| format!("dropout_prob must be a number, but is {p}"))?)
        }
    };
    Ok(config)
}

fn names(json: &Value) -> Option<Vec<String>> {
    let names = json.get("adapter_names")?.as_array()?;
    names
        .iter()
        .map(|name| name.as_str().map(str::to_string))
        .collect()
}

/// The adapters in the order of their names, each with its place before.
fn in_order(adapters: Vec<Level>, names: &[String]) -> Result<Vec<(usize, Bottleneck)>, String> {
    let given: Vec<String> = adapters.iter().map(|level| level.name.clone()).collect();
    let mut adapters: Vec<(usize, Level)> = adapters.into_iter().enumerate().collect();
    let mut out = Vec::new();
    for name in names {
        let Some(at) = adapters.iter().position(|(_, level)| level.name == *name) else {
            return Err(format!(
                "the fusion is of the adapters {}, but those given are {}",
                names.join(", "),
                given.join(", ")
            ));
        };
        let (place, level) = adapters.remove(at);
        out.push((place, bottleneck(level)?));
    }
    match adapters.first() {
        Some((_, level)) => Err(format!(
            "the fusion is of the adapters {}, and {} is none of them",
            names.join(", "),
            level.name
        )),
        None => Ok(out),
    }
}
