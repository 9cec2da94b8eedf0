//! The update of AdamW, and the norm that gradients are clipped by.

use burn::tensor::Tensor;

use crate::generic;

/// The numbers of one step, the same for all parameters that decay alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// What every gradient is multiplied by first, for clipping.
    pub gradient_scale: f64,
    /// Decay of the first moment.
    pub beta_1: f64,
    /// Decay of the second moment.
    pub beta_2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// The learning rate divided by the first moment's bias correction.
    pub rate: f64,
    /// The second moment's bias correction.
    pub correction_2: f64,
    /// What the value is multiplied by before the update: `1 - lr·wd`.
    pub decay: f64,
}

/// The value and its two moments after one step (arXiv 1711.05101).
///
/// # Shapes
/// All `[entries]`; nothing is tracked by autodiff.
///
/// # Panics
/// If the sizes differ.
pub fn adamw(
    value: Tensor<1>,
    gradient: Tensor<1>,
    moments: [Tensor<1>; 2],
    step: &AdamWStep,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    #[cfg(feature = "flex")]
    {
        let [first, second] = &moments;
        if [&value, &gradient, first, second].into_iter().all(kernel) {
            return crate::flex::adamw::step(value, gradient, moments, step);
        }
    }
    generic::adamw(value, gradient, moments, step)
}

/// The sum of the squares of all entries, added up in `f64` where the backend lets us.
pub fn sum_of_squares(x: &Tensor<1>) -> f64 {
    #[cfg(feature = "flex")]
    if kernel(x) {
        return crate::flex::adamw::sum_of_squares(x.clone());
    }
    let sum: f32 = x.clone().powi_scalar(2).sum().into_scalar();
    f64::from(sum)
}

#[cfg(feature = "flex")]
fn kernel(x: &Tensor<1>) -> bool {
    !x.is_autodiff() && crate::flex::serves(x)
}
