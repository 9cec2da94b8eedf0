//! Linear layers.

use std::mem::MaybeUninit;

use super::buffer::{CHUNK, dense, elements, filled, sizes, tensor};
use super::op::{FlexOp, FlexTensor};
use super::product::{Matrix, add_product, product};
use super::reduce::column_sums;

/// `x W + b`: the product is added to rows that hold the bias already.
#[derive(Debug, Clone)]
pub(crate) struct Linear;

/// What backward reads: `x` for the gradient of the weight, the weight for that of `x`.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    x: Option<FlexTensor>,
    weight: Option<FlexTensor>,
}

impl FlexOp<3> for Linear {
    type Saved = Saved;

    fn forward(
        &self,
        [x, weight, bias]: [FlexTensor; 3],
        tracked: [bool; 3],
    ) -> (FlexTensor, Option<Saved>) {
        let (x, weight, bias) = (forward_strides(x), forward_strides(weight), dense(bias));
        let (left, right) = (Matrix::of(&x), Matrix::of(&weight));
        let shape = vec![left.rows(), right.columns()];
        assert_eq!(elements(&bias).len(), right.columns(), "width of a bias");
        let mut output = repeat_row(elements(&bias), left.rows());
        add_product(&mut output, left, right);
        let saved = tracked.contains(&true).then_some(Saved {
            x: tracked[1].then_some(x),
            weight: tracked[0].then_some(weight),
        });
        (tensor(output, shape), saved)
    }

    fn backward(
        &self,
        saved: Saved,
        gradient: FlexTensor,
        tracked: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let gradient = dense(gradient);
        let rows = Matrix::of(&gradient);
        let for_x = saved.weight.map(|weight| {
            let weight = Matrix::of(&weight);
            tensor(
                product(rows, weight.transposed()),
                vec![rows.rows(), weight.rows()],
            )
        });
        let for_weight = saved.x.map(|x| {
            let x = Matrix::of(&x).transposed();
            tensor(product(x, rows), vec![x.rows(), rows.columns()])
        });
        let for_bias = tracked[2].then(|| {
            let width = sizes(&gradient)[1];
            tensor(column_sums(elements(&gradient), width), vec![width])
        });
        [for_x, for_weight, for_bias]
    }
}

/// The product takes any layout but a flipped one.
fn forward_strides(matrix: FlexTensor) -> FlexTensor {
    match matrix.layout().strides().iter().all(|stride| *stride >= 0) {
        true => matrix,
        false => dense(matrix),
    }
}

#[allow(unsafe_code)]
fn repeat_row(row: &[f32], count: usize) -> Vec<f32> {
    let width = row.len().max(1);
    let rows = (CHUNK / width).max(1);
    // SAFETY: chunks are made of whole rows, and each of them is written by a copy of `row`.
    unsafe {
        filled(count * row.len(), rows * width, |_, space| {
            for place in space.chunks_exact_mut(width) {
                let copy = |(place, value): (&mut MaybeUninit<f32>, &f32)| {
                    place.write(*value);
                };
                place.iter_mut().zip(row).for_each(copy);
            }
        })
    }
}
