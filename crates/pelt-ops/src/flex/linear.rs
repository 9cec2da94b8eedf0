//! Linear layers.

use super::buffer::{dense, elements, sizes, tensor};
use super::op::{FlexOp, FlexTensor};
use super::product::{Matrix, product, product_onto, product_with_bias};
use super::reduce::column_sums;

/// `x W + b`.
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
        let output = product_with_bias(left, right, Some(elements(&bias)));
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
        before: &mut [Option<FlexTensor>; 3],
    ) -> [Option<FlexTensor>; 3] {
        let gradient = dense(gradient);
        let rows = Matrix::of(&gradient);
        let for_x = saved.weight.map(|weight| {
            let weight = Matrix::of(&weight).transposed();
            match before[0].take() {
                Some(before) => product_onto(before, rows, weight),
                None => tensor(product(rows, weight), vec![rows.rows(), weight.columns()]),
            }
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
