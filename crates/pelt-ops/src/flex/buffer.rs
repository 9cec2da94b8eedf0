//! Getting at the numbers of a Flex tensor, and making new ones, on all threads.

use std::mem::MaybeUninit;

use burn::tensor::TensorData;
use rayon::prelude::*;

use super::op::FlexTensor;

/// Work below this many elements is done on the calling thread.
pub(crate) const PARALLEL: usize = 1 << 14;

/// Elements that one thread takes at a time.
pub(crate) const CHUNK: usize = 1 << 13;

/// The tensor with its elements in order and nothing else in its storage.
pub(crate) fn dense(tensor: FlexTensor) -> FlexTensor {
    // `to_contiguous` gives a second handle on storage that is dense already; dropping the first keeps it unique.
    let dense = tensor.to_contiguous();
    drop(tensor);
    dense
}

/// The elements of a dense tensor.
pub(crate) fn elements(tensor: &FlexTensor) -> &[f32] {
    tensor.storage::<f32>()
}

/// The sizes of a tensor.
pub(crate) fn sizes(tensor: &FlexTensor) -> Vec<usize> {
    tensor.layout().shape().to_vec()
}

/// A tensor of these elements.
pub(crate) fn tensor(elements: Vec<f32>, sizes: Vec<usize>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(elements, sizes))
}

/// `count` elements that `fill(chunk number, chunk)` writes, `chunk` elements at a time, on all threads.
///
/// Zeroing a large buffer first would cost as much as the cheaper kernels themselves.
///
/// # Safety
/// `fill` must write every element of the chunk that it is given.
#[allow(unsafe_code)]
pub(crate) unsafe fn filled(
    count: usize,
    chunk: usize,
    fill: impl Fn(usize, &mut [MaybeUninit<f32>]) + Sync,
) -> Vec<f32> {
    let mut buffer = Vec::<f32>::with_capacity(count);
    let space = &mut buffer.spare_capacity_mut()[..count];
    for_chunks(space, chunk, fill);
    // SAFETY: the capacity is at least `count`, and the caller promises that all chunks have been written.
    unsafe { buffer.set_len(count) };
    buffer
}

/// Calls `work(chunk number, chunk)` for each `chunk` elements, on all threads where there is enough to do.
pub(crate) fn for_chunks<T: Send>(
    elements: &mut [T],
    chunk: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let chunk = chunk.max(1);
    if elements.len() < PARALLEL {
        for (number, part) in elements.chunks_mut(chunk).enumerate() {
            work(number, part);
        }
    } else {
        elements
            .par_chunks_mut(chunk)
            .enumerate()
            .for_each(|(number, part)| work(number, part));
    }
}

/// The part of `elements` that chunk `number` of `chunk` elements covers.
pub(crate) fn part(elements: &[f32], number: usize, chunk: usize) -> &[f32] {
    let start = number * chunk;
    &elements[start..elements.len().min(start + chunk)]
}
