//! Sums of two tensors of one shape.

use super::buffer::{CHUNK, dense, elements, for_chunks, part, sizes};
use super::op::{FlexOp, FlexTensor};

/// `a + b`, in the memory of `a` where nothing else needs it.
pub(crate) fn add(a: FlexTensor, b: FlexTensor) -> FlexTensor {
    let (mut a, b) = (dense(a), dense(b));
    assert_eq!(sizes(&a), sizes(&b), "shapes of a sum");
    let b = elements(&b);
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
