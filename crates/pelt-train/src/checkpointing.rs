//! Gradient checkpointing (arXiv 1604.06174), a layer at a time.

use std::time::Instant;

use burn::module::Module;
use burn::tensor::Tensor;
use pelt_hooks::{Hidden, Method, ParamGradients, Pass, gradients};

use crate::batch::Batch;
use crate::gradients::{BatchGradients, Objective, add, loss, objective_of};
use crate::{PeftModel, TrainError};

/// The loss of a batch and the gradients of the objective. The forward pass keeps what every layer reads and nothing else;
/// then, from the last layer to the first, a layer is run once more, and its backward pass at once. Dropout draws the same
/// masks again.
pub(crate) fn layer_by_layer<M: Method>(
    model: &PeftModel<M>,
    batch: Batch,
    objective: &Objective,
    pass: &Pass,
) -> Result<BatchGradients, TrainError> {
    let started = Instant::now();
    let rows = batch.rows_read();
    let plain = model.clone().valid();
    let (encoder, method) = (plain.encoder(), &plain.method);
    let (mut hidden, first) = encoder.start(&batch.packed, method, pass)?;
    let mut read = Vec::new();
    for layer in first..encoder.shape().layers {
        read.push((layer, pass.sites(), hidden.clone()));
        hidden = encoder.layers(hidden, layer..layer + 1, method, rows, pass);
    }

    let sites = pass.sites();
    let (mut x, top) = leaf(hidden);
    let loss = loss(model, top, &batch, &pass.again_from(sites))?;
    let value: f32 = loss.clone().into_scalar();
    let forward = started.elapsed();
    let mut backward = objective_of(model, loss, objective).backward();
    let mut all = gradients(model, &backward);

    let (encoder, method) = (model.encoder(), &model.method);
    let lowest = model.layers_left_alone();
    for (layer, sites, hidden) in read.into_iter().rev() {
        // Nothing is trained below, or (without a head on any row) nothing depends on it.
        let Some(gradient) = x.grad(&backward).filter(|_| layer >= lowest) else {
            return Ok(found(value, all, forward));
        };
        let (input, below) = leaf(hidden);
        let again = pass.again_from(sites);
        let output = encoder.layers(below, layer..layer + 1, method, rows, &again);
        x = input;
        backward = (output.values * Tensor::from_inner(gradient))
            .sum()
            .backward();
        add(&mut all, gradients(model, &backward));
    }
    if first == 0 && lowest == 0 {
        let (embedded, _) = encoder.start(&batch.packed, method, &pass.again_from(0))?;
        if let Some(gradient) = x.grad(&backward).filter(|_| embedded.values.is_tracked()) {
            backward = (embedded.values * Tensor::from_inner(gradient))
                .sum()
                .backward();
            add(&mut all, gradients(model, &backward));
        }
    }
    Ok(found(value, all, forward))
}

fn found(loss: f32, gradients: ParamGradients, forward: std::time::Duration) -> BatchGradients {
    BatchGradients {
        loss: f64::from(loss),
        gradients,
        forward,
    }
}

/// Hidden states as the start of a tape.
fn leaf(hidden: Hidden) -> (Tensor<2>, Hidden) {
    let values = Tensor::from_inner(hidden.values).require_grad();
    let hidden = Hidden {
        values: values.clone(),
        packing: hidden.packing,
    };
    (values, hidden)
}
