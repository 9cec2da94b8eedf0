//! Layer norm, alone and with the residual connection in front of it.

use std::mem::MaybeUninit;
use std::sync::Arc;

use super::buffer::{
    PARALLEL, dense, elements, filled_beside, for_chunks, for_parts, part, sizes, tensor,
};
use super::op::{FlexOp, FlexTensor};
use super::reduce::{BLOCK, add_rows};
use super::sum::add;
use super::vectorise::{Arithmetic, sum, vectorised};

/// The norm of the sum of all inputs but the last two, which are weight and bias.
#[derive(Debug, Clone)]
pub(crate) struct LayerNorm {
    /// ε.
    pub(crate) epsilon: f32,
}

/// What backward reads.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    /// What was normalised.
    x: FlexTensor,
    weight: FlexTensor,
    /// Mean, and one over the standard deviation, of every row.
    moments: Arc<[f32]>,
}

impl<const N: usize> FlexOp<N> for LayerNorm {
    type Saved = Saved;

    #[allow(unsafe_code)]
    fn forward(&self, inputs: [FlexTensor; N], tracked: [bool; N]) -> (FlexTensor, Option<Saved>) {
        let mut inputs = inputs.into_iter().map(dense);
        let mut rows: Vec<FlexTensor> = inputs.by_ref().take(N - 2).collect();
        let affine: Vec<FlexTensor> = inputs.collect();
        let (weight, bias) = (&affine[0], &affine[1]);
        // The sum is built in the memory of one that nothing else needs, if there is such a one.
        let own = rows.iter().position(FlexTensor::is_unique).unwrap_or(0);
        let mut x = rows.remove(own);
        if !rows.is_empty() && !x.is_unique() {
            x = add(x, rows.remove(0));
        }
        let shape = sizes(&x);
        let width = elements(weight).len();
        assert_eq!(shape.last(), Some(&width), "width of a layer norm");
        for other in &rows {
            assert_eq!(shape, sizes(other), "shapes of a residual connection");
        }
        let others: Vec<&[f32]> = rows.iter().map(elements).collect();
        let affine = (elements(weight), elements(bias));
        let count = elements(&x).len();
        let block = (BLOCK * width).max(1);
        let mut moments = vec![0.0; 2 * count / width.max(1)];
        // SAFETY: the kernel writes one element for each that it reads, and chunks are made of whole rows.
        let output = unsafe {
            if others.is_empty() {
                let x = elements(&x);
                let beside = [(moments.as_mut_slice(), 2 * BLOCK)];
                filled_beside(count, block, beside, |number, output, [moments]| {
                    forward_kernel(
                        output,
                        part(x, number, block),
                        moments,
                        affine,
                        self.epsilon,
                    );
                })
            } else {
                let beside = [
                    (x.storage_mut::<f32>(), block),
                    (moments.as_mut_slice(), 2 * BLOCK),
                ];
                filled_beside(count, block, beside, |number, output, [x, moments]| {
                    for other in &others {
                        accumulate(x, part(other, number, block));
                    }
                    forward_kernel(output, x, moments, affine, self.epsilon);
                })
            }
        };
        let saved = tracked.contains(&true).then(|| Saved {
            x,
            weight: weight.clone(),
            moments: moments.into(),
        });
        (tensor(output, shape), saved)
    }

    fn backward(
        &self,
        saved: Saved,
        gradient: FlexTensor,
        tracked: [bool; N],
        _before: &mut [Option<FlexTensor>; N],
    ) -> [Option<FlexTensor>; N] {
        let mut gradient = dense(gradient);
        let (x, weight) = (elements(&saved.x), elements(&saved.weight));
        let width = weight.len();
        let block = (BLOCK * width).max(1);
        let affine_wanted = tracked[N - 2] || tracked[N - 1];
        let partial_width = if affine_wanted { 2 * width } else { 0 };
        // Of each block of rows: the sums for the weight, then those for the bias.
        let mut partial = vec![0.0; x.len().div_ceil(block) * partial_width];
        {
            let gradient = gradient.storage_mut::<f32>();
            let worth_it = gradient.len() >= PARALLEL;
            let work = |number: usize, gradient: &mut [f32], partial: &mut [f32]| {
                let x = part(x, number, block);
                let moments = &saved.moments[2 * number * BLOCK..];
                if affine_wanted {
                    affine_kernel(partial, gradient, x, moments, width);
                }
                backward_kernel(gradient, x, moments, weight);
            };
            match affine_wanted {
                true => for_parts(
                    [(gradient, block), (&mut partial, partial_width)],
                    worth_it,
                    |number, [gradient, partial]| work(number, gradient, partial),
                ),
                false => for_chunks(gradient, block, |number, gradient| {
                    work(number, gradient, &mut []);
                }),
            }
        }
        let mut total = vec![0.0; partial_width];
        add_rows(&mut total, &partial);
        std::array::from_fn(|input| {
            let found = match N - input {
                2 => tensor(total.get(..width)?.to_vec(), vec![width]),
                1 => tensor(total.get(width..)?.to_vec(), vec![width]),
                _ => gradient.clone(),
            };
            tracked[input].then_some(found)
        })
    }
}

