//! Loss and gradients of a batch, whose parts are worked on side by side.

use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use pelt_hooks::{Method, ParamGradients, Pass, gradients, load, values};
use pelt_ops::{cross_entropy, mean_squared_error, side_by_side};

use crate::batch::{Batch, Labels};
use crate::{PeftModel, TrainError};

/// What a batch gave.
#[derive(Debug)]
pub struct BatchGradients {
    /// The mean loss of the batch, without the method's penalty.
    pub loss: f64,
    /// Gradients of what was asked for.
    pub gradients: ParamGradients,
    /// Time from the tokens to the loss, of all parts together.
    pub forward: Duration,
}

/// One part of a batch and all that is needed to work on it apart from the others.
struct Part<M: Method> {
    model: PeftModel<M>,
    batch: Batch,
    pass: Pass,
    /// Of the predictions of the whole batch.
    share: f64,
    penalty: f64,
}

/// The loss of a batch and the gradients of `share` times this loss. Parts run at the same time, each on one thread.
///
/// `pass` gives the pass of each part, always the same: the masks of its dropout depend on a row's place in the whole
/// batch. The method's penalty times `penalty` is added to what is differentiated, once and whole.
///
/// # Errors
/// If the model cannot run the batch.
pub fn batch_gradients<M: Method>(
    model: &PeftModel<M>,
    batch: Vec<Batch>,
    share: f64,
    pass: impl Fn() -> Pass,
    penalty: f64,
) -> Result<BatchGradients, TrainError> {
    let weight: usize = batch.iter().map(Batch::weight).sum();
    let apart = batch.len() > 1;
    // Masked texts may leave nothing to predict in a part.
    let parts = batch.into_iter().filter(|batch| batch.weight() > 0);
    let parts = parts.enumerate().map(|(place, batch)| Part {
        // A tape belongs to all that leads back to the same tensors, and only one thread can use it: each part has
        // parameters of its own, with the same values in the same memory.
        model: match apart {
            true => load(model.clone(), values(model)),
            false => model.clone(),
        },
        share: batch.weight() as f64 / weight as f64,
        batch,
        pass: pass(),
        penalty: if place == 0 { penalty } else { 0.0 },
    });
    let parts = parts.collect();
    let found = side_by_side(parts, |part: Part<M>| part.gradients(share));
    let mut all = BatchGradients {
        loss: 0.0,
        gradients: ParamGradients::new(),
        forward: Duration::ZERO,
    };
    for found in found {
        let found = found?;
        all.loss += found.loss;
        all.forward += found.forward;
        add(&mut all.gradients, found.gradients);
    }
    Ok(all)
}

impl<M: Method> Part<M> {
    /// The part's share of the batch's loss, and its gradients.
    fn gradients(self, share: f64) -> Result<BatchGradients, TrainError> {
        let started = Instant::now();
        let loss = batch_loss(&self.model, self.batch, &self.pass)?;
        let value: f32 = loss.clone().into_scalar();
        let forward = started.elapsed();
        let factor = self.share * share;
        let scaled = match factor == 1.0 {
            true => loss,
            false => loss * factor,
        };
        let objective = match self.model.method.penalty() {
            Some(penalty) if self.penalty != 0.0 => scaled + penalty * self.penalty,
            _ => scaled,
        };
        Ok(BatchGradients {
            loss: f64::from(value) * self.share,
            gradients: gradients(&self.model, &objective.backward()),
            forward,
        })
    }
}

fn batch_loss<M: Method>(
    model: &PeftModel<M>,
    batch: Batch,
    pass: &Pass,
) -> Result<Tensor<1>, TrainError> {
    Ok(match batch.labels {
        Labels::Classes(classes) => cross_entropy(model.forward(&batch.packed, pass)?, classes),
        Labels::Scores(scores) => mean_squared_error(model.forward(&batch.packed, pass)?, scores),
        Labels::Spans(spans) => {
            let (logits, layout) = model.forward_spans(&batch.packed, pass)?;
            layout.loss(logits, &spans)
        }
        Labels::Tokens(places, tokens) => {
            cross_entropy(model.forward_tokens(&batch.packed, &places, pass)?, tokens)
        }
    })
}

/// Adds gradients to others.
pub(crate) fn add(total: &mut ParamGradients, more: ParamGradients) {
    for (id, gradient) in more {
        let sum = match total.remove(&id) {
            // Kernels add rows.
            Some(sum) => pelt_ops::add(sum.unsqueeze(), gradient.unsqueeze()).flatten(0, 1),
            None => gradient,
        };
        total.insert(id, sum);
    }
}
