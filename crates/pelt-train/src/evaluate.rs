//! Predictions and metrics.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use pelt_data::Label;
use pelt_hooks::{Method, PackedBatch, Pass, Sequence};
use pelt_metrics::{Evaluation, Metric, Predictions};
use pelt_ops::{parts, side_by_side, workers};

use crate::{GateMeans, MaskedTexts, PeftModel, QuestionExamples, TrainError, gates};

/// Rows of the smallest batch that is made so that threads end together: with fewer, a batch mostly prepares weights.
const SMALLEST: usize = 8;

/// Tokenised rows with their labels.
#[derive(Debug, Clone, Default)]
pub struct Examples {
    /// Token sequences.
    pub sequences: Vec<Sequence>,
    /// Labels, one for each sequence.
    pub labels: Vec<Label>,
}

/// What a run is trained on.
#[derive(Debug, Clone, Copy)]
pub enum TrainingRows<'a> {
    /// Labelled rows.
    Labelled(&'a Examples),
    /// Texts of which other tokens are masked in every epoch.
    Masked(&'a MaskedTexts),
}

impl TrainingRows<'_> {
    /// Number of rows.
    pub fn count(&self) -> usize {
        match self {
            Self::Labelled(rows) => rows.sequences.len(),
            Self::Masked(texts) => texts.sequences.len(),
        }
    }

    /// Tokens of a row.
    pub(crate) fn length(&self, row: usize) -> usize {
        match self {
            Self::Labelled(rows) => rows.sequences[row].input_ids.len(),
            Self::Masked(texts) => texts.sequences[row].input_ids.len(),
        }
    }

    /// Whether every row has a label, where rows need one.
    pub(crate) fn are_labelled(&self) -> bool {
        match self {
            Self::Labelled(rows) => rows.labels.len() == rows.sequences.len(),
            Self::Masked(_) => true,
        }
    }
}

