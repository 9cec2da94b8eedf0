//! Adapter folders made from fixtures, with changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use pelt_encoder::Checkpoint;
use pelt_hooks::{EncoderShape, Method, values};
use pelt_methods::{Adapter, Loaded, MethodError};
use pelt_tensors::{HostTensor, TensorFiles, write_safetensors};
use pelt_testkit::{fixture, fixture_json};
use serde_json::Value;

/// The content of an adapter folder.
pub struct Folder {
    pub config: Value,
    pub tensors: BTreeMap<String, HostTensor>,
    peft: bool,
    roberta: bool,
}

impl Folder {
    /// That of a fixture, e.g. `adapters/bert_cls_lora`.
    pub fn of(case: &str) -> Self {
        let files = ["adapter.safetensors", "adapter_model.safetensors"];
        let paths = files.map(|file| fixture(format!("cases/{case}/adapter/{file}")));
        let path = paths.iter().find(|path| path.exists()).unwrap();
        Self {
            config: fixture_json(format!("cases/{case}/adapter/adapter_config.json")),
            tensors: TensorFiles::open(path).unwrap().read_all().unwrap(),
            peft: case.starts_with("peft/"),
            roberta: case.contains("/roberta_"),
        }
    }

    /// Renames all tensors.
    pub fn rename(&mut self, change: impl Fn(&str) -> String) {
        let tensors = std::mem::take(&mut self.tensors);
        self.tensors = tensors
            .into_iter()
            .map(|(name, tensor)| (change(&name), tensor))
            .collect();
    }

    /// Loads it for the model of the fixtures.
    pub fn load(&self) -> Result<Loaded, MethodError> {
        let model = model(self.roberta);
        self.load_for(&model.shape, model.model_type)
    }

    /// Loads it for another model.
    pub fn load_for(&self, shape: &EncoderShape, model_type: &str) -> Result<Loaded, MethodError> {
        let folder = tempfile::tempdir().unwrap();
        self.write(folder.path());
        load(folder.path(), shape, model_type)
    }

    /// The message with which loading fails.
    pub fn refusal(&self) -> String {
        self.load().unwrap_err().to_string()
    }

    pub fn write(&self, folder: &Path) {
        std::fs::write(folder.join("adapter_config.json"), self.config.to_string()).unwrap();
        let file = match self.peft {
            true => "adapter_model.safetensors",
            false => "adapter.safetensors",
        };
        write_safetensors(&folder.join(file), &self.tensors, &BTreeMap::new()).unwrap();
    }
}

/// The tiny model that fixtures are for.
pub struct Model {
    pub shape: EncoderShape,
    pub model_type: &'static str,
    checkpoint: Checkpoint,
}

impl Model {
    /// A frozen tensor.
    pub fn frozen(&self, name: &str) -> Option<Vec<f32>> {
        let tensor = self.checkpoint.tensor(name).ok()?;
        Some(tensor.values)
    }
}

pub fn model(roberta: bool) -> Model {
    let model_type = if roberta { "roberta" } else { "bert" };
    let checkpoint = Checkpoint::open(&fixture(format!("models/{model_type}/cls"))).unwrap();
    Model {
        shape: checkpoint.config().shape,
        model_type,
        checkpoint,
    }
}

/// Loads a folder; frozen tensors are those of the fixtures' classifier.
pub fn load(folder: &Path, shape: &EncoderShape, model_type: &str) -> Result<Loaded, MethodError> {
    let model = model(model_type == "roberta");
    let base = |name: &str| model.frozen(name);
    pelt_methods::load(folder, shape, model_type, &Device::flex(), &base)
}

/// The values of an adapter by name, in the layout of files.
pub fn parameters(adapter: &Adapter) -> BTreeMap<String, Vec<f32>> {
    let values = values(adapter);
    let params = adapter.named_params().into_iter();
    let read = |param: pelt_hooks::NamedParam| {
        let value = values[&param.id]
            .clone()
            .into_data()
            .try_to_vec::<f32>()
            .unwrap();
        (param.name.clone(), param.to_file(value))
    };
    params.map(read).collect()
}

/// The folder of a fixture's adapter.
pub fn adapter_folder(case: &str) -> PathBuf {
    fixture(format!("cases/{case}/adapter"))
}
