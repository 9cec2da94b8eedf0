//! Linear layers.

use super::buffer::{dense, elements, sizes, tensor};
use super::gelu;
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
        let saved = tracked
            .contains(&true)
            .then(|| Saved::of(x, weight, tracked));
        (tensor(output, shape), saved)
    }

    fn backward(
        &self,
        saved: Saved,
        gradient: FlexTensor,
        tracked: [bool; 3],
        before: &mut [Option<FlexTensor>; 3],
    ) -> [Option<FlexTensor>; 3] {
        saved.gradients(dense(gradient), tracked, before)
    }
}

impl Saved {
    /// What the inputs that are tracked need.
    fn of(x: FlexTensor, weight: FlexTensor, tracked: [bool; 3]) -> Self {
        Self {
            x: tracked[1].then_some(x),
            weight: tracked[0].then_some(weight),
        }
    }

    /// The gradients of `x`, weight and bias from that of `x W + b`, which is dense.
    fn gradients(
        self,
        gradient: FlexTensor,
        tracked: [bool; 3],
        before: &mut [Option<FlexTensor>; 3],
    ) -> [Option<FlexTensor>; 3] {
        let rows = Matrix::of(&gradient);
        let for_x = self.weight.map(|weight| {
            let weight = Matrix::of(&weight).transposed();
            match before[0].take() {
                Some(before) => product_onto(before, rows, weight),
                None => tensor(product(rows, weight), vec![rows.rows(), weight.columns()]),
            }
        });
        let for_weight = self.x.map(|x| {
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

/// `gelu(x W + b)`. The bias is added where the activation is computed, so that the product is written once and read once.
#[derive(Debug, Clone)]
pub(crate) struct LinearGelu;

/// What the layer's backward reads, and `x W` and the bias for that of the activation.
#[derive(Debug, Clone)]
pub(crate) struct SavedWithGelu {
    linear: Saved,
    product: FlexTensor,
    bias: FlexTensor,
}

impl FlexOp<3> for LinearGelu {
    type Saved = SavedWithGelu;

    fn forward(
        &self,
        [x, weight, bias]: [FlexTensor; 3],
        tracked: [bool; 3],
    ) -> (FlexTensor, Option<SavedWithGelu>) {
        let (x, weight, bias) = (forward_strides(x), forward_strides(weight), dense(bias));
        let (left, right) = (Matrix::of(&x), Matrix::of(&weight));
        let shape = vec![left.rows(), right.columns()];
        let mut product = product(left, right);
        if !tracked.contains(&true) {
            gelu::biased_in_place(&mut product, elements(&bias));
            return (tensor(product, shape), None);
        }
        let output = tensor(gelu::biased(&product, elements(&bias)), shape.clone());
        let saved = SavedWithGelu {
            linear: Saved::of(x, weight, tracked),
            product: tensor(product, shape),
            bias,
        };
        (output, Some(saved))
    }

    fn backward(
        &self,
        saved: SavedWithGelu,
        gradient: FlexTensor,
        tracked: [bool; 3],
        before: &mut [Option<FlexTensor>; 3],
    ) -> [Option<FlexTensor>; 3] {
        let mut gradient = dense(gradient);
        let (product, bias) = (elements(&saved.product), elements(&saved.bias));
        gelu::biased_backward(product, bias, gradient.storage_mut::<f32>());
        saved.linear.gradients(gradient, tracked, before)
    }
}

/// The product takes any layout but a flipped one.
fn forward_strides(matrix: FlexTensor) -> FlexTensor {
    match matrix.layout().strides().iter().all(|stride| *stride >= 0) {
        true => matrix,
        false => dense(matrix),
    }
}
