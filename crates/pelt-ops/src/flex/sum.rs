//! Sums of two tensors of one shape.

use super::buffer::{CHUNK, dense, elements, filled, for_chunks, part, sizes, tensor};
use super::op::{FlexOp, FlexTensor};

/// `a + b`, in the memory of one of them where nothing else needs it.
#[allow(unsafe_code)]
pub(crate) fn add(a: FlexTensor, b: FlexTensor) -> FlexTensor {
    let (mut a, mut b) = (dense(a), dense(b));
    assert_eq!(sizes(&a), sizes(&b), "shapes of a sum");
    if !a.is_unique() {
        std::mem::swap(&mut a, &mut b);
    }
    let b = elements(&b);
    if !a.is_unique() {
        let values = elements(&a);
        // SAFETY: as many elements are written as the chunk has, which are as many as the parts have.
        let sum = unsafe {
            filled(values.len(), CHUNK, |number, space| {
                let parts = part(values, number, CHUNK)
                    .iter()
                    .zip(part(b, number, CHUNK));
                for (place, (a, b)) in space.iter_mut().zip(parts) {
                    place.write(a + b);
                }
            })
        };
        return tensor(sum, sizes(&a));
    }
    for_chunks(a.storage_mut::<f32>(), CHUNK, |number, chunk| {
        for (a, b) in chunk.iter_mut().zip(part(b, number, CHUNK)) {
            *a += b;
        }
    });
    a
}

/// [`add`] as an operation, in the memory of `a` where nothing else needs it.
#[derive(Debug, Clone)]
pub(crate) struct Sum;

impl FlexOp<2> for Sum {
    type Saved = ();

    fn forward(&self, [a, b]: [FlexTensor; 2], _tracked: [bool; 2]) -> (FlexTensor, Option<()>) {
        (add(a, b), Some(()))
    }

    fn backward(
        &self,
        _saved: (),
        gradient: FlexTensor,
        tracked: [bool; 2],
        _before: &mut [Option<FlexTensor>; 2],
    ) -> [Option<FlexTensor>; 2] {
        tracked.map(|tracked| tracked.then(|| gradient.clone()))
    }
}
