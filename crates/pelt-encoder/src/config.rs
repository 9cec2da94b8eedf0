//! `config.json` of a Hugging Face model folder.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use pelt_hooks::EncoderShape;
use pelt_tensors::{one_line, read_small_file};
use serde::Deserialize;

use crate::EncoderError;

/// The longest message about it, in characters.
const LONGEST_MESSAGE: usize = 2000;

/// The most layers that are accepted. All tensors of so many layers are named before any is looked for in a file, so a larger
/// number is taken for damage rather than for a model.
const MOST_LAYERS: usize = 1024;

/// The largest of the other sizes. They are compared with the tensors before anything is made of them.
const LARGEST_SIZE: usize = 1 << 24;

/// The model families that this crate implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// BERT: positions from 0, a pooler.
    Bert,
    /// RoBERTa: positions counted from the padding row on.
    Roberta,
}

impl Architecture {
    /// The name in `model_type`, and the prefix of tensor names in files with a head.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bert => "bert",
            Self::Roberta => "roberta",
        }
    }
}

/// The function between the two feed-forward projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Exact (erf) GELU, `gelu`.
    Gelu,
    /// GELU by its tanh approximation, `gelu_new` or `gelu_pytorch_tanh`.
    GeluTanh,
    /// `relu`.
    Relu,
}

/// What an encoder is built from. Values that a file leaves out are upstream's defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderConfig {
    /// The model family.
    pub architecture: Architecture,
    /// Sizes.
    pub shape: EncoderShape,
    /// Rows of the token type table.
    pub type_vocab_size: usize,
    /// Rows of the position table (`max_position_embeddings`).
    pub position_rows: usize,
    /// The padding token; RoBERTa's positions start behind it.
    pub pad_token_id: u32,
    /// Added to the variance in every layer norm.
    pub layer_norm_eps: f64,
    /// Feed-forward activation.
    pub activation: Activation,
    /// Dropout of embeddings and sub-layer outputs while training.
    pub hidden_dropout: f64,
    /// Dropout of attention weights while training.
    pub attention_dropout: f64,
    /// Dropout of a classification head while training.
    pub classifier_dropout: f64,
    /// Label names by number, where the checkpoint has a task head.
    pub labels: Option<Vec<String>>,
}

/// The fields that are read; all others are ignored.
#[derive(Deserialize)]
struct Raw {
    model_type: Option<String>,
    architectures: Option<Vec<String>>,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    intermediate_size: Option<usize>,
    hidden_act: Option<String>,
    hidden_dropout_prob: Option<f64>,
    attention_probs_dropout_prob: Option<f64>,
    classifier_dropout: Option<f64>,
    max_position_embeddings: Option<usize>,
    type_vocab_size: Option<usize>,
    layer_norm_eps: Option<f64>,
    pad_token_id: Option<u32>,
    position_embedding_type: Option<String>,
    is_decoder: Option<bool>,
    id2label: Option<BTreeMap<String, String>>,
}

impl EncoderConfig {
    /// Reads `config.json` in `folder`.
    ///
    /// # Errors
    /// [`EncoderError::Config`] naming the field.
    pub fn read(folder: &Path) -> Result<Self, EncoderError> {
        let path = folder.join("config.json");
        let config = read_text(&path).and_then(|text| Self::from_text(&text));
        config.map_err(|message| EncoderError::Config {
            message: one_line(&message, LONGEST_MESSAGE),
            path,
        })
    }

    fn from_text(text: &str) -> Result<Self, String> {
        // A list of the fields' values would do for the parser, and for nobody else who reads the file.
        if !text.trim_start().starts_with('{') {
            return Err("not a model configuration: expected a JSON object".into());
        }
        let raw = serde_json::from_str::<Raw>(text);
        Self::from_raw(raw.map_err(|e| format!("not a model configuration: {e}"))?)
    }

