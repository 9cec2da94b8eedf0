//! The activation of the network that makes prefixes.

use burn::tensor::{Tensor, activation};
use pelt_ops::gelu;
use serde::{Deserialize, Serialize};

/// The activation between the two linear layers, spelt as in AdapterHub's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NonLinearity {
    /// Hyperbolic tangent.
    #[default]
    Tanh,
    /// `max(x, 0)`.
    Relu,
    /// `x Φ(x)`, exact.
    Gelu,
    /// `x σ(x)`, also called SiLU.
    #[serde(alias = "silu")]
    Swish,
}

impl NonLinearity {
    /// Applies the function to every entry.
    pub fn forward(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Tanh => x.tanh(),
            Self::Relu => activation::relu(x),
            Self::Gelu => gelu(x),
            Self::Swish => activation::silu(x),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn every_variant_is_its_function() {
        let at = |function: NonLinearity| {
            let x = Tensor::from_data([[-1.0]], &Device::flex());
            function.forward(x).into_scalar::<f32>()
        };
        assert!((at(NonLinearity::Tanh) + 0.761_594).abs() < 1e-5);
        assert_eq!(at(NonLinearity::Relu), 0.0);
        assert!((at(NonLinearity::Gelu) + 0.158_655).abs() < 1e-5);
        assert!((at(NonLinearity::Swish) + 0.268_941).abs() < 1e-5);
    }
}
