//! Linear layers.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::generic;

/// `y = x W + b`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[in, out]` (files hold the transpose).
    pub weight: Param<Tensor<2>>,
    /// `[out]`.
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    /// # Shapes
    /// `[rows, in]` to `[rows, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        #[cfg(feature = "flex")]
        if served([&x, &weight], &bias) {
            return run(crate::flex::linear::Linear, x, weight, bias);
        }
        generic::linear(x, weight, bias)
    }

    /// [`gelu`](crate::gelu) of [`forward`](Self::forward), which takes less time than one after the other.
    ///
    /// # Shapes
    /// `[rows, in]` to `[rows, out]`.
    pub fn forward_gelu(&self, x: Tensor<2>) -> Tensor<2> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        #[cfg(feature = "flex")]
        if served([&x, &weight], &bias) {
            return run(crate::flex::linear::LinearGelu, x, weight, bias);
        }
        generic::gelu(generic::linear(x, weight, bias))
    }

    /// Width of a row that goes in.
    pub fn inputs(&self) -> usize {
        self.weight.lazy_shape()[0]
    }

    /// Width of a row that comes out.
    pub fn outputs(&self) -> usize {
        self.weight.lazy_shape()[1]
    }
}

#[cfg(feature = "flex")]
fn served(matrices: [&Tensor<2>; 2], bias: &Tensor<1>) -> bool {
    matrices.into_iter().all(crate::flex::serves) && crate::flex::serves(bias)
}

#[cfg(feature = "flex")]
fn run<O: crate::flex::FlexOp<3>>(
    op: O,
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Tensor<1>,
) -> Tensor<2> {
    let inputs = [
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ];
    crate::flex::run(op, inputs)
}
