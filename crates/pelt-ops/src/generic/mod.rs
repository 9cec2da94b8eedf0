//! The operations in burn primitives, for every backend.
//!
//! Where a backend has kernels they are tested against these.

mod attention;

use std::cell::Cell;

pub use attention::attention;
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Device, Tensor, TensorData};
use pelt_hooks::Hidden;

use crate::mask::Mask;
use crate::precision::{full, in_type, like};
use crate::{AdamWStep, Narrow};

thread_local! {
    static FORCED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` with the bodies of this module in place of all kernels, on this thread: for comparisons.
pub fn force<T>(work: impl FnOnce() -> T) -> T {
    let before = FORCED.replace(true);
    let result = work();
    FORCED.set(before);
    result
}

/// Whether [`force`] is in effect on this thread.
#[cfg(feature = "flex")]
pub(crate) fn is_forced() -> bool {
    FORCED.get()
}

/// What [`gelu`](crate::gelu) computes.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let dtype = x.dtype();
    in_type(burn::tensor::activation::gelu(full(x)), dtype)
}

/// What [`dropout`](crate::dropout) computes; the mask is made on the host.
pub(crate) fn dropout<const D: usize>(x: Tensor<D>, mask: &Mask) -> Tensor<D> {
    let dims = x.dims();
    let width = dims[D - 1];
    let rows: usize = dims[..D - 1].iter().product();
    let factors = factors(mask, 0..rows as u64, width, dims, &x.device().inner());
    let factors = like(factors, &x);
    x * factors
}

/// What the mask multiplies these rows of `width` entries by.
fn factors<const D: usize>(
    mask: &Mask,
    rows: impl Iterator<Item = u64>,
    width: usize,
    dims: [usize; D],
    device: &Device,
) -> Tensor<D> {
    let mut factors = Vec::with_capacity(dims.iter().product());
    for row in rows {
        let row = mask.row(row);
        factors.extend((0..width as u32).map(|column| mask.factor(row, column)));
    }
    Tensor::from_data(TensorData::new(factors, dims), device)
}

/// What [`LayerNorm::forward`](crate::LayerNorm::forward) computes.
///
/// # Shapes
/// `x`: `[rows, d]`; `weight`, `bias`: `[d]`; result: `[rows, d]`.
pub fn layer_norm(x: Tensor<2>, weight: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Tensor<2> {
    let dtype = x.dtype();
    let x = full(x);
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.clone().powi_scalar(2).mean_dim(1);
    let normed = centred / (variance + epsilon).sqrt();
    let normed = normed * full(weight).unsqueeze() + full(bias).unsqueeze();
    in_type(normed, dtype)
}

/// What [`Linear::forward`](crate::Linear::forward) computes.
///
/// # Shapes
/// `x`: `[rows, in]`; `weight`: `[in, out]`; `bias`: `[out]`; result: `[rows, out]`.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    let (weight, bias) = (like(weight, &x), like(bias, &x));
    x.matmul(weight) + bias.unsqueeze()
}

/// What [`adamw`](crate::adamw) computes.
///
/// # Shapes
/// All `[entries]`.
pub fn adamw(
    value: Tensor<1>,
    gradient: Tensor<1>,
    [first, second]: [Tensor<1>; 2],
    step: &AdamWStep,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    let gradient = gradient * step.gradient_scale;
    let first = first * step.beta_1 + gradient.clone() * (1.0 - step.beta_1);
    let second = second * step.beta_2 + gradient.powi_scalar(2) * (1.0 - step.beta_2);
    let root = (second.clone() / step.correction_2).sqrt() + step.epsilon;
    let value = value * step.decay - first.clone() / root * step.rate;
    (value, [first, second])
}

/// What [`Narrow::forward`](crate::Narrow::forward) computes.
pub fn narrow(network: Narrow<'_>, x: Tensor<2>) -> Tensor<2> {
    let (down_bias, up_bias) = network.biases.unzip();
    let [down, up] = [network.down, network.up].map(|matrix| like(matrix, &x));
    let mut inner = x.clone().matmul(down);
    if let Some(bias) = down_bias {
        inner = inner + like(bias, &x).unsqueeze();
    }
    if network.relu {
        inner = relu(inner);
    }
    if network.scale != 1.0 {
        inner = inner * network.scale;
    }
    let mut output = inner.matmul(up);
    if let Some(bias) = up_bias {
        output = output + like(bias * network.scale, &x).unsqueeze();
    }
    match network.gate {
        Some((gate, packing)) => output * like(packing.spread(gate), &x),
        None => output,
    }
}

/// What [`gate`](crate::gate) computes.
///
/// # Shapes
/// `weight`: `[d, columns]`; `bias`: `[columns]`; result: `[sequences, columns]`.
pub fn gate(x: Hidden, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    let weight = like(weight, &x.values);
    let scores = full(x.values.matmul(weight)) + full(bias).unsqueeze();
    x.packing.mean(sigmoid(scores))
}
