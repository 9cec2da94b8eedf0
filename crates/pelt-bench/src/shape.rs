//! Checkpoints of known sizes with random weights: speed does not depend on what the weights are.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use burn::tensor::Device;
use pelt_encoder::{Encoder, EncoderConfig};
use pelt_tensors::{HostTensor, TensorError, write_atomically, write_safetensors};
use serde::Serialize;
use serde_json::json;

use crate::BenchError;

/// Sizes of an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Two layers of 32, for tests.
    Tiny,
    /// all-MiniLM-L6-v2's: six layers of 384.
    Minilm,
    /// bert-base-uncased's: twelve layers of 768.
    BertBase,
}

/// Words of all shapes: those of bert-base-uncased.
const WORDS: usize = 30_522;

/// Standard deviation of the weights, as in BERT's own initialisation.
const STD: f64 = 0.02;

impl Shape {
    const ALL: [Self; 3] = [Self::Tiny, Self::Minilm, Self::BertBase];

    /// Layers, width and heads.
    fn sizes(self) -> [usize; 3] {
        match self {
            Self::Tiny => [2, 32, 4],
            Self::Minilm => [6, 384, 12],
            Self::BertBase => [12, 768, 12],
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Tiny => "tiny",
            Self::Minilm => "minilm",
            Self::BertBase => "bert-base",
        })
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|one| one.to_string() == name);
        found.ok_or_else(|| "expected tiny, minilm or bert-base".to_string())
    }
}

/// Writes `config.json` and `model.safetensors` of a BERT of these sizes.
///
/// # Errors
/// If the folder cannot be written to.
pub fn write_shape(shape: Shape, folder: &Path) -> Result<(), BenchError> {
    let [layers, hidden, heads] = shape.sizes();
    let config = json!({
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": WORDS,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "pad_token_id": 0,
    });
    std::fs::create_dir_all(folder).map_err(|reason| TensorError::Io {
        path: folder.to_path_buf(),
        action: "create",
        reason,
    })?;
    let text = format!("{config:#}\n");
    write_atomically(&folder.join("config.json"), text.as_bytes())?;
    let config = EncoderConfig::read(folder)?;
    let device = Device::default();
    let mut tensors = BTreeMap::new();
    for (name, shape) in Encoder::tensor_shapes(&config) {
        let values = values(&name, shape.iter().product(), &device);
        tensors.insert(name, HostTensor { shape, values });
    }
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    write_safetensors(&folder.join("model.safetensors"), &tensors, &metadata)?;
    Ok(())
}

fn values(name: &str, count: usize, device: &Device) -> Vec<f32> {
    match name {
        name if name.ends_with("bias") => vec![0.0; count],
        name if name.contains("LayerNorm") => vec![1.0; count],
        _ => {
            let tensor = pelt_hooks::normal([count], STD, device);
            let data = tensor.val().into_data();
            data.iter().collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelt_encoder::Checkpoint;

    #[test]
    fn what_is_written_is_a_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        write_shape(Shape::Tiny, folder.path()).unwrap();
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        assert_eq!(checkpoint.config().shape.layers, 2);
        let words = checkpoint
            .tensor("embeddings.word_embeddings.weight")
            .unwrap();
        let spread = words.values.iter().map(|value| value * value).sum::<f32>();
        let spread = (spread / words.values.len() as f32).sqrt();
        assert!((spread - STD as f32).abs() < 1e-3, "{spread}");
    }

    #[test]
    fn shapes_are_known_by_their_names() {
        for shape in Shape::ALL {
            assert_eq!(shape.to_string().parse(), Ok(shape));
        }
        assert!("large".parse::<Shape>().unwrap_err().contains("bert-base"));
    }
}
