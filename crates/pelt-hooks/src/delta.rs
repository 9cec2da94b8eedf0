//! What folds a method into a frozen projection.

use burn::tensor::Tensor;

use crate::ProjectionSite;

/// What has to be done to one frozen projection so that it alone gives what it and a method gave together.
#[derive(Debug, Clone)]
pub struct ProjectionDelta {
    /// The projection.
    pub site: ProjectionSite,
    /// What changes.
    pub change: ProjectionChange,
}

/// A change of a frozen projection `x W + b`.
// A model has a few dozen, and they are made once.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone)]
pub enum ProjectionChange {
    /// `x (W + weight) + (b + bias)`.
    Add {
        /// Added to the weight, `[in, out]`.
        weight: Tensor<2>,
        /// Added to the bias, `[out]`.
        bias: Option<Tensor<1>>,
    },
    /// `(x W + b) ⊙ factor`; with `keep_bias`, `(x W) ⊙ factor + b`.
    ScaleOutput {
        /// `[out]`.
        factor: Tensor<1>,
        /// Whether the bias stays as it is.
        keep_bias: bool,
    },
    /// `(x ⊙ factor) W + b`.
    ScaleInput {
        /// `[in]`.
        factor: Tensor<1>,
    },
}
