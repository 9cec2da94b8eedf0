//! What to adapt, and how.

use burn::tensor::Device;
use pelt_hooks::{
    ConfigError, EncoderShape, Init, check_alpha, check_dropout, check_leave_out,
    check_some_layer_left,
};
use serde::{Deserialize, Serialize};

use crate::{Lora, LoraLayer, LoraSite};

const METHOD: &str = "lora";

/// A projection of the self-attention that gets a low-rank update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttnMatrix {
    /// `attention.self.query`.
    #[serde(rename = "q")]
    Query,
    /// `attention.self.key`.
    #[serde(rename = "k")]
    Key,
    /// `attention.self.value`.
    #[serde(rename = "v")]
    Value,
}

/// Which frozen biases get a trainable difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraBias {
    /// None of them.
    #[default]
    None,
    /// The biases of the adapted projections (PEFT's `lora_only`).
    LoraOnly,
}

/// How the two low-rank matrices start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitWeights {
    /// A uniform in `±1/sqrt(in)`, B zero: a new LoRA changes nothing.
    #[default]
    Lora,
}

/// Settings of [`Lora`]; the names are AdapterHub's where it has the setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank of the update. Default 8.
    pub r: usize,
    /// The update is multiplied by `alpha / r`; has no effect with a gate. Default 8.
    pub alpha: f64,
    /// Adapted projections of the self-attention. Default `["q", "v"]`.
    pub attn_matrices: Vec<AttnMatrix>,
    /// Whether `intermediate.dense` is adapted. Default false.
    pub intermediate_lora: bool,
    /// Whether `output.dense` is adapted. Default false.
    pub output_lora: bool,
    /// Whether `attention.output.dense` is adapted (PEFT's `dense` does; AdapterHub cannot). Default false.
    pub attn_output_lora: bool,
    /// Whether the pooler is adapted (PEFT's `dense` does; AdapterHub cannot). Default false.
    pub pooler_lora: bool,
    /// Probability of dropping an entry of the input of `A`. Default 0.
    pub dropout: f64,
    /// Whether a gate per adapted projection and sequence replaces `alpha / r`. Default false.
    pub use_gating: bool,
    /// Scale by `alpha / sqrt(r)` instead (PEFT). Default false.
    pub use_rslora: bool,
    /// Which biases train along (PEFT). Default none.
    pub bias: LoraBias,
    /// How A and B start. Default `lora`.
    pub init_weights: InitWeights,
    /// How gates start. Default `library`.
    pub init: Init,
    /// Layers without LoRA, from 0. Default none.
    pub leave_out: Vec<usize>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 8,
            alpha: 8.0,
            attn_matrices: vec![AttnMatrix::Query, AttnMatrix::Value],
            intermediate_lora: false,
            output_lora: false,
            attn_output_lora: false,
            pooler_lora: false,
            dropout: 0.0,
            use_gating: false,
            use_rslora: false,
            bias: LoraBias::None,
            init_weights: InitWeights::Lora,
            init: Init::Library,
            leave_out: Vec::new(),
        }
    }
}

impl LoraConfig {
    /// Checks the settings against an encoder.
    ///
    /// # Errors
    /// If a setting is out of range, nothing would be adapted, or two settings exclude each other.
    pub fn validate(&self, shape: &EncoderShape) -> Result<(), ConfigError> {
        let error = |field, expected: String, found: String| {
            Err(ConfigError::new(METHOD, field, expected, found))
        };
        if self.r == 0 || self.r > shape.hidden_size {
            let expected = format!("from 1 to the hidden size {}", shape.hidden_size);
            return error("r", expected, self.r.to_string());
        }
        check_alpha(METHOD, self.alpha)?;
        check_dropout(METHOD, self.dropout)?;
        check_leave_out(METHOD, &self.leave_out, shape)?;
        if self.pooler_lora && !shape.pooler {
            let expected = "false for an encoder without a pooler".into();
            return error("pooler_lora", expected, "true".into());
        }
        let in_layers = !self.attn_matrices.is_empty()
            || self.intermediate_lora
            || self.output_lora
            || self.attn_output_lora;
        if !in_layers && !self.pooler_lora {
            let expected = "not empty when no other projection is adapted".into();
            return error("attn_matrices", expected, "[]".into());
        }
        if in_layers && !self.pooler_lora {
            check_some_layer_left(METHOD, &self.leave_out, shape)?;
        }
        if self.use_gating && self.bias != LoraBias::None {
            let expected = "`none` together with use_gating".into();
            return error("bias", expected, "`lora_only`".into());
        }
        Ok(())
    }

