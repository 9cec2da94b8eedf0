//! The operations in burn primitives, for every backend.
//!
//! Where a backend has kernels they are tested against these.

mod attention;
mod dropout;

use std::cell::Cell;
use std::f64::consts::FRAC_1_SQRT_2;

pub use attention::attention;
use burn::tensor::Tensor;
use burn::tensor::activation::{relu, sigmoid};
pub(crate) use dropout::dropout;
use pelt_hooks::Hidden;

use crate::parts::is_cubecl;
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
    let exact = match is_cubecl(&x.device()) {
        // The backward pass of burn's own is that of the tanh approximation there.
        true => gelu_of_erf(full(x)),
        false => burn::tensor::activation::gelu(full(x)),
    };
    in_type(exact, dtype)
}

fn gelu_of_erf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let part = (x.clone() * FRAC_1_SQRT_2).erf() + 1.0;
    x * part * 0.5
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

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn gelu_of_primitives_has_the_exact_value_and_derivative() {
        let device = Device::flex().autodiff();
        let points = [-4.0, -1.3, -0.2, 0.0, 0.7, 1.0, 3.5];
        let x = Tensor::<1>::from_data(points, &device).require_grad();
        let y = gelu_of_erf(x.clone());
        let gradient = x.grad(&y.clone().sum().backward()).unwrap();
        let expected = crate::gelu(x.clone());
        let exact = x.grad(&expected.clone().sum().backward()).unwrap();
        let difference =
            |left: Tensor<1>, right: Tensor<1>| -> f32 { (left - right).abs().max().into_scalar() };
        assert!(difference(y.inner(), expected.inner()) < 1e-6);
        assert!(difference(gradient, exact) < 1e-6);
    }
}
