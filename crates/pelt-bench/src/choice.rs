//! Which method is measured.

use pelt_methods::{AdapterConfig, presets};

use crate::BenchError;

/// LoRA as PEFT users set it up most often: rank 8 and alpha 16 on query and value.
pub const LORA_QV: &str = "lora-qv";

/// What is trained besides the head.
#[derive(Debug, Clone, PartialEq)]
pub enum MethodChoice {
    /// A method of the registry.
    Adapter(AdapterConfig),
    /// Every parameter of the encoder.
    Full,
    /// The encoder's biases.
    BitFit,
}

impl MethodChoice {
    /// A method by name ([`method_names`]), with changed settings (`lora.r=4`).
    ///
    /// # Errors
    /// If the name or a setting is unknown.
    pub fn parse(name: &str, settings: &[String]) -> Result<Self, BenchError> {
        let mut config = match name {
            "full" | "bitfit" if !settings.is_empty() => {
                return Err(BenchError::Setting {
                    field: "set",
                    expected: "absent for full and bitfit, which have no settings",
                    found: settings.join(" "),
                });
            }
            "full" => return Ok(Self::Full),
            "bitfit" => return Ok(Self::BitFit),
            LORA_QV => {
                let mut config = AdapterConfig::preset("lora")?;
                for setting in [
                    "lora.r=8",
                    "lora.alpha=16",
                    "lora.attn_matrices=[\"q\", \"v\"]",
                ] {
                    config.set(setting)?;
                }
                config
            }
            name => AdapterConfig::preset(name)?,
        };
        for setting in settings {
            config.set(setting)?;
        }
        Ok(Self::Adapter(config))
    }

    /// The adapter's configuration; an empty union where the encoder itself is trained.
    pub(crate) fn adapter(&self) -> AdapterConfig {
        match self {
            Self::Adapter(config) => config.clone(),
            Self::Full | Self::BitFit => AdapterConfig { parts: Vec::new() },
        }
    }
}

/// The names that [`MethodChoice::parse`] knows, presets that are the same as an earlier one left out.
pub fn method_names() -> Vec<String> {
    let mut seen: Vec<AdapterConfig> = Vec::new();
    let mut names = vec![LORA_QV.to_string()];
    for preset in presets() {
        let Ok(config) = AdapterConfig::preset(preset.name) else {
            continue;
        };
        if !seen.contains(&config) {
            seen.push(config);
            names.push(preset.name.to_string());
        }
    }
    names.extend(["bitfit".to_string(), "full".to_string()]);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_name_is_known_and_no_method_is_listed_twice() {
        let names = method_names();
        let choices: Vec<_> = names
            .iter()
            .map(|name| MethodChoice::parse(name, &[]).unwrap())
            .collect();
        for (number, choice) in choices.iter().enumerate() {
            assert!(!choices[..number].contains(choice), "{}", names[number]);
        }
    }

    #[test]
    fn settings_reach_the_method_and_full_fine_tuning_has_none() {
        let rank_4 = MethodChoice::parse("lora-qv", &["lora.r=4".into()]).unwrap();
        assert_ne!(rank_4, MethodChoice::parse("lora-qv", &[]).unwrap());
        assert_ne!(
            MethodChoice::parse("lora-qv", &[]).unwrap(),
            MethodChoice::parse("lora", &[]).unwrap()
        );
        let error = MethodChoice::parse("full", &["lora.r=4".into()]).unwrap_err();
        assert!(error.to_string().contains("lora.r=4"), "{error}");
    }
}
