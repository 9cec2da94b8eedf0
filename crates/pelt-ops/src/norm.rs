//! Layer norm.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::{add, generic};

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
        self.forward_sum([x])
    }

    /// The norm of the sum of all `rows`: what a residual connection ends with.
    ///
    /// # Shapes
    /// Each of `rows`: `[rows, d]`; result: `[rows, d]`.
    ///
    /// # Panics
    /// Without any rows, or if their shapes differ.
    pub fn forward_sum<const K: usize>(&self, rows: [Tensor<2>; K]) -> Tensor<2> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let mut rows = Vec::from(rows);
        #[cfg(feature = "flex")]
        if (1..=kernel::ROWS).contains(&K) && kernel::serves(&rows, &weight, &bias) {
            return kernel::norm(self.epsilon, rows, weight, bias);
        }
        let first = rows.remove(0);
        let sum = rows.into_iter().fold(first, add);
        generic::layer_norm(sum, weight, bias, self.epsilon)
    }
}

#[cfg(feature = "flex")]
mod kernel {
    use super::*;
    use crate::flex::{self, norm};
    use burn::backend::DispatchTensor;

    /// Tensors of rows that a call can add up; the generic body takes any number.
    pub(super) const ROWS: usize = 3;

    pub(super) fn serves(rows: &[Tensor<2>], weight: &Tensor<1>, bias: &Tensor<1>) -> bool {
        rows.iter().all(flex::serves) && flex::serves(weight) && flex::serves(bias)
    }

    pub(super) fn norm(
        epsilon: f64,
        rows: Vec<Tensor<2>>,
        weight: Tensor<1>,
        bias: Tensor<1>,
    ) -> Tensor<2> {
        let count = rows.len();
        let affine = [weight, bias].map(Tensor::into_dispatch);
        let inputs = rows.into_iter().map(Tensor::into_dispatch).chain(affine);
        let op = norm::LayerNorm {
            epsilon: epsilon as f32,
        };
        match count {
            1 => run::<3>(op, inputs),
            2 => run::<4>(op, inputs),
            _ => run::<5>(op, inputs),
        }
    }

    fn run<const N: usize>(
        op: norm::LayerNorm,
        mut inputs: impl Iterator<Item = DispatchTensor>,
    ) -> Tensor<2> {
        let inputs = std::array::from_fn(|_| inputs.next().expect("inputs were counted"));
        flex::run::<norm::LayerNorm, N, 2>(op, inputs)
    }
}
