//! Exact GELU.

use std::mem::MaybeUninit;

use super::buffer::{CHUNK, dense, elements, filled, for_chunks, part, sizes, tensor};
use super::math::normal;
use super::op::{FlexOp, FlexTensor};
use super::vectorise::{Arithmetic, vectorised};

/// Rows that one thread takes at a time.
const ROWS: usize = 8;

/// `x Φ(x)`; backward computes Φ again from `x`.
#[derive(Debug, Clone)]
pub(crate) struct Gelu;

impl FlexOp<1> for Gelu {
    type Saved = FlexTensor;

    #[allow(unsafe_code)]
    fn forward(
        &self,
        [x]: [FlexTensor; 1],
        [tracked]: [bool; 1],
    ) -> (FlexTensor, Option<FlexTensor>) {
        let x = dense(x);
        let values = elements(&x);
        // SAFETY: the kernel writes as many elements as it reads, and `part` is as long as the chunk.
        let output = unsafe {
            filled(values.len(), CHUNK, |number, space| {
                forward_kernel(part(values, number, CHUNK), space);
            })
        };
        let output = tensor(output, sizes(&x));
        (output, tracked.then_some(x))
    }

    fn backward(
        &self,
        x: FlexTensor,
        gradient: FlexTensor,
        _tracked: [bool; 1],
        _before: &mut [Option<FlexTensor>; 1],
    ) -> [Option<FlexTensor>; 1] {
        let mut gradient = dense(gradient);
        let values = elements(&x);
        for_chunks(gradient.storage_mut::<f32>(), CHUNK, |number, chunk| {
            backward_kernel(part(values, number, CHUNK), chunk);
        });
        [Some(gradient)]
    }
}

/// Puts `gelu(x + bias)` in the place of every row `x`, on all threads.
pub(super) fn biased_in_place(rows: &mut [f32], bias: &[f32]) {
    let chunk = bias.len() * ROWS;
    for_chunks(rows, chunk, |_, rows| biased_in_place_kernel(rows, bias));
}

/// `gelu(x + bias)` of every row `x`, on all threads.
#[allow(unsafe_code)]
pub(super) fn biased(rows: &[f32], bias: &[f32]) -> Vec<f32> {
    let chunk = bias.len() * ROWS;
    // SAFETY: the kernel writes as many elements as it reads, and `part` is as long as the chunk.
    unsafe {
        filled(rows.len(), chunk, |number, space| {
            biased_kernel(part(rows, number, chunk), bias, space);
        })
    }
}

/// Multiplies the rows of `gradient` by the derivative at `x + bias`, on all threads.
pub(super) fn biased_backward(x: &[f32], bias: &[f32], gradient: &mut [f32]) {
    let chunk = bias.len() * ROWS;
    for_chunks(gradient, chunk, |number, rows| {
        biased_backward_kernel(part(x, number, chunk), bias, rows);
    });
}

vectorised! {
    fn biased_kernel(x: &[f32], bias: &[f32], output: &mut [MaybeUninit<f32>]) = biased_body
}

#[inline(always)]
fn biased_body<A: Arithmetic>(x: &[f32], bias: &[f32], output: &mut [MaybeUninit<f32>]) {
    assert_eq!(x.len(), output.len(), "gelu lengths");
    assert_eq!(x.len() % bias.len(), 0, "gelu rows");
    let width = bias.len();
    for (x, output) in x.chunks_exact(width).zip(output.chunks_exact_mut(width)) {
        for ((output, x), bias) in output.iter_mut().zip(x).zip(bias) {
            let at = *x + bias;
            output.write(at * normal::<A>(at).0);
        }
    }
}

vectorised! {
    fn biased_in_place_kernel(rows: &mut [f32], bias: &[f32]) = biased_in_place_body
}

#[inline(always)]
fn biased_in_place_body<A: Arithmetic>(rows: &mut [f32], bias: &[f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        for (x, bias) in row.iter_mut().zip(bias) {
            let at = *x + bias;
            *x = at * normal::<A>(at).0;
        }
    }
}

vectorised! {
    fn biased_backward_kernel(x: &[f32], bias: &[f32], gradient: &mut [f32]) = biased_backward_body
}

#[inline(always)]
fn biased_backward_body<A: Arithmetic>(x: &[f32], bias: &[f32], gradient: &mut [f32]) {
    let width = bias.len();
    for (row, x) in gradient.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
        for ((gradient, x), bias) in row.iter_mut().zip(x).zip(bias) {
            let at = *x + bias;
            let (below, density) = normal::<A>(at);
            *gradient *= A::mul_add(at, density, below);
        }
    }
}

vectorised! {
    fn forward_kernel(x: &[f32], output: &mut [MaybeUninit<f32>]) = forward_body
}

#[inline(always)]
fn forward_body<A: Arithmetic>(x: &[f32], output: &mut [MaybeUninit<f32>]) {
    assert_eq!(x.len(), output.len(), "gelu lengths");
    for (output, x) in output.iter_mut().zip(x) {
        output.write(x * normal::<A>(*x).0);
    }
}

vectorised! {
    /// Multiplies `gradient` by the derivative at `x`.
    fn backward_kernel(x: &[f32], gradient: &mut [f32]) = backward_body
}

#[inline(always)]
fn backward_body<A: Arithmetic>(x: &[f32], gradient: &mut [f32]) {
    for (gradient, x) in gradient.iter_mut().zip(x) {
        let (below, density) = normal::<A>(*x);
        *gradient *= A::mul_add(*x, density, below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flex::vectorise::Baseline;

    #[test]
    fn the_baseline_agrees_with_what_the_machine_picks() {
        let x: Vec<f32> = (-600..600).map(|step| step as f32 * 0.01).collect();
        let mut baseline = vec![1.0; x.len()];
        let mut picked = baseline.clone();
        backward_body::<Baseline>(&x, &mut baseline);
        backward_kernel(&x, &mut picked);
        for (baseline, picked) in baseline.iter().zip(&picked) {
            assert!((baseline - picked).abs() < 1e-6, "{baseline} and {picked}");
        }
    }
}