vectorised! {
    fn accumulate(total: &mut [f32], other: &[f32]) = accumulate_body
}

#[inline(always)]
fn accumulate_body<A: Arithmetic>(total: &mut [f32], other: &[f32]) {
    for (total, other) in total.iter_mut().zip(other) {
        *total += other;
    }
}

vectorised! {
    fn forward_kernel(
        output: &mut [MaybeUninit<f32>],
        x: &[f32],
        moments: &mut [f32],
        affine: (&[f32], &[f32]),
        epsilon: f32,
    ) = forward_body
}

#[inline(always)]
fn forward_body<A: Arithmetic>(
    output: &mut [MaybeUninit<f32>],
    x: &[f32],
    moments: &mut [f32],
    (weight, bias): (&[f32], &[f32]),
    epsilon: f32,
) {
    let width = weight.len();
    let bias = &bias[..width];
    assert_eq!(output.len(), x.len(), "sizes of a norm");
    let rows = output.chunks_exact_mut(width).zip(x.chunks_exact(width));
    for ((output, x), moments) in rows.zip(moments.chunks_exact_mut(2)) {
        let mean = sum(x, x, x, |x, _, _| x) / width as f32;
        let variance = sum(x, x, x, |x, _, _| (x - mean) * (x - mean)) / width as f32;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        moments.copy_from_slice(&[mean, inverse]);
        for i in 0..width {
            output[i].write(A::mul_add((x[i] - mean) * inverse, weight[i], bias[i]));
        }
    }
}

vectorised! {
    /// Turns the gradient of the output into that of `x`, in place.
    fn backward_kernel(
        gradient: &mut [f32],
        x: &[f32],
        moments: &[f32],
        weight: &[f32],
    ) = backward_body
}

#[inline(always)]
fn backward_body<A: Arithmetic>(gradient: &mut [f32], x: &[f32], moments: &[f32], weight: &[f32]) {
    let width = weight.len();
    let rows = gradient.chunks_exact_mut(width).zip(x.chunks_exact(width));
    for ((gradient, x), moments) in rows.zip(moments.chunks_exact(2)) {
        let (mean, inverse) = (moments[0], moments[1]);
        let average = sum(gradient, weight, x, |g, w, _| g * w) / width as f32;
        let along = sum(gradient, weight, x, |g, w, x| g * w * (x - mean)) / width as f32;
        let slope = along * inverse * inverse;
        for i in 0..width {
            let centred = A::mul_add(gradient[i], weight[i], -average);
            gradient[i] = inverse * A::mul_add(mean - x[i], slope, centred);
        }
    }
}

vectorised! {
    /// Adds the rows' gradients of weight and bias to the two halves of `total`.
    fn affine_kernel(
        total: &mut [f32],
        gradient: &[f32],
        x: &[f32],
        moments: &[f32],
        width: usize,
    ) = affine_body
}

#[inline(always)]
fn affine_body<A: Arithmetic>(
    total: &mut [f32],
    gradient: &[f32],
    x: &[f32],
    moments: &[f32],
    width: usize,
) {
    let (weight, bias) = total.split_at_mut(width);
    let rows = gradient.chunks_exact(width).zip(x.chunks_exact(width));
    for ((gradient, x), moments) in rows.zip(moments.chunks_exact(2)) {
        let (mean, inverse) = (moments[0], moments[1]);
        for i in 0..width {
            weight[i] = A::mul_add(gradient[i], (x[i] - mean) * inverse, weight[i]);
            bias[i] += gradient[i];
        }
    }
}
