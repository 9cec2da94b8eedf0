//! The settings of UniPELT.

use burn::tensor::{Device, Tensor};
use pelt_adapter::BottleneckConfig;
use pelt_hooks::{ConfigError, EncoderShape};
use pelt_lora::LoraConfig;
use pelt_prefix::PrefixConfig;
use pelt_prompt::PromptConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::UniPelt;
use crate::overlay::overlay;

/// Settings of [`UniPelt`].
///
/// What a file does not say keeps the value of the **preset**, also inside a part: `[lora] r = 4` alone is a gated LoRA
/// of rank 4, although [`LoraConfig`] by itself is not gated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Given")]
pub struct UniPeltConfig {
    /// Default: length 10, a network of width 512, one gate per layer for keys and values.
    pub prefix: PrefixConfig,
    /// Default: query and value, rank 8, gated (so `alpha`, 2, has no effect).
    pub lora: LoraConfig,
    /// Default: Pfeiffer's adapter with reduction 16, gated.
    pub bottleneck: BottleneckConfig,
    /// A prompt in front of every sequence, ungated. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<PromptConfig>,
}

impl Default for UniPeltConfig {
    fn default() -> Self {
        Self {
            prefix: PrefixConfig {
                prefix_length: 10,
                use_gating: true,
                ..PrefixConfig::default()
            },
            lora: LoraConfig {
                alpha: 2.0,
                use_gating: true,
                ..LoraConfig::default()
            },
            bottleneck: BottleneckConfig {
                use_gating: true,
                ..BottleneckConfig::seq_bn()
            },
            prompt: None,
        }
    }
}

impl UniPeltConfig {
    /// UniPELT with prompt tuning of length 10 (arXiv 2405.05493).
    pub fn with_prompt() -> Self {
        Self {
            prompt: Some(PromptConfig::default()),
            ..Self::default()
        }
    }

    /// The same with the initial values of the code that was released with the UniPELT paper: smaller prefixes, and
    /// gates whose biases start at zero.
    pub fn original(mut self) -> Self {
        self.prefix.init = pelt_hooks::Init::Original;
        self.lora.init = pelt_hooks::Init::Original;
        self
    }

    /// Checks the settings of every part against an encoder.
    ///
    /// # Errors
    /// The first error of a part.
    pub fn validate(&self, shape: &EncoderShape) -> Result<(), ConfigError> {
        self.prefix.validate(shape)?;
        self.lora.validate(shape)?;
        self.bottleneck.validate(shape)?;
        match &self.prompt {
            Some(prompt) => prompt.validate(shape),
            None => Ok(()),
        }
    }

    /// Creates the parameters on `device`.
    ///
    /// # Errors
    /// As [`validate`](Self::validate), and where the prompt copies word embeddings: use
    /// [`init_with`](Self::init_with) then.
    pub fn init(&self, shape: &EncoderShape, device: &Device) -> Result<UniPelt, ConfigError> {
        self.init_with(shape, device, None)
    }

    /// Creates the parameters on `device`; `prompt_rows` are the word embeddings, `[k, d]`, that the prompt starts from
    /// where its settings ask for them.
    ///
    /// # Errors
    /// As [`validate`](Self::validate), and if such rows are needed but missing or unfit.
    pub fn init_with(
        &self,
        shape: &EncoderShape,
        device: &Device,
        prompt_rows: Option<Tensor<2>>,
    ) -> Result<UniPelt, ConfigError> {
        // All parts are checked before the first one is created.
        self.validate(shape)?;
        Ok(UniPelt {
            prefix: self.prefix.init(shape, device)?,
            lora: self.lora.init(shape, device)?,
            bottleneck: self.bottleneck.init(shape, device)?,
            prompt: match &self.prompt {
                Some(prompt) => Some(prompt.init_with(shape, device, prompt_rows)?),
                None => None,
            },
        })
    }
}

/// The settings as a file has them: any part of any table may be missing.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Given {
    prefix: Map<String, Value>,
    lora: Map<String, Value>,
    bottleneck: Map<String, Value>,
    prompt: Option<Map<String, Value>>,
}

impl TryFrom<Given> for UniPeltConfig {
    type Error = serde_json::Error;

    fn try_from(given: Given) -> Result<Self, Self::Error> {
        let preset = Self::default();
        Ok(Self {
            prefix: overlay(&preset.prefix, given.prefix)?,
            lora: overlay(&preset.lora, given.lora)?,
            bottleneck: overlay(&preset.bottleneck, given.bottleneck)?,
            prompt: match given.prompt {
                Some(prompt) => Some(overlay(&PromptConfig::default(), prompt)?),
                None => None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_in_a_file_keeps_the_rest_of_the_preset() {
        let text = "[lora]\nr = 4\n[prompt]\nprompt_length = 3\n[bottleneck]\nreduction_factor = 8";
        let config: UniPeltConfig = toml::from_str(text).unwrap();
        assert_eq!(config.lora.r, 4);
        assert!(config.lora.use_gating && config.bottleneck.use_gating);
        assert_eq!(config.bottleneck.reduction_factor.of_layer(0), Some(8.0));
        assert_eq!(config.prefix, UniPeltConfig::default().prefix);
        assert_eq!(config.prompt.as_ref().unwrap().prompt_length, 3);
        let again: UniPeltConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        let empty: UniPeltConfig = toml::from_str("").unwrap();
        assert_eq!(empty, UniPeltConfig::default());
    }

    #[test]
    fn unknown_fields_are_refused_at_both_levels() {
        let error = |text: &str| {
            toml::from_str::<UniPeltConfig>(text)
                .unwrap_err()
                .to_string()
        };
        assert!(error("[adapter]\nr = 4").contains("adapter"));
        assert!(error("[lora]\nrank = 4").contains("rank"));
        assert!(error("[lora]\nr = \"x\"").contains("expected usize"));
    }

    #[test]
    fn the_original_start_is_set_in_all_parts_that_differ() {
        let config = UniPeltConfig::with_prompt().original();
        assert_eq!(config.prefix.init, pelt_hooks::Init::Original);
        assert_eq!(config.lora.init, pelt_hooks::Init::Original);
        assert!(config.prompt.is_some());
    }
}
