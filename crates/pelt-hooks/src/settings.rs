//! Settings that several methods have, and their checks.

use serde::{Deserialize, Serialize};

use crate::{ConfigError, EncoderShape, GateBias};

/// Whose initial values a method takes, where public implementations of UniPELT differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// AdapterHub: gate bias uniform in `±1/sqrt(in)`.
    #[default]
    Library,
    /// The code released with the UniPELT paper: gate bias zero.
    Original,
}

impl Init {
    /// How the bias of a gate starts.
    pub fn gate_bias(self) -> GateBias {
        match self {
            Self::Library => GateBias::Uniform,
            Self::Original => GateBias::Zero,
        }
    }
}

/// Checks that the encoder has every layer that `leave_out` of `method` names.
///
/// # Errors
/// Naming the first one that it does not have.
pub fn check_leave_out(
    method: &'static str,
    leave_out: &[usize],
    shape: &EncoderShape,
) -> Result<(), ConfigError> {
    match leave_out.iter().find(|layer| **layer >= shape.layers) {
        Some(layer) => {
            let expected = format!("a list of layers below {}", shape.layers);
            Err(ConfigError::new(method, "leave_out", expected, layer))
        }
        None => Ok(()),
    }
}

/// Checks that `leave_out` of `method` leaves at least one layer adapted.
///
/// # Errors
/// If every layer is in it.
pub fn check_some_layer_left(
    method: &'static str,
    leave_out: &[usize],
    shape: &EncoderShape,
) -> Result<(), ConfigError> {
    match (0..shape.layers).all(|layer| leave_out.contains(&layer)) {
        true => {
            let expected = "a list that leaves at least one layer adapted";
            Err(ConfigError::new(
                method,
                "leave_out",
                expected,
                "every layer",
            ))
        }
        false => Ok(()),
    }
}

/// Checks the probability `dropout` of `method`.
///
/// # Errors
/// If it is not at least 0 and below 1.
pub fn check_dropout(method: &'static str, dropout: f64) -> Result<(), ConfigError> {
    match (0.0..1.0).contains(&dropout) {
        true => Ok(()),
        false => {
            let expected = "at least 0 and below 1";
            Err(ConfigError::new(method, "dropout", expected, dropout))
        }
    }
}

/// Checks the factor `alpha` of `method`.
///
/// # Errors
/// If it is not a number above 0.
pub fn check_alpha(method: &'static str, alpha: f64) -> Result<(), ConfigError> {
    match alpha.is_finite() && alpha > 0.0 {
        true => Ok(()),
        false => Err(ConfigError::new(method, "alpha", "a number above 0", alpha)),
    }
}
