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
        if crate::flex::serves(&x) && crate::flex::serves(&weight) && crate::flex::serves(&bias) {
            let inputs = [
                x.into_dispatch(),
                weight.into_dispatch(),
                bias.into_dispatch(),
            ];
            return crate::flex::run(crate::flex::linear::Linear, inputs);
        }
        generic::linear(x, weight, bias)
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
