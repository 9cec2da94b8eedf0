//! Comparing start and end logits, both losses and the gradients of a span head.

use anyhow::{Result, ensure};
use pelt_encoder::{Head, PromptLabels, RowsRead, SpanLayout};
use pelt_hooks::Pass;
use pelt_tensors::TensorFiles;

use crate::case::{Case, Inputs};
use crate::compare::{Check, compare_gradients, host};
use crate::model::Model;

/// Compares everything that the fixture of a span head holds beside its hidden states.
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
    let logits = head.forward(hidden, &pass);
    let values = host(logits.clone())?;
    for (side, name) in ["start_logits", "end_logits"].into_iter().enumerate() {
        let expected = expected.read(name)?;
        let columns = expected.shape[1];
        for sequence in 0..packing.sequences() {
            let rows = packing.rows(sequence);
            let found: Vec<f32> = rows.clone().map(|row| values[2 * row + side]).collect();
            let expected = &expected.values[sequence * columns..][..rows.len()];
            check.output(name, &found, expected, 1.0)?;
        }
    }
    // In a padded batch the references spread the probability over padding as well, of which there is none here.
    if inputs.lengths.iter().any(|length| *length < inputs.columns) {
        return Ok(());
    }
    let starts = inputs.files.read_int("start_positions")?.values;
    let ends = inputs.files.read_int("end_positions")?.values;
    let spans = starts.into_iter().zip(ends);
    let spans: Vec<_> = spans
        .map(|(start, end)| [start as usize, end as usize])
        .collect();
    let prompt = hooks.prompt();
    let recorded_from = case.meta["grads_of"].as_str();
    let mut compared = 0;
    for (name, labels) in [
        ("loss", PromptLabels::Unshifted),
        ("loss_shifted", PromptLabels::Shifted),
    ] {
        let Ok(expected) = expected.read(name) else {
            continue;
        };
        let layout = SpanLayout::new(&inputs.batch.packing, prompt.as_ref(), labels);
        let loss = layout.loss(logits.clone(), &spans);
        check.output(name, &host(loss.clone())?, &expected.values, 1.0)?;
        compared += 1;
        if recorded_from == Some(name) {
            compare_gradients(case, model, head, loss, check)?;
        }
    }
    let expected = 1 + usize::from(prompt.is_some());
    ensure!(compared == expected, "{compared} losses, not {expected}");
    Ok(())
}
