//! Dropout of hidden states.

use std::mem::MaybeUninit;

use super::buffer::{CHUNK, dense, elements, filled, for_chunks, part, sizes, tensor};
use super::op::{FlexOp, FlexTensor};
use super::vectorise::{Arithmetic, vectorised};
use crate::mask::{Mask, MaskRow};

/// Multiplies by a mask, in both directions. Rows are those of the last dimension.
#[derive(Debug, Clone)]
pub(crate) struct Dropout(pub(crate) Mask);

impl Dropout {
    #[allow(unsafe_code)]
    fn apply(&self, x: FlexTensor) -> FlexTensor {
        let width = sizes(&x).last().copied().unwrap_or(1).max(1);
        let rows = (CHUNK / width).max(1);
        let mut x = dense(x);
        if !x.is_unique() {
            let values = elements(&x);
            // SAFETY: the kernel writes as many elements as it reads, and `part` is as long as the chunk.
            let output = unsafe {
                filled(values.len(), rows * width, |number, space| {
                    let values = part(values, number, rows * width);
                    let lines = space.chunks_mut(width).zip(values.chunks(width));
                    for (row, (space, values)) in lines.enumerate() {
                        let row = self.0.row((number * rows + row) as u64);
                        masked_row(space, values, &self.0, row);
                    }
                })
            };
            return tensor(output, sizes(&x));
        }
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
    /// Writes a row times its mask.
    fn masked_row(
        output: &mut [MaybeUninit<f32>],
        elements: &[f32],
        mask: &Mask,
        row: MaskRow,
    ) = masked_body
}

#[inline(always)]
fn masked_body<A: Arithmetic>(
    output: &mut [MaybeUninit<f32>],
    elements: &[f32],
    mask: &Mask,
    row: MaskRow,
) {
    assert_eq!(output.len(), elements.len(), "sizes of a masked row");
    for (column, (output, element)) in output.iter_mut().zip(elements).enumerate() {
        output.write(element * mask.factor(row, column as u32));
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
