//! Activation functions.

use burn::tensor::{Tensor, activation};
use pelt_ops::gelu;
use serde::{Deserialize, Serialize};

/// The activation between the two projections, spelt as in AdapterHub's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NonLinearity {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `x Φ(x)`, exact.
    Gelu,
    /// GELU by its tanh approximation, as the code released with the UniPELT paper has it.
    GeluNew,
    /// `x σ(x)`, also called SiLU.
    #[serde(alias = "silu")]
    Swish,
    /// Hyperbolic tangent.
    Tanh,
    /// `σ(x)`.
    Sigmoid,
    /// `x` where positive, `0.01 x` elsewhere.
    #[serde(rename = "leakyrelu", alias = "leaky_relu")]
    LeakyRelu,
}

impl NonLinearity {
    /// Applies the function to every entry.
    pub fn forward(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Relu => activation::relu(x),
            Self::Gelu => gelu(x),
            Self::GeluNew => activation::gelu_approximate(x),
            Self::Swish => activation::silu(x),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => activation::sigmoid(x),
            Self::LeakyRelu => activation::leaky_relu(x, 0.01),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn every_name_gives_its_function() {
        let at = |name: &str, x: f32| {
            let function: NonLinearity = serde_json::from_str(&format!("\"{name}\"")).unwrap();
            let x = Tensor::from_data([[x]], &Device::flex());
            function.forward(x).into_scalar::<f32>()
        };
        let expected = [
            ("relu", 0.0),
            ("gelu", -0.158_655),
            ("gelu_new", -0.158_808),
            ("swish", -0.268_941),
            ("silu", -0.268_941),
            ("tanh", -0.761_594),
            ("sigmoid", 0.268_941),
            ("leakyrelu", -0.01),
        ];
        for (name, value) in expected {
            let found = at(name, -1.0);
            assert!((found - value).abs() < 1e-5, "{name}: {found}");
        }
    }
}
