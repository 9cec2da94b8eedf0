//! Settings that files spell with more than one type.

use serde::{Deserialize, Serialize};

/// What is added back to the up-projection of a sequential adapter: `true`, `false` or `"post_add"` in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "RawResidual", into = "RawResidual")]
pub enum ResidualBeforeLn {
    /// `true`: the sub-layer's output `h`.
    #[default]
    Output,
    /// `false`: the adapter's own input `z`.
    AdapterInput,
    /// `"post_add"`: the sum `h + x`, before the sub-layer's norm.
    Sum,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "residual_before_ln must be true, false or \"post_add\""
)]
enum RawResidual {
    Flag(bool),
    Name(PostAdd),
}

#[derive(Clone, Serialize, Deserialize)]
enum PostAdd {
    #[serde(rename = "post_add")]
    PostAdd,
}

impl From<RawResidual> for ResidualBeforeLn {
    fn from(raw: RawResidual) -> Self {
        match raw {
            RawResidual::Flag(true) => Self::Output,
            RawResidual::Flag(false) => Self::AdapterInput,
            RawResidual::Name(PostAdd::PostAdd) => Self::Sum,
        }
    }
}

impl From<ResidualBeforeLn> for RawResidual {
    fn from(residual: ResidualBeforeLn) -> Self {
        match residual {
            ResidualBeforeLn::Output => Self::Flag(true),
            ResidualBeforeLn::AdapterInput => Self::Flag(false),
            ResidualBeforeLn::Sum => Self::Name(PostAdd::PostAdd),
        }
    }
}

/// What the up-projection is multiplied by: a number or `"learned"` in files.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "RawScaling", into = "RawScaling")]
pub enum Scaling {
    /// A fixed number.
    Fixed(f64),
    /// One trained scalar per site that starts at 1.
    Learned,
}

impl Default for Scaling {
    fn default() -> Self {
        Self::Fixed(1.0)
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged, expecting = "scaling must be a number or \"learned\"")]
enum RawScaling {
    Number(f64),
    Name(LearnedName),
}

#[derive(Clone, Serialize, Deserialize)]
enum LearnedName {
    #[serde(rename = "learned")]
    Learned,
}

impl From<RawScaling> for Scaling {
    fn from(raw: RawScaling) -> Self {
        match raw {
            RawScaling::Number(number) => Self::Fixed(number),
            RawScaling::Name(LearnedName::Learned) => Self::Learned,
        }
    }
}

impl From<Scaling> for RawScaling {
    fn from(scaling: Scaling) -> Self {
        match scaling {
            Scaling::Fixed(number) => Self::Number(number),
            Scaling::Learned => Self::Name(LearnedName::Learned),
        }
    }
}

/// How the two projections start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitWeights {
    /// Weights N(0, 0.02²), biases zero.
    #[default]
    Bert,
    /// Down uniform in `±1/sqrt(d)`, up and both biases zero: a new adapter adds nothing.
    MamAdapter,
    /// Weights N(0, 0.01²) within ±0.02, biases zero.
    Houlsby,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_spell_these_settings_with_two_types() {
        for (text, value) in [
            ("true", ResidualBeforeLn::Output),
            ("false", ResidualBeforeLn::AdapterInput),
            ("\"post_add\"", ResidualBeforeLn::Sum),
        ] {
            assert_eq!(
                serde_json::from_str::<ResidualBeforeLn>(text).unwrap(),
                value
            );
            assert_eq!(serde_json::to_string(&value).unwrap(), text);
        }
        for (text, value) in [
            ("4.0", Scaling::Fixed(4.0)),
            ("\"learned\"", Scaling::Learned),
        ] {
            assert_eq!(serde_json::from_str::<Scaling>(text).unwrap(), value);
            assert_eq!(serde_json::to_string(&value).unwrap(), text);
        }
        assert_eq!(
            serde_json::from_str::<Scaling>("4").unwrap(),
            Scaling::Fixed(4.0)
        );
        let error = serde_json::from_str::<Scaling>("\"fixed\"").unwrap_err();
        assert!(error.to_string().contains("scaling must be"), "{error}");
    }
}
