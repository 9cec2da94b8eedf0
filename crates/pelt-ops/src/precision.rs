//! Mixed precision: hidden states in half precision beside trained parameters in `f32`.
//!
//! The rule is one for all operations: a parameter takes the type of the rows that it is applied to, and the result has that
//! type. Norms, softmax, sigmoid and GELU are computed in `f32`. Under autodiff a parameter's gradient comes back in the
//! parameter's own type.

use burn::tensor::{DType, FloatDType, Tensor};

/// A tensor in the type of another one.
pub fn like<const D: usize, const E: usize>(tensor: Tensor<D>, other: &Tensor<E>) -> Tensor<D> {
    in_type(tensor, other.dtype())
}

/// A tensor in `f32`.
pub fn full<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    in_type(tensor, DType::F32)
}

pub(crate) fn in_type<const D: usize>(tensor: Tensor<D>, dtype: DType) -> Tensor<D> {
    match tensor.dtype() == dtype {
        true => tensor,
        false => tensor.cast(FloatDType::from(dtype)),
    }
}
