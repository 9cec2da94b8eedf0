//! Which method is trained.

use std::path::Path;

use anyhow::{Result, bail};
use pelt_methods::{AdapterConfig, FusionConfig, PartConfig, with_fusion_setting};
use serde::{Deserialize, Serialize};

/// What a run trains besides the head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tuning {
    /// An adapter: one method or a union of several.
    Adapter(AdapterConfig),
    /// A mixture of trained adapters.
    Fusion(FusionConfig),
    /// Every parameter of the encoder.
    Full,
    /// The encoder's biases.
    BitFit,
}

impl Tuning {
    /// The method that the command line asks for.
    pub fn from_args(method: &str, file: Option<&Path>, settings: &[String]) -> Result<Self> {
        let tuning = match (file, method) {
            (None, "full") => Self::Full,
            (None, "bitfit") => Self::BitFit,
            (None, "fusion") => Self::Fusion(FusionConfig::default()),
            (None, name) => Self::Adapter(AdapterConfig::preset(name)?),
            (Some(file), _) => Self::Adapter(AdapterConfig::read(file)?),
        };
        match tuning {
            Self::Adapter(mut config) => {
                for setting in settings {
                    config.set(setting)?;
                }
                Ok(Self::Adapter(config))
            }
            Self::Fusion(mut config) => {
                for setting in settings {
                    config = with_fusion_setting(&config, setting)?;
                }
                Ok(Self::Fusion(config))
            }
            other => match settings.first() {
                Some(setting) => bail!("--set {setting}: the method {method} has no settings"),
                None => Ok(other),
            },
        }
    }

    /// The adapter's configuration; an empty union where something else is trained.
    pub fn adapter(&self) -> AdapterConfig {
        match self {
            Self::Adapter(config) => config.clone(),
            Self::Fusion(_) | Self::Full | Self::BitFit => AdapterConfig { parts: Vec::new() },
        }
    }

    /// Whether the adapter has a prompt.
    pub fn has_prompt(&self) -> bool {
        let parts = self.adapter().parts;
        parts
            .iter()
            .any(|part| matches!(part, PartConfig::Prompt(_)))
    }

    /// Whether a parameter of the encoder is trained in the run's own copy.
    pub fn trains(&self, name: &str) -> bool {
        match self {
            Self::Adapter(_) | Self::Fusion(_) => false,
            Self::Full => true,
            Self::BitFit => name.ends_with(".bias"),
        }
    }

    /// Whether the run has a trained copy of the encoder.
    pub fn tunes_encoder(&self) -> bool {
        matches!(self, Self::Full | Self::BitFit)
    }
}