    fn from_raw(raw: Raw) -> Result<Self, String> {
        let architecture = architecture(raw.model_type.as_deref(), raw.architectures.as_deref())?;
        if raw.is_decoder == Some(true) {
            return Err("is_decoder is true, but only encoders are supported".into());
        }
        match raw.position_embedding_type.as_deref() {
            None | Some("absolute") => {}
            Some(other) => {
                return Err(format!(
                    "position_embedding_type must be \"absolute\", but is \"{other}\""
                ));
            }
        }
        let activation = match raw.hidden_act.as_deref() {
            None | Some("gelu") => Activation::Gelu,
            Some("gelu_new" | "gelu_pytorch_tanh") => Activation::GeluTanh,
            Some("relu") => Activation::Relu,
            Some(other) => {
                return Err(format!(
                    "hidden_act must be gelu, gelu_new, gelu_pytorch_tanh or relu, but is \"{other}\""
                ));
            }
        };
        let (vocab_size, pad_token_id) = match architecture {
            Architecture::Bert => (30522, 0),
            Architecture::Roberta => (50265, 1),
        };
        let pad_token_id = raw.pad_token_id.unwrap_or(pad_token_id);
        let position_rows = raw.max_position_embeddings.unwrap_or(512);
        let max_positions = match architecture {
            Architecture::Bert => position_rows,
            Architecture::Roberta => position_rows.saturating_sub(pad_token_id as usize + 1),
        };
        let shape = EncoderShape {
            layers: raw.num_hidden_layers.unwrap_or(12),
            hidden_size: raw.hidden_size.unwrap_or(768),
            heads: raw.num_attention_heads.unwrap_or(12),
            intermediate_size: raw.intermediate_size.unwrap_or(3072),
            vocab_size: raw.vocab_size.unwrap_or(vocab_size),
            max_positions,
            pooler: false,
        };
        let type_vocab_size = raw.type_vocab_size.unwrap_or(2);
        for (field, value, most) in [
            ("num_hidden_layers", shape.layers, MOST_LAYERS),
            ("hidden_size", shape.hidden_size, LARGEST_SIZE),
            ("num_attention_heads", shape.heads, LARGEST_SIZE),
            ("intermediate_size", shape.intermediate_size, LARGEST_SIZE),
            ("vocab_size", shape.vocab_size, LARGEST_SIZE),
            ("max_position_embeddings", max_positions, LARGEST_SIZE),
            ("type_vocab_size", type_vocab_size, LARGEST_SIZE),
        ] {
            if value == 0 || value > most {
                return Err(format!("{field} must be from 1 to {most}, but is {value}"));
            }
        }
        if !shape.hidden_size.is_multiple_of(shape.heads) {
            return Err(format!(
                "hidden_size {} must be a multiple of num_attention_heads {}",
                shape.hidden_size, shape.heads
            ));
        }
        let hidden_dropout = raw.hidden_dropout_prob.unwrap_or(0.1);
        let attention_dropout = raw.attention_probs_dropout_prob.unwrap_or(0.1);
        let classifier_dropout = raw.classifier_dropout.unwrap_or(hidden_dropout);
        for (field, value) in [
            ("hidden_dropout_prob", hidden_dropout),
            ("attention_probs_dropout_prob", attention_dropout),
            ("classifier_dropout", classifier_dropout),
        ] {
            if !(0.0..1.0).contains(&value) {
                return Err(format!("{field} must be in [0, 1), but is {value}"));
            }
        }
        let layer_norm_eps = raw.layer_norm_eps.unwrap_or(1e-12);
        if !(layer_norm_eps > 0.0 && layer_norm_eps < 1.0) {
            return Err(format!(
                "layer_norm_eps must be between 0 and 1, but is {layer_norm_eps}"
            ));
        }
        Ok(Self {
            architecture,
            shape,
            type_vocab_size,
            position_rows,
            pad_token_id,
            layer_norm_eps,
            activation,
            hidden_dropout,
            attention_dropout,
            classifier_dropout,
            labels: raw.id2label.map(labels).transpose()?,
        })
    }
}