/// What chooses the best weights of a run.
#[derive(Debug, Clone, Copy)]
pub enum Development<'a> {
    /// Labelled rows, scored with the metrics of the run.
    Rows(&'a Examples),
    /// Questions, whose answers are scored.
    Questions(&'a QuestionExamples),
    /// Texts with masked tokens, always the same ones; the smaller their loss, the better.
    Masked(&'a MaskedTexts),
}

/// The outputs of every sequence, in the order given: logits, the score of a regression, or start and end logit of every
/// token in turn.
///
/// Batches are made of sequences of like length; the packed layout makes the result independent of that. On the processor
/// each thread runs batches of its own, of half as many rows, and of fewer towards the end. The model is prepared for
/// inference once, before the first batch; the one that was handed in stays as it is.
///
/// # Errors
/// If the model cannot run a batch.
pub fn predict<M: Method>(
    model: &PeftModel<M>,
    sequences: &[Sequence],
    batch_size: usize,
) -> Result<Vec<Vec<f32>>, TrainError> {
    Ok(run(model, sequences, batch_size, PeftModel::evaluation_pass)?.0)
}

/// As [`predict`], with the mean of every gate over all sequences. Gates of layers that are skipped have none.
///
/// # Errors
/// As [`predict`].
pub fn predict_observing<M: Method>(
    model: &PeftModel<M>,
    sequences: &[Sequence],
    batch_size: usize,
) -> Result<(Vec<Vec<f32>>, GateMeans), TrainError> {
    run(model, sequences, batch_size, PeftModel::observing_pass)
}

/// Outputs of every sequence, and the means of the gates that `pass` observes.
fn run<M: Method>(
    model: &PeftModel<M>,
    sequences: &[Sequence],
    batch_size: usize,
    pass: fn(&PeftModel<M>) -> Pass,
) -> Result<(Vec<Vec<f32>>, GateMeans), TrainError> {
    let model = model.clone().valid().for_inference();
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    // The longest first, so that no thread is left alone with them at the end.
    order.sort_by_key(|row| Reverse(sequences[*row].input_ids.len()));
    let device = model.device();
    let batches = shares(&order, batch_size, parts(&device));
    let threads = workers(&device).min(batches.len());
    let next = AtomicUsize::new(0);
    let found = side_by_side(vec![model; threads.max(1)], |model| {
        let (mut found, mut sums) = (Vec::new(), Vec::new());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(rows) = batches.get(number) else {
                break;
            };
            let pass = pass(&model);
            outputs(&model, sequences, rows, &pass, &mut found)?;
            sums.push((number, gates::sums(pass)?));
        }
        Ok::<_, TrainError>((found, sums))
    });
    let mut all = vec![Vec::new(); sequences.len()];
    let mut all_sums = Vec::new();
    for found in found {
        let (found, sums) = found?;
        all_sums.extend(sums);
        for (row, values) in found {
            all[row] = values;
        }
    }
    Ok((all, gates::means(all_sums, sequences.len())))
}

/// Cuts rows into batches that `parts` threads take one after another: of a thread's share of `batch_size` rows, and of fewer
/// towards the end, where threads would wait for the one with the last batch.
fn shares(mut order: &[usize], batch_size: usize, parts: usize) -> Vec<&[usize]> {
    let largest = batch_size.div_ceil(parts).max(1);
    let mut batches = Vec::new();
    while !order.is_empty() {
        let left = order.len();
        let rows = match parts {
            1 => largest,
            _ => left.div_ceil(2 * parts).max(SMALLEST).min(largest),
        };
        let (batch, rest) = order.split_at(rows.min(left));
        batches.push(batch);
        order = rest;
    }
    batches
}

/// Adds the outputs of one batch to those that were found before.
fn outputs<M: Method>(
    model: &PeftModel<M>,
    sequences: &[Sequence],
    rows: &[usize],
    pass: &Pass,
    found: &mut Vec<(usize, Vec<f32>)>,
) -> Result<(), TrainError> {
    let batch = PackedBatch::new(rows.iter().map(|row| &sequences[*row]));
    let is_span = model.head.config().kind.is_span();
    let logits = match is_span {
        false => model.forward(&batch, pass)?,
        true => {
            let (logits, layout) = model.forward_spans(&batch, pass)?;
            let tokens = layout.text_rows();
            let count = tokens.len();
            let device = logits.device();
            let tokens = TensorData::new(tokens, [count]);
            logits.select(0, Tensor::<1, Int>::from_data(tokens, &device))
        }
    };
    let [_, width] = logits.dims();
    let values = host_values(logits)?;
    let mut values = values.as_slice();
    for row in rows {
        let tokens = sequences[*row].input_ids.len();
        let lines = if is_span { tokens } else { 1 };
        let (own, rest) = values.split_at(lines * width);
        if let Some(value) = own.iter().find(|value| !value.is_finite()) {
            return Err(TrainError::Rows(format!(
                "the model gives {value} for a row of {tokens} tokens, so it cannot be scored: weights of a run that has \
                 diverged, or numbers too large for the precision"
            )));
        }
        found.push((*row, own.to_vec()));
        values = rest;
    }
    Ok(())
}

/// The values of a tensor on the host.
pub(crate) fn host_values<const D: usize>(
    tensor: burn::tensor::Tensor<D>,
) -> Result<Vec<f32>, TrainError> {
    let data = tensor.into_data();
    data.try_to_vec_as::<f32>()
        .map_err(|error| TrainError::Rows(format!("cannot read values from the device: {error:?}")))
}

/// The metrics of a labelled set, with the mean loss as `loss`.
///
/// # Errors
/// If the model cannot run, or a metric does not fit the task.
pub fn evaluate<M: Method>(
    model: &PeftModel<M>,
    examples: &Examples,
    metrics: &[Metric],
    batch_size: usize,
) -> Result<Evaluation, TrainError> {
    let outputs = predict(model, &examples.sequences, batch_size)?;
    score_outputs(&outputs, &examples.labels, metrics)
}

/// The metrics of outputs that [`predict`] gave, with the mean loss as `loss`.
///
/// # Errors
/// If a label does not fit the outputs, or a metric does not fit the task.
pub fn score_outputs(
    outputs: &[Vec<f32>],
    labels: &[Label],
    metrics: &[Metric],
) -> Result<Evaluation, TrainError> {
    let mut loss = 0.0;
    let mut classes = (vec![], vec![]);
    let mut scores = (vec![], vec![]);
    for (output, label) in outputs.iter().zip(labels) {
        match label {
            Label::Class(class) => {
                let Some(chosen) = output.get(*class) else {
                    return Err(TrainError::Rows(format!(
                        "a row has class {class}, but the head has {} outputs",
                        output.len()
                    )));
                };
                let largest = output.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f64 = output.iter().map(|x| f64::from(x - largest).exp()).sum();
                loss += sum.ln() - f64::from(chosen - largest);
                classes.0.push(argmax(output));
                classes.1.push(*class);
            }
            Label::Score(gold) => {
                let predicted = output.first().copied().unwrap_or(f32::NAN);
                loss += f64::from(predicted - gold).powi(2);
                scores.0.push(f64::from(predicted));
                scores.1.push(f64::from(*gold));
            }
            Label::Span(_) => {
                return Err(TrainError::WrongHead {
                    expected: "classes or scores",
                    found: "spans",
                });
            }
        }
    }
    let predictions = match scores.1.is_empty() {
        true => Predictions::Classes {
            predicted: &classes.0,
            gold: &classes.1,
            labels: outputs.first().map_or(0, Vec::len),
        },
        false => Predictions::Scores {
            predicted: &scores.0,
            gold: &scores.1,
        },
    };
    let mut evaluation = pelt_metrics::evaluate(metrics, &predictions)?;
    let mean = loss / labels.len().max(1) as f64;
    evaluation.values.insert("loss".into(), mean);
    Ok(evaluation)
}

fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(rows: usize, batch_size: usize, parts: usize) -> Vec<usize> {
        let order: Vec<usize> = (0..rows).collect();
        let batches = shares(&order, batch_size, parts);
        assert_eq!(batches.concat(), order);
        batches.iter().map(|batch| batch.len()).collect()
    }

    #[test]
    fn batches_get_smaller_towards_the_end() {
        assert_eq!(sizes(100, 32, 2), [16, 16, 16, 13, 10, 8, 8, 8, 5]);
        assert_eq!(sizes(100, 32, 1), [32, 32, 32, 4]);
        assert_eq!(sizes(5, 3, 2), [2, 2, 1]);
        assert_eq!(sizes(3, 1, 2), [1, 1, 1]);
        assert_eq!(sizes(0, 8, 2), [0; 0]);
    }
}
