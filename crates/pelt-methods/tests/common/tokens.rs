//! Comparing the logits, the loss and the gradients of a head that predicts tokens.

use burn::tensor::{Device, Int, Tensor, TensorData};
use pelt_encoder::{Head, PromptLabels, RowsRead, SpanLayout};
use pelt_hooks::Pass;
use pelt_ops::cross_entropy;
use pelt_tensors::TensorFiles;

use super::{Case, Inputs, Model, OUTPUT_TOLERANCE, compare_gradients, host, largest_difference};

/// A label that is left out of the loss.
const IGNORED: i64 = -100;

/// Compares everything that the fixture of a masked-language model holds beside its hidden states.
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
        .forward(&inputs.batch, &model.hooks(), RowsRead::All, &pass)
        .unwrap();
    let packing = hidden.packing.clone();
    let logits = head.token_logits(hidden.values, &model.encoder).unwrap();
    let values = host(logits.clone());
    let recorded = expected.read("logits").unwrap();
    let (columns, width) = (recorded.shape[1], recorded.shape[2]);
    // These logits are in the tens, where the references' own rounding is 1.5e-5, so they are compared by their size.
    let size = recorded.values.iter().fold(1.0_f32, |a, b| a.max(b.abs()));
    for sequence in 0..packing.sequences() {
        let rows = packing.rows(sequence);
        let found = &values[rows.start * width..rows.end * width];
        let recorded = &recorded.values[sequence * columns * width..][..found.len()];
        let difference = largest_difference(found, recorded);
        *worst = worst.max(difference / f64::from(size));
        check("logits", difference, OUTPUT_TOLERANCE);
    }
    let labels = inputs.files.read_int("labels_mlm").unwrap().values;
    let prompt = model.hooks().prompt();
    let layout = SpanLayout::new(
        &inputs.batch.packing,
        prompt.as_ref(),
        PromptLabels::Shifted,
    );
    let (mut rows, mut targets) = (vec![], vec![]);
    let mut text_rows = layout.text_rows().into_iter();
    for (sequence, length) in inputs.lengths.iter().enumerate() {
        for (column, label) in labels[sequence * inputs.columns..][..inputs.columns]
            .iter()
            .enumerate()
        {
            assert!(column < *length || *label == IGNORED, "{}", case.name);
            let row = (column < *length).then(|| text_rows.next().unwrap());
            if let (Some(row), true) = (row, *label != IGNORED) {
                rows.push(row);
                targets.push(*label);
            }
        }
    }
    let int = |values: Vec<i64>| {
        let count = values.len();
        Tensor::<1, Int>::from_data(TensorData::new(values, [count]), &Device::flex())
    };
    let loss = cross_entropy(logits.select(0, int(rows)), int(targets));
    let value: f32 = loss.clone().into_scalar();
    let mut compared = 0;
    for name in ["loss", "loss_shifted"] {
        let Ok(recorded) = expected.read(name) else {
            continue;
        };
        let difference = f64::from((value - recorded.values[0]).abs());
        *worst = worst.max(difference / f64::from(size));
        check(name, difference, OUTPUT_TOLERANCE);
        compared += 1;
    }
    assert!(compared > 0, "{}: no loss was recorded", case.name);
    compare_gradients(case, model, head, loss, &mut check);
}
