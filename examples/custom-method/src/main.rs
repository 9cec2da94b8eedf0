//! A method of one's own: implement [`EncoderHooks`] for the sites that it uses and [`Method`] for its names, and everything that
//! trains, evaluates and saves methods takes it.
//!
//! This one adds a vector to the output of every feed-forward block: `norm(h + b + x)`.
//!
//!     cargo run --release -p custom-method -- MODEL_FOLDER
#![allow(clippy::print_stdout)] // It shows what it does.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use pelt_data::Label;
use pelt_encoder::{Checkpoint, Head, HeadConfig, HeadKind};
use pelt_hooks::{
    ADAPTER, EncoderHooks, EncoderShape, Method, NamedParam, Pass, ProjectionSite, Sequence,
    Sublayer, SublayerSite, SublayerStates, constant, load, values,
};
use pelt_train::{
    AdamW, AdamWConfig, Batch, Examples, Objective, PeftModel, batch_gradients, clipping_scale,
    gradient_norm,
};

// ANCHOR: method
/// A vector for every layer.
#[derive(Module, Debug)]
struct ShiftVectors {
    /// b, `[d]` each, trained, start at zero: a new method changes nothing.
    shifts: Vec<Param<Tensor<1>>>,
}

impl ShiftVectors {
    fn new(shape: &EncoderShape, device: &Device) -> Self {
        let shift = |_| constant([shape.hidden_size], 0.0, device);
        Self {
            shifts: (0..shape.layers).map(shift).collect(),
        }
    }
}

impl EncoderHooks for ShiftVectors {
    /// Nothing is added to any projection, so that the encoder may compute them together with what follows.
    fn changes(&self, _site: ProjectionSite) -> bool {
        false
    }

    fn sublayer(
        &self,
        site: SublayerSite,
        states: &SublayerStates<'_>,
        _pass: &Pass,
    ) -> Option<Tensor<2>> {
        if site.sublayer != Sublayer::FeedForward {
            return None;
        }
        let shift = self.shifts.get(site.layer)?.val();
        Some(shift.unsqueeze::<2>().expand(states.residual.dims()))
    }
}

impl Method for ShiftVectors {
    fn named_params(&self) -> Vec<NamedParam> {
        let shifts = self.shifts.iter().enumerate();
        shifts
            .map(|(layer, shift)| {
                NamedParam::new(
                    format!("encoder.layer.{layer}.output.shifts.{ADAPTER}"),
                    shift,
                )
            })
            .collect()
    }
}
// ANCHOR_END: method

/// Made-up rows of token ids. The class is whether token 7 occurs; tokens 2 and 3 stand for the special ones.
fn examples() -> Examples {
    let row = |number: u32| {
        let filler = |place: u32| 10 + (number * 13 + place * 5) % 80;
        let mut input_ids: Vec<u32> = (0..6).map(filler).collect();
        if number.is_multiple_of(2) {
            input_ids[number as usize % 6] = 7;
        }
        input_ids.insert(0, 2);
        input_ids.push(3);
        Sequence {
            token_type_ids: vec![0; input_ids.len()],
            input_ids,
        }
    };
    Examples {
        sequences: (0..16).map(row).collect(),
        labels: (0..16).map(|number| Label::Class(1 - number % 2)).collect(),
    }
}

// ANCHOR: training
/// The losses of some steps.
fn train(folder: &Path, steps: usize) -> Result<Vec<f64>> {
    let device = Device::flex();
    let checkpoint = Checkpoint::open(folder)?;
    let encoder = Arc::new(checkpoint.encoder(&device)?);
    let training = device.clone().autodiff();
    pelt_hooks::seed(1);
    let method = ShiftVectors::new(encoder.shape(), &training);
    let head = HeadConfig {
        kind: HeadKind::Flexible,
        labels: 2,
        dropout: 0.1,
    };
    let head = Head::new(head, encoder.shape().hidden_size, &training);
    let mut model = PeftModel::new(encoder, method, head);

    let examples = examples();
    let rows: Vec<usize> = (0..examples.labels.len()).collect();
    let params = model.named_params();
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let mut losses = Vec::new();
    for step in 0..steps {
        let batch = Batch::in_parts(&examples, &rows, 2, &device);
        let pass = || Pass::train(step as u64);
        let found = batch_gradients(&model, batch, &Objective::default(), pass)?;
        let scale = clipping_scale(gradient_norm(&found.gradients), 1.0);
        let updated = optimizer.step(&params, values(&model), found.gradients, scale, 2e-2);
        model = load(model, updated);
        losses.push(found.loss);
    }
    Ok(losses)
}
// ANCHOR_END: training

fn main() -> Result<()> {
    let folder = std::env::args()
        .nth(1)
        .context("name the folder of a BERT or RoBERTa model")?;
    let losses = train(Path::new(&folder), 40)?;
    for (step, loss) in losses.iter().enumerate().step_by(10) {
        println!("step {:>2}: loss {loss:.4}", step + 1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_trains_with_the_loop_of_the_other_methods() {
        let losses = train(&pelt_testkit::fixture("models/bert/cls"), 40).unwrap();
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        assert!(mean(&losses[30..]) < 0.9 * mean(&losses[..5]), "{losses:?}");
    }
}
