//! Comparing start and end logits, both losses and the gradients of a span head.

use pelt_encoder::{Head, PromptLabels, RowsRead, SpanLayout};
use pelt_hooks::{EncoderHooks, Pass};
use pelt_tensors::TensorFiles;

use super::{Case, Inputs, Model, OUTPUT_TOLERANCE, compare_gradients, host, largest_difference};

/// Compares everything that the fixture of a span head holds beside its hidden states.
pub fn compare(
    case: &Case,
    model: &Model,
    head: &Head,
    inputs: &Inputs,
    expected: &TensorFiles,
    failures: &mut Vec<String>,
    worst: &mut f64,
) {
    let mut check = |what: &str, difference: f64, tolerance: f64| {
        if difference > tolerance || !difference.is_finite() {
            failures.push(format!("{}: {what} differs by {difference:e}", case.name));
        }
    };
    let pass = Pass::evaluate();
    let hidden = model
        .encoder
        .forward(&inputs.batch, &model.adapter, RowsRead::All, &pass)
        .unwrap();
    let packing = hidden.packing.clone();
    let logits = head.forward(hidden, &pass);
    let values = host(logits.clone());
    for (side, name) in ["start_logits", "end_logits"].into_iter().enumerate() {
        let expected = expected.read(name).unwrap();
        let columns = expected.shape[1];
        for sequence in 0..packing.sequences() {
            let rows = packing.rows(sequence);
            let found: Vec<f32> = rows.clone().map(|row| values[2 * row + side]).collect();
            let expected = &expected.values[sequence * columns..][..rows.len()];
            let difference = largest_difference(&found, expected);
            *worst = worst.max(difference);
            check(name, difference, OUTPUT_TOLERANCE);
        }
    }
    // In a padded batch the references spread the probability over padding as well, of which there is none here.
    if inputs.lengths.iter().any(|length| *length < inputs.columns) {
        return;
    }
    let [starts, ends] = ["start_positions", "end_positions"]
        .map(|name| inputs.files.read_int(name).unwrap().values);
    let spans: Vec<[usize; 2]> = starts
        .into_iter()
        .zip(ends)
        .map(|(start, end)| [start as usize, end as usize])
        .collect();
    let prompt = model.adapter.prompt();
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
        let value: f32 = loss.clone().into_scalar();
        let difference = f64::from((value - expected.values[0]).abs());
        *worst = worst.max(difference);
        check(name, difference, OUTPUT_TOLERANCE);
        compared += 1;
        if recorded_from == Some(name) {
            compare_gradients(case, model, head, loss, &mut check);
        }
    }
    assert_eq!(compared, 1 + usize::from(prompt.is_some()), "{}", case.name);
}
