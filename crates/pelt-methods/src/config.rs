//! Configurations: unions of parts, from names, files and single settings.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use burn::tensor::Device;
use pelt_hooks::{EncoderShape, Method, draw};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::suggestion;
use crate::format::read_bytes;
use crate::registry::PromptRows;
use crate::{Adapter, AnyMethod, MethodError, PartConfig, StackConfig, presets};

/// A union of methods; a single method is a union of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterConfig {
    /// The parts. Two of the same type may stand together only at different sites.
    pub parts: Vec<PartConfig>,
}

impl AdapterConfig {
    /// A configuration by name; `-` and `_` are the same.
    ///
    /// # Errors
    /// If there is no such preset.
    pub fn preset(name: &str) -> Result<Self, MethodError> {
        let same = |known: &str| known.replace('_', "-") == name.replace('_', "-");
        match presets().iter().find(|preset| same(preset.name)) {
            Some(preset) => Ok(Self {
                parts: (preset.parts)(),
            }),
            None => {
                let mut known: Vec<&str> = presets().iter().map(|preset| preset.name).collect();
                known.extend(["fusion", "full", "bitfit"]);
                Err(MethodError::UnknownMethod {
                    name: name.to_string(),
                    known: known.join(", "),
                    suggestion: suggestion(name, known),
                })
            }
        }
    }

    /// Reads a TOML or JSON file: a list `parts`, each with its `type`, or a single part.
    ///
    /// # Errors
    /// If the file cannot be read, or does not describe a method.
    pub fn read(path: &Path) -> Result<Self, MethodError> {
        let text = String::from_utf8(read_bytes(path)?)
            .map_err(|e| MethodError::file(path, format!("cannot be read: {e}")))?;
        let json = path
            .extension()
            .is_some_and(|extension| extension == "json");
        let value: Value = match json {
            true => serde_json::from_str(&text).map_err(|e| e.to_string()),
            false => toml::from_str(&text).map_err(|e| without_breaks(&e.to_string())),
        }
        .map_err(|message| MethodError::file(path, message))?;
        let parsed = match value.get("parts") {
            Some(_) => serde_json::from_value(value),
            None => serde_json::from_value(value).map(|part| Self { parts: vec![part] }),
        };
        let config: Self = parsed.map_err(|e| MethodError::file(path, e.to_string()))?;
        if config.parts.is_empty() {
            return Err(MethodError::file(
                path,
                "parts is empty, expected at least one method",
            ));
        }
        Ok(config)
    }

    /// Changes one setting: `lora.r=4`, or `unipelt.lora.r=4`.
    ///
    /// # Errors
    /// Naming what is unknown, and what is there instead.
    pub fn set(&mut self, setting: &str) -> Result<(), MethodError> {
        let error = |message: String| MethodError::Setting {
            setting: setting.to_string(),
            message,
        };
        let Some((path, value)) = setting.split_once('=') else {
            return Err(error("expected PART.KEY=VALUE, e.g. lora.r=4".into()));
        };
        let mut keys: Vec<&str> = path.trim().split('.').collect();
        if let [PartConfig::Stack(stack)] = self.parts.as_mut_slice()
            && keys[0] != "stack"
        {
            return set_in_levels(stack, setting);
        }
        let is_part = |key: &str| self.parts.iter().any(|part| part.name() == key);
        if keys.len() > 2 && !is_part(keys[0]) && Self::preset(keys[0]).is_ok() {
            keys.remove(0);
        }
        if keys.len() < 2 {
            return Err(error("expected PART.KEY=VALUE, e.g. lora.r=4".into()));
        }
        let present: Vec<&str> = self.parts.iter().map(PartConfig::name).collect();
        let suggested = suggestion(keys[0], present.iter().copied());
        let unknown = format!(
            "there is no part \"{}\"; the method has {}{suggested}",
            keys[0],
            present.join(", ")
        );
        let mut found = false;
        for part in self.parts.iter_mut().filter(|part| part.name() == keys[0]) {
            *part = with_setting(part, &keys[1..], parse_value(value)).map_err(error)?;
            found = true;
        }
        match found {
            true => Ok(()),
            false => Err(error(unknown)),
        }
    }

