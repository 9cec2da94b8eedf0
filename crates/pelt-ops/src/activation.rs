//! Activations.

use burn::tensor::Tensor;

use crate::generic;

/// Exact (erf) GELU: `x Φ(x)`, any shape.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if crate::flex::serves(&x) {
        return crate::flex::run(crate::flex::gelu::Gelu, [x.into_dispatch()]);
    }
    generic::gelu(x)
}
