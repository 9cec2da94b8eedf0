//! Dropout of hidden states.

use super::buffer::{CHUNK, dense, for_chunks, sizes};
use super::mask::{Mask, MaskRow};
use super::op::{FlexOp, FlexTensor};
use super::vectorise::{Arithmetic, vectorised};

/// Multiplies by a mask, in both directions. Rows are those of the last dimension.
#[derive(Debug, Clone)]
pub(crate) struct Dropout(pub(crate) Mask);

impl Dropout {
    fn apply(&self, x: FlexTensor) -> FlexTensor {
        let width = sizes(&x).last().copied().unwrap_or(1).max(1);
        let rows = (CHUNK / width).max(1);
        let mut x = dense(x);
        for_chunks(x.storage_mut::<f32>(), rows * width, |number, chunk| {
            for (row, elements) in chunk.chunks_mut(width).enumerate() {
                mask_row(elements, &self.0, self.0.row((number * rows + row) as u64));
            }
        });
        x
    }
}

impl FlexOp<1> for Dropout {
    type Saved = ();

    fn forward(&self, [x]: [FlexTensor; 1], [tracked]: [bool; 1]) -> (FlexTensor, Option<()>) {
        (self.apply(x), tracked.then_some(()))
    }

    fn backward(
        &self,
        _saved: (),
        gradient: FlexTensor,
        _tracked: [bool; 1],
        _before: &mut [Option<FlexTensor>; 1],
    ) -> [Option<FlexTensor>; 1] {
        [Some(self.apply(gradient))]
    }
}

vectorised! {
    /// Multiplies a row by its mask.
    fn mask_row(elements: &mut [f32], mask: &Mask, row: MaskRow) = mask_body
}

#[inline(always)]
fn mask_body<A: Arithmetic>(elements: &mut [f32], mask: &Mask, row: MaskRow) {
    for (column, element) in elements.iter_mut().enumerate() {
        *element *= mask.factor(row, column as u32);
    }
}
