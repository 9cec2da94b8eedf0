//! Work in parts that need not wait for each other.

use burn::tensor::Device;

/// Parts that a batch is cut into unless told otherwise, however many threads there are, because what is computed should not
/// depend on that.
pub const PARTS: usize = 2;

/// How many parts of a batch are worked on side by side. On the processor these are [`PARTS`], which wait for each other
/// once, where every operation on a whole batch would. Elsewhere it is one, as a whole batch is faster.
pub fn parts(device: &Device) -> usize {
    match runs_kernels(device) {
        true => PARTS,
        false => 1,
    }
}

/// How many threads can each run batches of their own: all on the processor, elsewhere one.
pub fn workers(device: &Device) -> usize {
    #[cfg(feature = "flex")]
    if runs_kernels(device) {
        return crate::flex::threads();
    }
    let _ = device;
    1
}

fn runs_kernels(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return device.clone().inner() == Device::flex();
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}

/// Whether a device is the processor, in which case nothing has to be carried to it.
pub(crate) fn is_processor(device: &Device) -> bool {
    runs_kernels(device) || backend(device) == "LibTorch(Cpu)"
}

/// Whether a device's kernels are compiled and chosen by the shapes that they meet, so that few shapes are better than many.
pub fn tunes_for_shapes(device: &Device) -> bool {
    is_cubecl(device)
}

/// Whether a device computes with CubeCL.
pub(crate) fn is_cubecl(device: &Device) -> bool {
    backend(device).starts_with("Cube(")
}

/// Backend and device; no other question is answered by all backends, compiled in or not.
fn backend(device: &Device) -> String {
    format!("{:?}", device.clone().inner().as_dispatch())
}

/// What `work` makes of every part, in the order of the parts. With the kernels of this crate parts run at the same time,
/// each on one thread, or on its share of them where there are more threads than parts.
pub fn side_by_side<I: Send, O: Send>(parts: Vec<I>, work: impl Fn(I) -> O + Sync) -> Vec<O> {
    // The choice of bodies is a thread's own, and other threads would not know it.
    #[cfg(feature = "flex")]
    if !crate::generic::is_forced() {
        return crate::flex::side_by_side(parts, work);
    }
    parts.into_iter().map(work).collect()
}
