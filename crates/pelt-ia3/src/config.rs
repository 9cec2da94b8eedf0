//! What to scale, and how.

use burn::tensor::Device;
use pelt_hooks::{
    ConfigError, EncoderShape, Init, Projection, ProjectionSite, check_alpha, check_leave_out,
    check_some_layer_left,
};
use serde::{Deserialize, Serialize};

use crate::{Ia3, Ia3Site, Side};

const METHOD: &str = "ia3";

/// A projection whose output or input is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ia3Target {
    /// `attention.self.query`.
    #[serde(rename = "q")]
    Query,
    /// `attention.self.key`.
    #[serde(rename = "k")]
    Key,
    /// `attention.self.value`.
    #[serde(rename = "v")]
    Value,
    /// `attention.output.dense` (PEFT's `dense` and `output.dense` reach it; AdapterHub cannot).
    #[serde(rename = "attn_output")]
    AttentionOutput,
    /// `intermediate.dense`.
    #[serde(rename = "intermediate")]
    Intermediate,
    /// `output.dense`.
    #[serde(rename = "output")]
    Output,
    /// `pooler.dense` (PEFT's `dense` reaches it; AdapterHub cannot).
    #[serde(rename = "pooler")]
    Pooler,
}

/// Settings of [`Ia3`]. The defaults are AdapterHub's; PEFT's are [`peft`](Self::peft).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ia3Config {
    /// Scaled projections. Default `["k", "v", "intermediate"]`.
    pub targets: Vec<Ia3Target>,
    /// Those of `targets` whose input is scaled instead of the output (PEFT's feed-forward modules). Default none.
    pub feedforward: Vec<Ia3Target>,
    /// The factors are multiplied by `alpha`; has no effect with a gate. Default 1.
    pub alpha: f64,
    /// Whether a gate per projection and sequence replaces `alpha`. Default false.
    pub use_gating: bool,
    /// How gates start. Default `library`.
    pub init: Init,
    /// Layers without (IA)³, from 0. Default none.
    pub leave_out: Vec<usize>,
}

impl Default for Ia3Config {
    fn default() -> Self {
        Self {
            targets: vec![Ia3Target::Key, Ia3Target::Value, Ia3Target::Intermediate],
            feedforward: Vec::new(),
            alpha: 1.0,
            use_gating: false,
            init: Init::Library,
            leave_out: Vec::new(),
        }
    }
}

impl Ia3Config {
    /// What PEFT adapts in BERT and RoBERTa: keys, values, and the inputs of both output layers (its target
    /// `output.dense` is the end of two paths).
    pub fn peft() -> Self {
        let feedforward = vec![Ia3Target::AttentionOutput, Ia3Target::Output];
        Self {
            targets: [vec![Ia3Target::Key, Ia3Target::Value], feedforward.clone()].concat(),
            feedforward,
            ..Self::default()
        }
    }

    /// Checks the settings against an encoder.
    ///
    /// # Errors
    /// If a setting is out of range, nothing would be scaled, or two settings exclude each other.
    pub fn validate(&self, shape: &EncoderShape) -> Result<(), ConfigError> {
        let error = |field, expected: String, found: String| {
            Err(ConfigError::new(METHOD, field, expected, found))
        };
        if self.targets.is_empty() {
            return error("targets", "not empty".into(), "[]".into());
        }
        for (number, target) in self.targets.iter().enumerate() {
            if self.targets[..number].contains(target) {
                let expected = "a list without repetitions".into();
                return error("targets", expected, name(*target));
            }
        }
        if let Some(target) = self.feedforward.iter().find(|t| !self.targets.contains(t)) {
            let expected = "a part of targets".into();
            return error("feedforward", expected, name(*target));
        }
        if self.use_gating && !self.feedforward.is_empty() {
            let expected = "empty together with use_gating".into();
            return error("feedforward", expected, name(self.feedforward[0]));
        }
        if self.targets.contains(&Ia3Target::Pooler) && !shape.pooler {
            let expected = "without `pooler` for an encoder that has none".into();
            return error("targets", expected, "`pooler`".into());
        }
        check_alpha(METHOD, self.alpha)?;
        check_leave_out(METHOD, &self.leave_out, shape)?;
        if !self.targets.contains(&Ia3Target::Pooler) {
            check_some_layer_left(METHOD, &self.leave_out, shape)?;
        }
        Ok(())
    }

