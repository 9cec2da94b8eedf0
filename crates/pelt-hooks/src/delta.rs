//! What folds a method into a frozen projection.

use burn::tensor::Tensor;

use crate::ProjectionSite;

/// What has to be added to one frozen projection so that it alone gives what it and a method gave together.
#[derive(Debug, Clone)]
pub struct ProjectionDelta {
    /// The projection.
    pub site: ProjectionSite,
    /// Added to the weight, `[in, out]`.
    pub weight: Tensor<2>,
    /// Added to the bias, `[out]`.
    pub bias: Option<Tensor<1>>,
}
