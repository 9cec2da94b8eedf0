//! Layer norm.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::generic;

/// `y = (x - mean) / sqrt(variance + ε) ⊙ weight + bias`, mean and (biased) variance over each row.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[d]`.
    pub weight: Param<Tensor<1>>,
    /// `[d]`.
    pub bias: Param<Tensor<1>>,
    /// ε, added to the variance.
    pub epsilon: f64,
}

impl LayerNorm {
    /// # Shapes
    /// `[rows, d]` to `[rows, d]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        #[cfg(feature = "flex")]
        if kernel::serves(&[&x], &weight, &bias) {
            let inputs = [
                x.into_dispatch(),
                weight.into_dispatch(),
                bias.into_dispatch(),
            ];
            return crate::flex::run(kernel::op(self.epsilon), inputs);
        }
        generic::layer_norm(x, weight, bias, self.epsilon)
    }

    /// The norm of `x + residual`.
    ///
    /// # Shapes
    /// `x` and `residual`: `[rows, d]`; result: `[rows, d]`.
    pub fn forward_residual(&self, x: Tensor<2>, residual: Tensor<2>) -> Tensor<2> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        #[cfg(feature = "flex")]
        if kernel::serves(&[&x, &residual], &weight, &bias) {
            let [x, residual] = [x, residual].map(Tensor::into_dispatch);
            let [weight, bias] = [weight, bias].map(Tensor::into_dispatch);
            return crate::flex::run(kernel::op(self.epsilon), [x, residual, weight, bias]);
        }
        generic::layer_norm(x + residual, weight, bias, self.epsilon)
    }
}

#[cfg(feature = "flex")]
mod kernel {
    use super::*;
    use crate::flex::{self, norm};

    pub(super) fn serves(rows: &[&Tensor<2>], weight: &Tensor<1>, bias: &Tensor<1>) -> bool {
        rows.iter().all(|rows| flex::serves(rows)) && flex::serves(weight) && flex::serves(bias)
    }

    pub(super) fn op(epsilon: f64) -> norm::LayerNorm {
        norm::LayerNorm {
            epsilon: epsilon as f32,
        }
    }
}