    /// Checks every part, and that the parts can stand together.
    ///
    /// # Errors
    /// The first thing that cannot work.
    pub fn validate(&self, shape: &EncoderShape) -> Result<(), MethodError> {
        for part in &self.parts {
            part.validate(shape)?;
        }
        for (number, part) in self.parts.iter().enumerate() {
            for earlier in &self.parts[..number] {
                stand_together(earlier, part)?;
            }
        }
        Ok(())
    }

    /// Creates the parameters. `rows` gives word embeddings for prompts that start from words.
    ///
    /// # Errors
    /// As [`validate`](Self::validate), or two bottleneck adapters at one site.
    pub fn init(
        &self,
        shape: &EncoderShape,
        device: &Device,
        rows: PromptRows<'_>,
    ) -> Result<Adapter, MethodError> {
        self.validate(shape)?;
        let adapter = self.build(shape, device, rows)?;
        draw(&adapter);
        Ok(adapter)
    }

    /// The same with values that are drawn when they are first asked for; the settings are taken as valid.
    pub(crate) fn build(
        &self,
        shape: &EncoderShape,
        device: &Device,
        rows: PromptRows<'_>,
    ) -> Result<Adapter, MethodError> {
        let parts = self.parts.iter().map(|part| part.init(shape, device, rows));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        union(parts)
    }

    /// The same settings with prompts that need no words to start from: for adapters that are about to be filled or
    /// counted.
    pub(crate) fn without_words(&self) -> Self {
        let mut config = self.clone();
        for part in &mut config.parts {
            match part {
                PartConfig::Prompt(prompt) => {
                    prompt.prompt_init = pelt_prompt::PromptInit::RandomUniform;
                }
                PartConfig::Stack(stack) => {
                    for level in &mut stack.levels {
                        *level = level.without_words();
                    }
                }
                _ => {}
            }
        }
        config
    }

    /// Number of parameters of each component, gates apart. Nothing is drawn or computed.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    pub fn summary(
        &self,
        shape: &EncoderShape,
        device: &Device,
    ) -> Result<Vec<(String, usize)>, MethodError> {
        let mut out = vec![];
        // The count does not depend on the words that a prompt starts from.
        for part in &self.without_words().parts {
            if let PartConfig::Stack(stack) = part {
                for (number, level) in stack.levels.iter().enumerate() {
                    let counts = level.summary(shape, device)?.into_iter();
                    let named = |(name, count)| (format!("{}: {name}", number + 1), count);
                    out.extend(counts.map(named));
                }
                continue;
            }
            let method = part.init(shape, device, &|_| None)?;
            let mut counts = BTreeMap::new();
            let mut seen = HashSet::new();
            for param in method.named_params() {
                if !seen.insert(param.id) {
                    continue;
                }
                let gate = param.name.contains(".gate.") || param.name.contains(".prefix_gates.");
                *counts.entry(gate).or_insert(0) += param.count();
            }
            for (gate, count) in counts {
                let suffix = if gate { " gates" } else { "" };
                out.push((format!("{}{suffix}", part.name()), count));
            }
        }
        Ok(out)
    }
}

/// The union of these parts.
pub(crate) fn union(parts: Vec<AnyMethod>) -> Result<Adapter, MethodError> {
    Adapter::new(parts).map_err(|error| MethodError::Union(error.to_string()))
}

