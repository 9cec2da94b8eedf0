//! Stacks of adapters.

use burn::tensor::Device;
use pelt_hooks::{ADAPTER, ConfigError, EncoderShape};
use pelt_unipelt::{Stack, StackRules, StackedLora, StackedParallel};
use serde::{Deserialize, Serialize};

use crate::config::union;
use crate::registry::PromptRows;
use crate::{Adapter, AdapterConfig, AnyMethod, MethodError, PartConfig};

const METHOD: &str = "stack";

/// The most levels that a stack can have. A level takes a few bytes of a configuration and much memory.
const MOST_LEVELS: usize = 64;

/// Adapters on top of one another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackConfig {
    /// How LoRAs of one projection follow one another. Default `composed`.
    #[serde(default)]
    pub lora: StackedLora,
    /// How parallel adapters of one sub-layer follow one another. Default `sum`.
    #[serde(default)]
    pub parallel: StackedParallel,
    /// The adapters, the lowest first; at most 64.
    pub levels: Vec<AdapterConfig>,
}

impl StackConfig {
    fn rules(&self) -> StackRules {
        StackRules {
            lora: self.lora,
            parallel: self.parallel,
        }
    }

    /// Checks the levels against an encoder.
    ///
    /// # Errors
    /// Without levels or with too many, with a stack among them, with LoRAs that cannot read one another, and the first error
    /// of a level.
    pub fn validate(&self, shape: &EncoderShape) -> Result<(), ConfigError> {
        let error =
            |field, expected: &str, found| Err(ConfigError::new(METHOD, field, expected, found));
        if self.levels.is_empty() {
            return error("levels", "at least one adapter", "empty");
        }
        if self.levels.len() > MOST_LEVELS {
            let expected = format!("at most {MOST_LEVELS} adapters");
            let found = self.levels.len();
            return Err(ConfigError::new(METHOD, "levels", expected, found));
        }
        let parts = || self.levels.iter().flat_map(|level| &level.parts);
        if parts().any(|part| matches!(part, PartConfig::Stack(_))) {
            return error("levels", "adapters that are no stacks", "a stack");
        }
        // A composed LoRA reads another's result, which is as wide as what that one read only at square projections.
        let uneven = |part: &&PartConfig| match part {
            PartConfig::Lora(lora) => lora.intermediate_lora || lora.output_lora,
            _ => false,
        };
        if self.lora == StackedLora::Composed && parts().filter(uneven).count() > 1 {
            let expected = "`sum` where intermediate.dense or output.dense have several LoRAs";
            return error("lora", expected, "`composed`");
        }
        for level in &self.levels {
            level.validate(shape).map_err(of_level)?;
        }
        Ok(())
    }

    /// Creates the parameters of all levels.
    ///
    /// # Errors
    /// As [`validate`](Self::validate), and what creating a level says.
    pub(crate) fn init(
        &self,
        shape: &EncoderShape,
        device: &Device,
        rows: PromptRows<'_>,
    ) -> Result<Stack<Adapter>, ConfigError> {
        self.validate(shape)?;
        let mut levels = Vec::with_capacity(self.levels.len());
        for (number, level) in self.levels.iter().enumerate() {
            let adapter = level.build(shape, device, rows).map_err(of_level)?;
            levels.push((format!("{ADAPTER}_{}", number + 1), adapter));
        }
        Stack::new(levels, self.rules())
            .map_err(|error| ConfigError::new(METHOD, "levels", "levels that fit", error))
    }
}

/// An error of a level as one of the stack's settings.
fn of_level(error: MethodError) -> ConfigError {
    match error {
        MethodError::Config(error) => error,
        other => ConfigError::new(METHOD, "levels", "adapters that can stand alone", other),
    }
}

/// An adapter that is to become a level of a stack.
#[derive(Debug)]
pub struct Level {
    /// Its name; a number is added to one that comes again.
    pub name: String,
    /// What it is.
    pub config: AdapterConfig,
    /// The weights.
    pub adapter: Adapter,
}

/// Puts loaded adapters on top of one another, the first one at the bottom.
///
/// # Errors
/// If they cannot be stacked: see [`StackConfig::validate`].
pub fn stack(
    levels: Vec<Level>,
    rules: StackRules,
    shape: &EncoderShape,
) -> Result<Adapter, MethodError> {
    union(vec![AnyMethod::Stack(build(levels, rules, shape)?)])
}

/// Puts an adapter that is to be trained on top of trained ones, the first one at the bottom, which stay as they are: see
/// [`Stack::training_the_last`].
///
/// # Errors
/// As [`stack`].
pub fn stack_on(
    mut below: Vec<Level>,
    top: Level,
    rules: StackRules,
    shape: &EncoderShape,
) -> Result<Adapter, MethodError> {
    below.push(top);
    let stack = build(below, rules, shape)?.training_the_last();
    union(vec![AnyMethod::Stack(stack)])
}

/// What is trained of an adapter: the level on top of frozen ones, or else all of it.
pub fn trained_level(adapter: &Adapter) -> &Adapter {
    match adapter.parts.as_slice() {
        [AnyMethod::Stack(stack)] if !stack.frozen_levels().is_empty() => {
            stack.levels.last().unwrap_or(adapter)
        }
        _ => adapter,
    }
}