    /// Creates the parameters on `device`. All factors start at one, so an ungated method with `alpha = 1` changes
    /// nothing.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, shape: &EncoderShape, device: &Device) -> Result<Ia3, ConfigError> {
        self.validate(shape)?;
        let mut sites = Vec::new();
        let mut push = |place, target: &Ia3Target| {
            let side = match self.feedforward.contains(target) {
                true => Side::Input,
                false => Side::Output,
            };
            let [inputs, outputs] = widths(*target, shape);
            sites.push(Ia3Site::new(self, place, side, [inputs, outputs], device));
        };
        for layer in (0..shape.layers).filter(|layer| !self.leave_out.contains(layer)) {
            for target in &self.targets {
                if let Some(projection) = projection(*target) {
                    push(ProjectionSite::Layer(layer, projection), target);
                }
            }
        }
        if self.targets.contains(&Ia3Target::Pooler) {
            push(ProjectionSite::Pooler, &Ia3Target::Pooler);
        }
        Ok(Ia3 { sites })
    }
}

/// The projection of a layer; `None` for the pooler.
fn projection(target: Ia3Target) -> Option<Projection> {
    match target {
        Ia3Target::Query => Some(Projection::Query),
        Ia3Target::Key => Some(Projection::Key),
        Ia3Target::Value => Some(Projection::Value),
        Ia3Target::AttentionOutput => Some(Projection::AttentionOutput),
        Ia3Target::Intermediate => Some(Projection::Intermediate),
        Ia3Target::Output => Some(Projection::Output),
        Ia3Target::Pooler => None,
    }
}

/// Inputs and outputs of a projection.
fn widths(target: Ia3Target, shape: &EncoderShape) -> [usize; 2] {
    let (d, f) = (shape.hidden_size, shape.intermediate_size);
    match target {
        Ia3Target::Intermediate => [d, f],
        Ia3Target::Output => [f, d],
        _ => [d, d],
    }
}

fn name(target: Ia3Target) -> String {
    format!("{target:?}").to_lowercase()
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

    #[test]
    fn a_file_gives_the_fields_that_differ_from_the_defaults() {
        let config: Ia3Config = toml::from_str("targets = [\"q\", \"output\"]\nalpha = 2").unwrap();
        assert_eq!(config.targets, [Ia3Target::Query, Ia3Target::Output]);
        assert_eq!(config.alpha, 2.0);
        assert!(!config.use_gating);
        assert!(toml::from_str::<Ia3Config>("target = [\"q\"]").is_err());
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Ia3Config>(&text).unwrap(), config);
    }

    #[test]
    fn settings_that_cannot_work_name_their_field() {
        let base = Ia3Config::default;
        let cases = [
            (
                "targets",
                Ia3Config {
                    targets: vec![],
                    ..base()
                },
            ),
            (
                "targets",
                Ia3Config {
                    targets: vec![Ia3Target::Key, Ia3Target::Key],
                    ..base()
                },
            ),
            (
                "targets",
                Ia3Config {
                    targets: vec![Ia3Target::Pooler],
                    ..base()
                },
            ),
            (
                "feedforward",
                Ia3Config {
                    feedforward: vec![Ia3Target::Output],
                    ..base()
                },
            ),
            (
                "feedforward",
                Ia3Config {
                    use_gating: true,
                    ..Ia3Config::peft()
                },
            ),
            (
                "alpha",
                Ia3Config {
                    alpha: f64::NAN,
                    ..base()
                },
            ),
            (
                "leave_out",
                Ia3Config {
                    leave_out: vec![2],
                    ..base()
                },
            ),
            (
                "leave_out",
                Ia3Config {
                    leave_out: vec![0, 1],
                    ..base()
                },
            ),
        ];
        for (field, config) in cases {
            let message = config.validate(&SHAPE).unwrap_err().to_string();
            let start = format!("ia3: {field} must be ");
            assert!(message.starts_with(&start), "{message}");
        }
        base().validate(&SHAPE).unwrap();
        Ia3Config::peft().validate(&SHAPE).unwrap();
    }
}
