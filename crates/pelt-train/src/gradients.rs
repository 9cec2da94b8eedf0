//! Loss and gradients of a batch, whose parts are worked on side by side.

use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use pelt_hooks::{Hidden, Method, ParamGradients, Pass, gradients, load, values};
use pelt_ops::{cross_entropy, mean_squared_error, side_by_side};

use crate::batch::{Batch, Labels};
use crate::checkpointing::layer_by_layer;
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

/// What gradients are taken of, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// What the loss is multiplied by.
    pub share: f64,
    /// What the method's penalty is multiplied by; it is added once and whole, however many parts a batch has.
    pub penalty: f64,
    /// Whether what happens inside a layer is computed once more for its backward pass instead of being kept. This takes
    /// about a third more time, and memory of one layer instead of all.
    pub checkpointing: bool,
}

impl Default for Objective {
    fn default() -> Self {
        Self {
            share: 1.0,
            penalty: 1.0,
            checkpointing: false,
        }
    }
}

/// One part of a batch and all that is needed to work on it apart from the others.
struct Part<M: Method> {
    model: PeftModel<M>,
    batch: Batch,
    pass: Pass,
    objective: Objective,
    /// Of the predictions of the whole batch.
    share: f64,
}

/// The loss of a batch and the gradients of the objective. Parts run at the same time, each on one thread.
///
/// `pass` gives the pass of each part, always the same: the masks of its dropout depend on a row's place in the whole
/// batch.
///
/// # Errors
/// If the model cannot run the batch.
pub fn batch_gradients<M: Method>(
    model: &PeftModel<M>,
    batch: Vec<Batch>,
    objective: &Objective,
    pass: impl Fn() -> Pass,
) -> Result<BatchGradients, TrainError> {
    let weight: usize = batch.iter().map(Batch::weight).sum();
    let apart = batch.len() > 1;
    // Masked texts may leave nothing to predict in a part.
    let parts = batch.into_iter().filter(|batch| batch.weight() > 0);
    let parts = parts.enumerate().map(|(place, batch)| {
        let share = batch.weight() as f64 / weight as f64;
        Part {
            // A tape belongs to all that leads back to the same tensors, and only one thread can use it: each part has
            // parameters of its own, with the same values in the same memory.
            model: match apart {
                true => load(model.clone(), values(model)),
                false => model.clone(),
            },
            batch,
            pass: pass(),
            objective: Objective {
                share: share * objective.share,
                penalty: if place == 0 { objective.penalty } else { 0.0 },
                ..*objective
            },
            share,
        }
    });
    let found = side_by_side(parts.collect(), Part::gradients);
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
    fn gradients(self) -> Result<BatchGradients, TrainError> {
        let mut found = match self.objective.checkpointing {
            true => layer_by_layer(&self.model, self.batch, &self.objective, &self.pass)?,
            false => self.at_once()?,
        };
        found.loss *= self.share;
        Ok(found)
    }

    /// One forward and one backward pass.
    fn at_once(&self) -> Result<BatchGradients, TrainError> {
        let Self {
            model, batch, pass, ..
        } = self;
        let started = Instant::now();
        let rows = batch.rows_read();
        let hidden = model
            .encoder()
            .forward(&batch.packed, &model.method, rows, pass)?;
        let loss = loss(model, hidden, batch, pass)?;
        let value: f32 = loss.clone().into_scalar();
        let forward = started.elapsed();
        let objective = objective_of(model, loss, &self.objective);
        Ok(BatchGradients {
            loss: f64::from(value),
            gradients: gradients(model, &objective.backward()),
            forward,
        })
    }
}

/// What is differentiated.
pub(crate) fn objective_of<M: Method>(
    model: &PeftModel<M>,
    loss: Tensor<1>,
    objective: &Objective,
) -> Tensor<1> {
    let scaled = match objective.share == 1.0 {
        true => loss,
        false => loss * objective.share,
    };
    match model.method.penalty() {
        Some(penalty) if objective.penalty != 0.0 => scaled + penalty * objective.penalty,
        _ => scaled,
    }
}

/// The loss of a batch from what the last layer gave.
pub(crate) fn loss<M: Method>(
    model: &PeftModel<M>,
    hidden: Hidden,
    batch: &Batch,
    pass: &Pass,
) -> Result<Tensor<1>, TrainError> {
    Ok(match &batch.labels {
        Labels::Classes(classes) => cross_entropy(model.logits(hidden, pass)?, classes.clone()),
        Labels::Scores(scores) => mean_squared_error(model.logits(hidden, pass)?, scores.clone()),
        Labels::Spans(spans) => {
            let (logits, layout) = model.span_logits(hidden, &batch.packed, pass)?;
            layout.loss(logits, spans)
        }
        Labels::Tokens(places, tokens) => {
            let logits = model.token_logits(hidden, &batch.packed, places)?;
            cross_entropy(logits, tokens.clone())
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
