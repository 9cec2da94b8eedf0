//! AdamW in one pass over values, gradients and moments.

use burn::tensor::Tensor;

use super::buffer::{CHUNK, PARALLEL, dense, elements, for_parts, part};
use super::op::{from_flex, into_flex};
use super::vectorise::{Arithmetic, vectorised};
use crate::AdamWStep;

/// What [`adamw`](crate::adamw) computes.
pub(crate) fn step(
    value: Tensor<1>,
    gradient: Tensor<1>,
    [first, second]: [Tensor<1>; 2],
    step: &AdamWStep,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    let gradient = dense(into_flex(gradient));
    let gradient = elements(&gradient);
    let [mut value, mut first, mut second] =
        [value, first, second].map(|tensor| dense(into_flex(tensor)));
    {
        let value = value.storage_mut::<f32>();
        let [first, second] = [&mut first, &mut second].map(|moment| moment.storage_mut::<f32>());
        let sizes = [value.len(), first.len(), second.len()];
        assert_eq!(sizes, [gradient.len(); 3], "sizes of an update");
        for_parts(
            [value, first, second].map(|slice| (slice, CHUNK)),
            gradient.len() >= PARALLEL,
            |number, [value, first, second]| {
                update(value, first, second, part(gradient, number, CHUNK), step);
            },
        );
    }
    (from_flex(value), [from_flex(first), from_flex(second)])
}

/// What [`sum_of_squares`](crate::sum_of_squares) computes; the order of the additions is fixed.
pub(crate) fn sum_of_squares(x: Tensor<1>) -> f64 {
    let x = dense(into_flex(x));
    let x = elements(&x);
    let mut sums = vec![0.0; x.len().div_ceil(CHUNK)];
    for_parts([(&mut sums, 1)], x.len() >= PARALLEL, |number, [sum]| {
        squares(part(x, number, CHUNK), sum)
    });
    sums.iter().sum()
}

vectorised! {
    fn squares(x: &[f32], sum: &mut [f64]) = squares_body
}

#[inline(always)]
fn squares_body<A: Arithmetic>(x: &[f32], sum: &mut [f64]) {
    let (lanes, rest) = x.as_chunks::<8>();
    let mut sums = [0.0_f64; 8];
    for lane in lanes {
        for (sum, x) in sums.iter_mut().zip(lane) {
            *sum += f64::from(*x) * f64::from(*x);
        }
    }
    sum[0] = sums.iter().sum();
    for x in rest {
        sum[0] += f64::from(*x) * f64::from(*x);
    }
}

vectorised! {
    fn update(
        value: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        gradient: &[f32],
        step: &AdamWStep,
    ) = update_body
}

#[inline(always)]
fn update_body<A: Arithmetic>(
    value: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    gradient: &[f32],
    step: &AdamWStep,
) {
    let [scale, beta_1, beta_2, epsilon] =
        [step.gradient_scale, step.beta_1, step.beta_2, step.epsilon].map(|number| number as f32);
    let [rest_1, rest_2] = [1.0 - step.beta_1, 1.0 - step.beta_2].map(|number| number as f32);
    let [rate, decay] = [step.rate, step.decay].map(|number| number as f32);
    let correction = (1.0 / step.correction_2) as f32;
    let count = gradient.len();
    let (value, first, second) = (
        &mut value[..count],
        &mut first[..count],
        &mut second[..count],
    );
    for i in 0..count {
        let g = gradient[i] * scale;
        first[i] = A::mul_add(first[i], beta_1, g * rest_1);
        second[i] = A::mul_add(second[i], beta_2, g * g * rest_2);
        let root = (second[i] * correction).sqrt() + epsilon;
        value[i] = A::mul_add(value[i], decay, -(first[i] / root * rate));
    }
}
