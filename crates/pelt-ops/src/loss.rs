//! Losses over a batch.

use burn::tensor::{Int, Tensor, activation::log_softmax};

/// Mean cross-entropy of `logits` (`[rows, classes]`) against class numbers (`[rows]`): a scalar in a `[1]` tensor.
pub fn cross_entropy(logits: Tensor<2>, classes: Tensor<1, Int>) -> Tensor<1> {
    let rows = logits.dims()[0];
    let chosen = log_softmax(logits, 1).gather(1, classes.reshape([rows, 1]));
    chosen.mean().neg()
}

/// Mean squared error of the only column of `outputs` (`[rows, 1]`) against `targets` (`[rows]`).
pub fn mean_squared_error(outputs: Tensor<2>, targets: Tensor<1>) -> Tensor<1> {
    let rows = outputs.dims()[0];
    (outputs.reshape([rows]) - targets).powi_scalar(2).mean()
}
