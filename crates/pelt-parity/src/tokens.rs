//! Comparing the logits, the loss and the gradients of a head that predicts tokens.

use anyhow::{Context, Result, ensure};
use pelt_encoder::{Head, PromptLabels, RowsRead, SpanLayout};
use pelt_hooks::Pass;
use pelt_ops::cross_entropy;
use pelt_tensors::TensorFiles;

use crate::case::{Case, Inputs};
use crate::compare::{Check, compare_gradients, host, int_tensor};
use crate::model::Model;

/// A label that is left out of the loss.
const IGNORED: i64 = -100;

/// Compares everything that the fixture of a masked-language model holds beside its hidden states.
pub(crate) fn compare(
    case: &Case,
    model: &Model,
    head: &Head,
    inputs: &Inputs,
    expected: &TensorFiles,
    check: &mut Check<'_>,
) -> Result<()> {
    let pass = Pass::evaluate();
    let hooks = model.hooks();
    let hidden = model
        .encoder
        .forward(&inputs.batch, &hooks, RowsRead::All, &pass)?;
    let packing = hidden.packing.clone();
    let logits = head.token_logits(hidden.values, &model.encoder);
    let logits = logits.context("the head predicts no tokens")?;
    let values = host(logits.clone())?;
    let recorded = expected.read("logits")?;
    let (columns, width) = (recorded.shape[1], recorded.shape[2]);
    // These logits are in the tens, where the references' own rounding is 1.5e-5, so they are compared by their size.
    let size = recorded.values.iter().fold(1.0_f32, |a, b| a.max(b.abs()));
    for sequence in 0..packing.sequences() {
        let rows = packing.rows(sequence);
        let found = &values[rows.start * width..rows.end * width];
        let recorded = &recorded.values[sequence * columns * width..][..found.len()];
        check.output("logits", found, recorded, size)?;
    }
    let labels = inputs.files.read_int("labels_mlm")?.values;
    let prompt = hooks.prompt();
    let layout = SpanLayout::new(
        &inputs.batch.packing,
        prompt.as_ref(),
        PromptLabels::Shifted,
    );
    let (mut rows, mut targets) = (vec![], vec![]);
    let mut text_rows = layout.text_rows().into_iter();
    for (sequence, length) in inputs.lengths.iter().enumerate() {
        let labels = &labels[sequence * inputs.columns..][..inputs.columns];
        for (column, label) in labels.iter().enumerate() {
            ensure!(column < *length || *label == IGNORED, "a label of padding");
            let row = match column < *length {
                true => text_rows.next(),
                false => None,
            };
            if let (Some(row), true) = (row, *label != IGNORED) {
                rows.push(row);
                targets.push(*label);
            }
        }
    }
    let device = logits.device().inner();
    let rows = logits.select(0, int_tensor(rows, &device));
    let loss = cross_entropy(rows, int_tensor(targets, &device));
    let mut compared = 0;
    for name in ["loss", "loss_shifted"] {
        let Ok(recorded) = expected.read(name) else {
            continue;
        };
        check.output(name, &host(loss.clone())?, &recorded.values, size)?;
        compared += 1;
    }
    ensure!(compared > 0, "no loss was recorded");
    compare_gradients(case, model, head, loss, check)
}