    /// Creates the parameters on `device`; with `init_weights = "lora"` the method then contributes zero.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, shape: &EncoderShape, device: &Device) -> Result<Lora, ConfigError> {
        self.validate(shape)?;
        let (d, f) = (shape.hidden_size, shape.intermediate_size);
        let site = |wanted: bool, inputs: usize, outputs: usize| {
            wanted.then(|| LoraSite::new(self, inputs, outputs, device))
        };
        let layers = (0..shape.layers).map(|layer| {
            let here = !self.leave_out.contains(&layer);
            let attention = |matrix| here && self.attn_matrices.contains(&matrix);
            LoraLayer {
                query: site(attention(AttnMatrix::Query), d, d),
                key: site(attention(AttnMatrix::Key), d, d),
                value: site(attention(AttnMatrix::Value), d, d),
                attention_output: site(here && self.attn_output_lora, d, d),
                intermediate: site(here && self.intermediate_lora, d, f),
                output: site(here && self.output_lora, f, d),
            }
        });
        Ok(Lora {
            layers: layers.collect(),
            pooler: site(self.pooler_lora, d, d),
        })
    }

    /// What the update is multiplied by.
    pub(crate) fn scale(&self) -> f64 {
        match (self.use_gating, self.use_rslora) {
            (true, _) => 1.0,
            (false, true) => self.alpha / (self.r as f64).sqrt(),
            (false, false) => self.alpha / self.r as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: EncoderShape = EncoderShape {
        layers: 2,
        hidden_size: 8,
        heads: 2,
        intermediate_size: 16,
        vocab_size: 10,
        max_positions: 16,
        pooler: false,
    };

    fn message(config: LoraConfig) -> String {
        config.validate(&SHAPE).unwrap_err().to_string()
    }

    #[test]
    fn a_file_gives_the_fields_that_differ_from_the_defaults() {
        let config: LoraConfig =
            toml::from_str("r = 4\nalpha = 2\nattn_matrices = [\"k\"]\nbias = \"lora_only\"")
                .unwrap();
        assert_eq!(config.r, 4);
        assert_eq!(config.alpha, 2.0);
        assert_eq!(config.attn_matrices, [AttnMatrix::Key]);
        assert_eq!(config.bias, LoraBias::LoraOnly);
        assert_eq!(config.dropout, 0.0);
        assert!(toml::from_str::<LoraConfig>("rank = 4").is_err());
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<LoraConfig>(&text).unwrap(), config);
    }

    #[test]
    fn settings_that_cannot_work_name_their_field() {
        let base = LoraConfig::default;
        let zero = message(LoraConfig { r: 0, ..base() });
        assert_eq!(
            zero,
            "lora: r must be from 1 to the hidden size 8, but is 0"
        );
        let huge = LoraConfig {
            r: 1 << 40,
            ..base()
        };
        assert!(message(huge).starts_with("lora: r "));
        let alpha = LoraConfig {
            alpha: f64::NAN,
            ..base()
        };
        assert!(message(alpha).starts_with("lora: alpha "));
        let dropout = LoraConfig {
            dropout: 1.0,
            ..base()
        };
        assert!(message(dropout).starts_with("lora: dropout "));
        let outside = LoraConfig {
            leave_out: vec![2],
            ..base()
        };
        assert!(message(outside).starts_with("lora: leave_out "));
        let all = LoraConfig {
            leave_out: vec![0, 1],
            ..base()
        };
        assert!(message(all).starts_with("lora: leave_out "));
        let nothing = LoraConfig {
            attn_matrices: vec![],
            ..base()
        };
        assert!(message(nothing).starts_with("lora: attn_matrices "));
        let pooler = LoraConfig {
            pooler_lora: true,
            ..base()
        };
        assert!(message(pooler).starts_with("lora: pooler_lora "));
        let gated_bias = LoraConfig {
            use_gating: true,
            bias: LoraBias::LoraOnly,
            ..base()
        };
        assert!(message(gated_bias).starts_with("lora: bias "));
    }
}
