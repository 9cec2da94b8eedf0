//! Evaluation of a task's validation rows.

use std::time::Instant;

use pelt_data::Tokenizer;
use pelt_train::predict;
use serde::Serialize;

use crate::error::at_least_one;
use crate::model::trainable;
use crate::rows::Part;
use crate::{BenchError, Setup, TaskData, peak_memory_mib};

/// How fast labels are predicted, without autodiff and dropout.
#[derive(Debug, Serialize)]
pub struct InferReport {
    kind: &'static str,
    method: String,
    task: String,
    batch: usize,
    trainable: usize,
    sequences: usize,
    /// Tokens that the tokenizer gave.
    tokens: usize,
    seconds: f64,
    sequences_per_s: f64,
    tokens_per_s: f64,
    tokenise_s: f64,
    peak_memory_mib: Option<u64>,
}

/// Times every row is predicted. One pass takes seconds, in which a shared machine may change its speed.
const PASSES: usize = 3;

/// Predicts every validation row three times, after one batch to warm up; the time is that of the median pass.
///
/// # Errors
/// If the model, the method or the rows cannot be used.
pub fn infer(setup: &Setup<'_>, data: &TaskData<'_>) -> Result<InferReport, BenchError> {
    at_least_one("batch", setup.batch)?;
    let tokenizer = Tokenizer::load(setup.model)?;
    let rows = data.read(Part::Validation, &tokenizer)?;
    let model = setup.build(rows.card.target.outputs(), Some(&tokenizer))?;
    let sequences = &rows.examples.sequences;
    predict(
        &model,
        &sequences[..setup.batch.min(sequences.len())],
        setup.batch,
    )?;
    let mut passes = [0.0; PASSES];
    for seconds in &mut passes {
        let started = Instant::now();
        predict(&model, sequences, setup.batch)?;
        *seconds = started.elapsed().as_secs_f64();
    }
    passes.sort_by(f64::total_cmp);
    let seconds = passes[PASSES / 2];
    let tokens: usize = sequences.iter().map(|row| row.input_ids.len()).sum();
    Ok(InferReport {
        kind: "infer",
        method: setup.method_name.to_string(),
        task: data.task.to_string(),
        batch: setup.batch,
        trainable: trainable(&model),
        sequences: sequences.len(),
        tokens,
        seconds,
        sequences_per_s: sequences.len() as f64 / seconds,
        tokens_per_s: tokens as f64 / seconds,
        tokenise_s: rows.seconds,
        peak_memory_mib: peak_memory_mib(),
    })
}
