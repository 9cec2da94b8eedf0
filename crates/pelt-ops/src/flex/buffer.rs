//! Getting at the numbers of a Flex tensor, and making new ones, on all threads.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::op::FlexTensor;
use super::parallel;
use burn::tensor::TensorData;

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
    // SAFETY: as the caller promises.
    unsafe { filled_beside(count, chunk, [], |number, chunk, []| fill(number, chunk)) }
}

/// As [`filled`], where `fill` also gets the parts of the same number of other slices, each of which comes with the
/// length of its parts.
///
/// # Safety
/// `fill` must write every element of the chunk that it is given.
///
/// # Panics
/// If a slice has another number of parts than there are chunks.
#[allow(unsafe_code)]
pub(crate) unsafe fn filled_beside<const N: usize>(
    count: usize,
    chunk: usize,
    beside: [(&mut [f32], usize); N],
    fill: impl Fn(usize, &mut [MaybeUninit<f32>], [&mut [f32]; N]) + Sync,
) -> Vec<f32> {
    let mut buffer = Vec::<f32>::with_capacity(count);
    let space = &mut buffer.spare_capacity_mut()[..count];
    let beside = beside.map(|(slice, part)| Parts::new(slice, part));
    let chunks = space.len().div_ceil(chunk.max(1));
    assert!(
        beside.iter().all(|slice| slice.count() == chunks),
        "numbers of parts"
    );
    for_chunks(space, chunk, |number, chunk| {
        // SAFETY: each number is used once.
        let parts = beside.each_ref().map(|slice| unsafe { slice.get(number) });
        fill(number, chunk, parts);
    });
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
    let worth_it = elements.len() >= PARALLEL;
    for_parts([(elements, chunk)], worth_it, |number, [part]| {
        work(number, part);
    });
}

/// Calls `work(number, parts)` with the parts of that number of every slice, on all threads if `parallel`. Each slice
/// comes with the length of its parts, and must have as many of them as the first.
///
/// # Panics
/// If the numbers of parts differ.
pub(crate) fn for_parts<T: Send, const N: usize>(
    slices: [(&mut [T], usize); N],
    parallel: bool,
    work: impl Fn(usize, [&mut [T]; N]) + Sync,
) {
    let slices = slices.map(|(slice, part)| Parts::new(slice, part));
    let count = slices[0].count();
    assert!(
        slices.iter().all(|slice| slice.count() == count),
        "numbers of parts"
    );
    let call = |number: usize| {
        // SAFETY: each number is used once.
        #[allow(unsafe_code)]
        work(
            number,
            slices.each_ref().map(|slice| unsafe { slice.get(number) }),
        );
    };
    match parallel {
        true => parallel::for_each(count, call),
        false => (0..count).for_each(call),
    }
}

/// A slice cut into parts that several threads write.
struct Parts<'a, T> {
    start: *mut T,
    length: usize,
    part: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: the pointer is used through `get` only, whose callers promise that no part is used twice.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    fn new(slice: &'a mut [T], part: usize) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            length: slice.len(),
            part: part.max(1),
            lifetime: PhantomData,
        }
    }

    fn count(&self) -> usize {
        self.length.div_ceil(self.part)
    }

    /// # Safety
    /// No number may be asked for while the part of the same number is in use.
    #[allow(unsafe_code)]
    unsafe fn get(&self, number: usize) -> &'a mut [T] {
        assert!(number < self.count(), "a part past the end");
        let start = number * self.part;
        let length = self.part.min(self.length - start);
        // SAFETY: the part lies inside the slice, which is borrowed for `'a`, and the caller promises that it is not in
        // use elsewhere.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), length) }
    }
}

/// The part of `elements` that chunk `number` of `chunk` elements covers.
pub(crate) fn part(elements: &[f32], number: usize, chunk: usize) -> &[f32] {
    let start = number * chunk;
    &elements[start..elements.len().min(start + chunk)]
}
