//! Opening a Hugging Face model folder and checking every tensor in it.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use pelt_hooks::load_named;
use pelt_tensors::{HostTensor, TensorFiles, shown, shown_shape};

use crate::{Encoder, EncoderConfig, EncoderError, Head, HeadConfig};

/// Names that a checkpoint may hold besides the encoder: buffers and task heads.
const OTHER_TENSORS: [&str; 6] = [
    "embeddings.position_ids",
    "cls.",
    "classifier.",
    "qa_outputs.",
    "lm_head.",
    "embeddings.token_type_ids",
];

/// A model folder that has been opened and whose tensors fit its configuration.
#[derive(Debug)]
pub struct Checkpoint {
    config: EncoderConfig,
    files: TensorFiles,
    /// Our name of a tensor, to its name in the file.
    names: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens `folder`: `config.json` and `model.safetensors` (or sharded, or `pytorch_model.bin`).
    ///
    /// # Errors
    /// What is missing, unexpected or mis-shaped is listed by name in one error.
    pub fn open(folder: &Path) -> Result<Self, EncoderError> {
        let mut config = EncoderConfig::read(folder)?;
        let files = TensorFiles::open_folder(folder, &["model"])?;
        let prefix = format!("{}.", config.architecture.name());
        let mut names: BTreeMap<_, _> = files
            .names()
            .map(|name| (canonical(name, &prefix), name.to_string()))
            .collect();
        // Some tools write the bias of a tied decoder under the decoder's name only.
        for (name, other) in [
            ("cls.predictions.bias", "cls.predictions.decoder.bias"),
            ("lm_head.bias", "lm_head.decoder.bias"),
        ] {
            if let (false, Some(in_file)) = (names.contains_key(name), names.get(other)) {
                names.insert(name.to_string(), in_file.clone());
            }
        }
        config.shape.pooler = names.contains_key("pooler.dense.weight");
        let checkpoint = Self {
            config,
            files,
            names,
        };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    /// What the folder's `config.json` says; `shape.pooler` tells whether the file has a pooler.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// SHA-256 of the weight file(s), in hex: which base model an adapter belongs to.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn fingerprint(&self) -> Result<String, EncoderError> {
        Ok(self.files.sha256()?)
    }

    /// The encoder, on `device` (a plain one: frozen weights build no graph).
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn encoder(&self, device: &Device) -> Result<Encoder, EncoderError> {
        Encoder::build(&self.config, device, &mut |name, _shape| {
            Ok::<_, EncoderError>(self.tensor(name)?.values)
        })
    }

    /// The checkpoint's own task head of this kind, if it has one with matching shapes; `device` may be an autodiff one.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn head(&self, config: HeadConfig, device: &Device) -> Result<Option<Head>, EncoderError> {
        if !config.has_outputs() {
            return Ok(None);
        }
        // The number of outputs may come from a file, so nothing is made of it before it is compared.
        let head = Head::lazy(config, self.config.shape.hidden_size, device);
        let params = head.named_params();
        let fits = |param: &pelt_hooks::NamedParam| {
            let name = self.names.get(&param.name);
            name.and_then(|name| self.files.shape(name)) == Some(param.shape.as_slice())
        };
        if !params.iter().all(fits) {
            return Ok(None);
        }
        load_named(head, &params, device, |param| {
            Ok(self.tensor(&param.name)?.values)
        })
        .map(Some)
    }

    /// One tensor by our name for it (without the model's prefix).
    ///
    /// # Errors
    /// If there is none of that name, or it cannot be read.
    pub fn tensor(&self, name: &str) -> Result<HostTensor, EncoderError> {
        let in_file = self.names.get(name).map_or(name, String::as_str);
        Ok(self.files.read(in_file)?)
    }

    fn check(&self) -> Result<(), EncoderError> {
        let mut expected = BTreeMap::new();
        for (name, shape) in Encoder::tensor_shapes(&self.config) {
            expected.insert(name, shape);
        }
        let mut problems = vec![];
        for (name, shape) in &expected {
            match self.names.get(name).and_then(|n| self.files.shape(n)) {
                None => problems.push(format!("{name} is missing")),
                Some(found) if found != shape.as_slice() => {
                    problems.push(format!(
                        "{name} should be {shape:?} but is {}",
                        shown_shape(found)
                    ));
                }
                Some(_) => {}
            }
        }
        for name in self.names.keys() {
            let other = OTHER_TENSORS.iter().any(|start| name.starts_with(start));
            if !other && !expected.contains_key(name) {
                problems.push(format!("{} is unexpected", shown(name)));
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        let more = problems.len().saturating_sub(20);
        problems.truncate(20);
        if more > 0 {
            problems.push(format!("and {more} more"));
        }
        Err(EncoderError::Weights {
            path: self.files.path().to_path_buf(),
            problems: problems.join("; "),
        })
    }
}

/// Without the model's prefix, and with today's names for a layer norm's parameters.
fn canonical(name: &str, prefix: &str) -> String {
    let name = name.strip_prefix(prefix).unwrap_or(name);
    match name.rsplit_once('.') {
        Some((path, "gamma")) if path.ends_with("LayerNorm") => format!("{path}.weight"),
        Some((path, "beta")) if path.ends_with("LayerNorm") => format!("{path}.bias"),
        _ => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelt_tensors::write_safetensors;
    use pelt_testkit::fixture;

    #[test]
    fn names_of_a_file_are_told_in_one_short_line() {
        let from = fixture("models/bert/base");
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.json");
        std::fs::copy(from.join("config.json"), config).unwrap();
        let file = from.join("model.safetensors");
        let mut tensors = TensorFiles::open(&file).unwrap().read_all().unwrap();
        let one = HostTensor::new(vec![1], vec![0.0]).unwrap();
        tensors.insert(format!("a\n{}", "x".repeat(100_000)), one);
        let path = folder.path().join("model.safetensors");
        write_safetensors(&path, &tensors, &BTreeMap::new()).unwrap();
        let message = Checkpoint::open(folder.path()).unwrap_err().to_string();
        assert!(message.len() < 2000, "{}", message.len());
        assert!(!message.contains('\n'), "{message}");
        for fragment in ["\"a\\nxxx", "... is unexpected"] {
            assert!(message.contains(fragment), "{message}");
        }
    }
}