/// Changes a setting in every level that has the part; one of them must have it.
fn set_in_levels(stack: &mut StackConfig, setting: &str) -> Result<(), MethodError> {
    let part = |level: &AdapterConfig| {
        let names = level.parts.iter().map(PartConfig::name);
        names.into_iter().any(|name| {
            let keys = setting.split('=').next().unwrap_or_default();
            keys.trim().split('.').take(2).any(|key| key == name)
        })
    };
    if !stack.levels.iter().any(part) {
        // A level knows how to say what is wrong.
        return match stack.levels.first_mut() {
            Some(level) => level.set(setting),
            None => Ok(()),
        };
    }
    for level in stack.levels.iter_mut().filter(|level| part(level)) {
        level.set(setting)?;
    }
    Ok(())
}

/// A stack stands alone. Two bottleneck adapters may stand together at different sites, and other methods only once.
fn stand_together(one: &PartConfig, other: &PartConfig) -> Result<(), MethodError> {
    match (one, other) {
        (PartConfig::Stack(_), _) | (_, PartConfig::Stack(_)) => Err(MethodError::Union(
            "a stack must be the only part of a method, but it stands beside another one".into(),
        )),
        (PartConfig::Bottleneck(a), PartConfig::Bottleneck(b)) => {
            let site = match (
                a.mh_adapter && b.mh_adapter,
                a.output_adapter && b.output_adapter,
            ) {
                (true, _) => "mh_adapter",
                (_, true) => "output_adapter",
                (false, false) => return Ok(()),
            };
            Err(MethodError::Union(format!(
                "two bottleneck adapters must be at different sites, but both have {site} = true"
            )))
        }
        _ if one.name() == other.name() => Err(MethodError::Union(format!(
            "a union can have one part of type {}, but this one has more",
            one.name()
        ))),
        _ => Ok(()),
    }
}

/// A part with one of its settings changed.
pub(crate) fn with_setting<T: Serialize + DeserializeOwned>(
    part: &T,
    keys: &[&str],
    value: Value,
) -> Result<T, String> {
    let mut whole = serde_json::to_value(part).map_err(|e| e.to_string())?;
    let mut place = &mut whole;
    for (depth, key) in keys.iter().enumerate() {
        let last = depth + 1 == keys.len();
        let Value::Object(fields) = place else {
            return Err(format!(
                "{} has no settings of its own",
                keys[..depth].join(".")
            ));
        };
        if *key == "type" {
            return Err("the type of a part cannot be changed".into());
        }
        if last {
            fields.insert((*key).to_string(), value);
            break;
        }
        let inner = fields.entry(*key).or_insert_with(|| Map::new().into());
        if !inner.is_object() {
            *inner = Map::new().into();
        }
        place = inner;
    }
    serde_json::from_value(whole).map_err(|error| {
        let message = error.to_string();
        let names = message.split('`').skip(3).step_by(2);
        let close = match message.starts_with("unknown field") {
            true => suggestion(keys[0], names),
            false => String::new(),
        };
        message + &close
    })
}

/// A value as TOML reads it, or else the text itself.
pub(crate) fn parse_value(text: &str) -> Value {
    let parsed = toml::from_str::<toml::Table>(&format!("value = {text}"));
    match parsed {
        Ok(mut table) if table.len() == 1 => table
            .remove("value")
            .and_then(|value| serde_json::to_value(value).ok())
            .unwrap_or_else(|| text.into()),
        _ => text.into(),
    }
}