/// The text of a configuration.
fn read_text(path: &Path) -> Result<String, String> {
    let unreadable =
        |reason: &dyn Display| format!("cannot read the model's configuration: {reason}");
    let bytes = read_small_file(path).map_err(|e| unreadable(&e))?;
    String::from_utf8(bytes).map_err(|e| unreadable(&e))
}

fn architecture(
    model_type: Option<&str>,
    architectures: Option<&[String]>,
) -> Result<Architecture, String> {
    let class = architectures.and_then(|names| names.first());
    match (model_type, class) {
        (Some("bert"), _) => Ok(Architecture::Bert),
        (Some("roberta" | "xlm-roberta" | "camembert"), _) => Ok(Architecture::Roberta),
        (Some(other), _) => Err(format!(
            "model_type must be bert, roberta, xlm-roberta or camembert, but is \"{other}\""
        )),
        (None, Some(class)) if class.starts_with("Bert") => Ok(Architecture::Bert),
        (None, Some(class)) if class.starts_with("Roberta") => Ok(Architecture::Roberta),
        (None, _) => Err("model_type is missing; expected bert or roberta".into()),
    }
}

fn labels(names: BTreeMap<String, String>) -> Result<Vec<String>, String> {
    let mut labels = vec![None; names.len()];
    for (key, name) in names {
        let slot = key.parse::<usize>().ok().and_then(|i| labels.get_mut(i));
        match slot {
            Some(slot) => *slot = Some(name),
            None => return Err(format!("id2label: unexpected label number \"{key}\"")),
        }
    }
    labels
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| "id2label: two keys are the same number".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<EncoderConfig, String> {
        EncoderConfig::from_text(text)
    }

    #[test]
    fn missing_fields_take_upstream_defaults_and_unknown_ones_are_ignored() {
        let config = parse(r#"{"model_type": "roberta", "some_new_key": {}}"#).unwrap();
        assert_eq!(config.shape.vocab_size, 50265);
        assert_eq!(config.shape.max_positions, 510);
        assert_eq!(config.pad_token_id, 1);
        assert_eq!(config.layer_norm_eps, 1e-12);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (text, word) in [
            (r#"{"model_type": "t5"}"#, "model_type"),
            (r#"{}"#, "model_type"),
            (
                r#"{"model_type": "bert", "hidden_act": "silu"}"#,
                "hidden_act",
            ),
            (
                r#"{"model_type": "bert", "hidden_size": 10, "num_attention_heads": 4}"#,
                "hidden_size",
            ),
            (
                r#"{"model_type": "bert", "num_hidden_layers": 0}"#,
                "num_hidden_layers",
            ),
            (
                r#"{"model_type": "bert", "num_hidden_layers": 16777216}"#,
                "num_hidden_layers must be from 1 to 1024, but is 16777216",
            ),
            (
                r#"{"model_type": "bert", "vocab_size": 16777217}"#,
                "vocab_size",
            ),
            // The fields' values in their order.
            (
                r#"["bert", null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null]"#,
                "expected a JSON object",
            ),
            (
                r#"{"model_type": "bert", "position_embedding_type": "relative_key"}"#,
                "position_embedding_type",
            ),
            (
                r#"{"model_type": "bert", "id2label": {"0": "a", "2": "b"}}"#,
                "id2label",
            ),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn what_is_no_configuration_is_refused_in_one_short_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let refusal = || EncoderConfig::read(folder.path()).unwrap_err().to_string();
        assert!(refusal().contains("cannot read"), "{}", refusal());
        let long = "x\\n".repeat(100_000);
        std::fs::write(&path, format!("{{\"model_type\": \"{long}\"}}")).unwrap();
        let message = refusal();
        assert!(message.contains("model_type must be"), "{message}");
        assert!(message.len() < 3000, "{}", message.len());
        assert!(!message.contains('\n'), "{message}");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(refusal().contains("found a folder"), "{}", refusal());
    }
}
