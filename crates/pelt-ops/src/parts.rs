//! Work in parts, one for each thread.

use burn::tensor::Device;

/// How many parts keep a device busy: on the processor with kernels of this crate one for each thread, since whole parts
/// of a batch need to wait for each other only once, and every operation inside them would otherwise wait several times.
/// Elsewhere one.
pub fn parts(device: &Device) -> usize {
    #[cfg(feature = "flex")]
    if device.clone().inner() == Device::flex() {
        return crate::flex::threads();
    }
    let _ = device;
    1
}

/// What `work` makes of every part, in the order of the parts. Where [`parts`] is more than one, parts run at the same time,
/// each on one thread.
pub fn side_by_side<I: Send, O: Send>(parts: Vec<I>, work: impl Fn(I) -> O + Sync) -> Vec<O> {
    // The choice of bodies is a thread's own, and other threads would not know it.
    #[cfg(feature = "flex")]
    if !crate::generic::is_forced() {
        return crate::flex::side_by_side(parts, work);
    }
    parts.into_iter().map(work).collect()
}