/// The same adapters, with a number added to names that come again.
pub(crate) fn names_apart(mut levels: Vec<Level>) -> Vec<Level> {
    for at in 1..levels.len() {
        let (before, rest) = levels.split_at_mut(at);
        let name = rest[0].name.clone();
        let taken = |name: &String| before.iter().any(|other| other.name == *name);
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        let free = std::iter::once(name.clone())
            .chain(numbered)
            .find(|name| !taken(name));
        rest[0].name = free.unwrap_or(name);
    }
    levels
}

fn build(
    levels: Vec<Level>,
    rules: StackRules,
    shape: &EncoderShape,
) -> Result<Stack<Adapter>, MethodError> {
    let config = StackConfig {
        lora: rules.lora,
        parallel: rules.parallel,
        levels: levels.iter().map(|level| level.config.clone()).collect(),
    };
    config.validate(shape)?;
    let named = names_apart(levels).into_iter();
    let named = named.map(|level| (level.name, level.adapter)).collect();
    Stack::new(named, rules).map_err(|error| MethodError::Union(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelt_hooks::Method;

    const SHAPE: EncoderShape = EncoderShape {
        layers: 2,
        hidden_size: 32,
        heads: 4,
        intermediate_size: 64,
        vocab_size: 100,
        max_positions: 64,
        pooler: true,
    };

    fn level(preset: &str) -> AdapterConfig {
        AdapterConfig::preset(preset).unwrap()
    }

    fn of(levels: Vec<AdapterConfig>) -> AdapterConfig {
        AdapterConfig {
            parts: vec![PartConfig::Stack(StackConfig {
                lora: StackedLora::Composed,
                parallel: StackedParallel::Sum,
                levels,
            })],
        }
    }

    fn refusal(config: AdapterConfig) -> String {
        config.validate(&SHAPE).unwrap_err().to_string()
    }

    #[test]
    fn settings_reach_every_level_that_has_the_part() {
        let mut config = of(vec![level("unipelt"), level("lora"), level("seq_bn")]);
        config.set("lora.r=3").unwrap();
        config.set("stack.lora=sum").unwrap();
        let [PartConfig::Stack(stack)] = config.parts.as_slice() else {
            panic!("no stack");
        };
        assert_eq!(stack.lora, StackedLora::Sum);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(text.matches("\"r\":3").count(), 2, "{text}");
        let message = config
            .set("prompt.prompt_length=3")
            .unwrap_err()
            .to_string();
        assert!(message.contains("there is no part \"prompt\""), "{message}");
        let message = config.set("lora.rr=3").unwrap_err().to_string();
        assert!(message.contains("rr"), "{message}");
        assert_eq!(
            toml::from_str::<AdapterConfig>(&toml::to_string(&config).unwrap()).unwrap(),
            config
        );
    }

    #[test]
    fn stacks_that_cannot_work_are_refused() {
        assert!(refusal(of(vec![])).contains("levels must be at least one adapter"));
        of(vec![level("seq_bn"); 64]).validate(&SHAPE).unwrap();
        assert!(
            refusal(of(vec![level("seq_bn"); 65]))
                .contains("levels must be at most 64 adapters, but is 65")
        );
        let nested = of(vec![of(vec![level("lora")])]);
        assert!(refusal(nested).contains("adapters that are no stacks"));
        let mut beside = of(vec![level("lora")]);
        beside.parts.extend(level("prompt").parts);
        assert!(refusal(beside).contains("a stack must be the only part"));
        let mut wide = level("lora");
        wide.set("lora.intermediate_lora=true").unwrap();
        let mut wide = of(vec![wide.clone(), wide]);
        assert!(refusal(wide.clone()).contains("stack: lora must be `sum`"));
        wide.set("stack.lora=sum").unwrap();
        wide.validate(&SHAPE).unwrap();
        let mut broken = of(vec![level("lora")]);
        broken.set("lora.r=0").unwrap();
        assert!(refusal(broken).contains("lora: r must be"));
    }

    fn loaded(preset: &str, device: &Device) -> Level {
        let config = level(preset);
        Level {
            name: "default".into(),
            adapter: config.init(&SHAPE, device, &|_| None).unwrap(),
            config,
        }
    }

    #[test]
    fn only_the_level_on_top_of_frozen_ones_is_trained() {
        let device = Device::flex().autodiff();
        let below = vec![loaded("seq_bn", &device), loaded("lora", &device)];
        let top = loaded("seq_bn", &device);
        let count = top.adapter.named_params().len();
        let adapter = stack_on(below, top, StackRules::default(), &SHAPE).unwrap();
        let params = adapter.named_params();
        assert_eq!(params.len(), count);
        for param in &params {
            assert!(param.name.contains("adapters.default_3."), "{}", param.name);
        }
        let ids = |params: Vec<pelt_hooks::NamedParam>| {
            params.into_iter().map(|param| param.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(trained_level(&adapter).named_params()), ids(params));

        let all = vec![loaded("lora", &device), loaded("seq_bn", &device)];
        let all = stack(all, StackRules::default(), &SHAPE).unwrap();
        assert_eq!(
            trained_level(&all).named_params().len(),
            all.named_params().len()
        );
    }

    #[test]
    fn levels_of_one_name_are_told_apart() {
        let level = || loaded("lora", &Device::flex());
        let adapter = stack(
            vec![level(), level(), level()],
            StackRules::default(),
            &SHAPE,
        );
        let names = adapter.unwrap().named_params().into_iter();
        let names: Vec<String> = names.map(|param| param.name).collect();
        for name in ["default", "default_2", "default_3"] {
            let path = format!("encoder.layer.0.attention.self.query.loras.{name}.lora_A");
            assert!(names.contains(&path), "{path}");
        }
    }
}