fn without_breaks(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: EncoderShape = EncoderShape {
        layers: 2,
        hidden_size: 128,
        heads: 4,
        intermediate_size: 64,
        vocab_size: 100,
        max_positions: 64,
        pooler: true,
    };

    #[test]
    fn a_setting_reaches_its_part_with_and_without_the_methods_name() {
        let mut config = AdapterConfig::preset("unipelt-prompt").unwrap();
        config.set("unipelt.lora.r=4").unwrap();
        config.set("prompt.combine=prefix_after_bos").unwrap();
        config
            .set("bottleneck.reduction_factor={default = 16, 0 = 4}")
            .unwrap();
        let Some(PartConfig::Lora(lora)) = config.parts.iter().find(|p| p.name() == "lora") else {
            panic!("no lora");
        };
        assert_eq!(lora.r, 4);
        assert!(lora.use_gating, "the preset's other settings stay");
    }

    #[test]
    fn what_is_wrong_with_a_setting_is_said() {
        for (setting, expected) in [
            ("lora.rr=4", "did you mean \"r\""),
            ("lora.r=four", "four"),
            ("lora=4", "expected PART.KEY=VALUE"),
            ("lora.r", "expected PART.KEY=VALUE"),
            ("loro.r=4", "did you mean \"lora\""),
            ("unipelt.adapter.r=4", "there is no part \"adapter\""),
        ] {
            let mut config = AdapterConfig::preset("unipelt").unwrap();
            let message = config.set(setting).unwrap_err().to_string();
            assert!(message.contains(expected), "{setting}: {message}");
        }
    }

    #[test]
    fn an_unknown_method_is_answered_with_the_known_ones() {
        for (name, meant) in [
            ("unipelt-promt", "unipelt-prompt"),
            ("LoRA", "lora"),
            ("UniPELT", "unipelt"),
        ] {
            let message = AdapterConfig::preset(name).unwrap_err().to_string();
            assert!(
                message.contains(&format!("did you mean \"{meant}\"")),
                "{message}"
            );
        }
    }

    #[test]
    fn every_preset_fits_a_usual_encoder_and_survives_a_file() {
        for preset in presets() {
            let config = AdapterConfig::preset(preset.name).unwrap();
            config.validate(&SHAPE).unwrap();
            let text = toml::to_string(&config).unwrap();
            assert_eq!(
                toml::from_str::<AdapterConfig>(&text).unwrap(),
                config,
                "{}",
                preset.name
            );
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(
                serde_json::from_str::<AdapterConfig>(&text).unwrap(),
                config
            );
        }
        let name = AdapterConfig::preset("double-seq-bn").unwrap();
        assert_eq!(name, AdapterConfig::preset("double_seq_bn").unwrap());
    }

    #[test]
    fn parts_of_one_type_stand_together_only_at_different_sites() {
        let part = |name: &str| AdapterConfig::preset(name).unwrap().parts.remove(0);
        let refused = |parts| {
            AdapterConfig { parts }
                .validate(&SHAPE)
                .unwrap_err()
                .to_string()
        };
        let message = refused(vec![part("seq_bn"), part("par_bn")]);
        assert!(message.contains("output_adapter"), "{message}");
        let message = refused(vec![part("lora"), part("prompt"), part("lora")]);
        assert!(message.contains("one part of type lora"), "{message}");
        let mut attention = AdapterConfig::preset("seq_bn").unwrap();
        attention.set("bottleneck.mh_adapter=true").unwrap();
        attention.set("bottleneck.output_adapter=false").unwrap();
        let both = AdapterConfig {
            parts: vec![part("par_bn"), attention.parts.remove(0)],
        };
        both.init(&SHAPE, &Device::flex(), &|_| None).unwrap();
    }

    #[test]
    fn a_file_describes_any_union() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("method.toml");
        std::fs::write(
            &path,
            "[[parts]]\ntype = \"lora\"\nr = 2\n[[parts]]\ntype = \"prompt\"\n",
        )
        .unwrap();
        assert_eq!(AdapterConfig::read(&path).unwrap().parts.len(), 2);
        let json = folder.path().join("method.json");
        std::fs::write(&json, r#"{"type": "prefix", "flat": true}"#).unwrap();
        assert_eq!(
            AdapterConfig::read(&json).unwrap().parts[0].name(),
            "prefix"
        );
        std::fs::write(&path, "type = \"lora\"\nrank = 2\n").unwrap();
        let message = AdapterConfig::read(&path).unwrap_err().to_string();
        assert!(message.contains("rank"), "{message}");
    }
}
