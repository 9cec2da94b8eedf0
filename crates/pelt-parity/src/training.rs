//! Thirty steps of training, dropout included, on two devices.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use burn::tensor::Device;
use pelt_data::Label;
use pelt_encoder::{Checkpoint, HeadConfig, HeadKind, Precision};
use pelt_hooks::{Pass, Sequence, load, values};
use pelt_methods::{Adapter, AdapterConfig};
use pelt_ops::PARTS;
use pelt_train::{
    AdamW, AdamWConfig, Batch, Examples, LinearSchedule, Objective, PeftModel, batch_gradients,
    clipping_scale, gradient_norm,
};

const STEPS: usize = 30;
const ROWS: usize = 12;
const LABELS: usize = 3;
const RATE: f64 = 5e-3;

/// What losses are multiplied by in `f16`, so that small gradients do not vanish.
const F16_SCALE: f64 = 1024.0;

/// The losses of a run of UniPELT + PromptTuning: new values, dropout, clipping and the schedule as in `pelt train`.
///
/// # Errors
/// If the model is not there or cannot run.
pub fn train(fixtures: &Path, device: &Device, precision: Precision) -> Result<Vec<f64>> {
    let mut model = model(fixtures, device)?.with_precision(precision);
    let share = match precision {
        Precision::F16 => F16_SCALE,
        Precision::F32 | Precision::Bf16 => 1.0,
    };
    let objective = Objective {
        share,
        ..Objective::default()
    };
    let examples = examples();
    let rows: Vec<usize> = (0..ROWS).collect();
    let batch = Batch::in_parts(&examples, &rows, PARTS, device);
    let params = model.named_params();
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let schedule = LinearSchedule {
        peak: RATE,
        warmup_steps: 2,
        total_steps: STEPS,
    };
    let mut losses = Vec::new();
    for step in 0..STEPS {
        let pass = || Pass::train(step as u64);
        let found = batch_gradients(&model, batch.clone(), &objective, pass)?;
        losses.push(found.loss);
        let scale = clipping_scale(gradient_norm(&found.gradients) / share, 1.0) / share;
        let rate = schedule.rate(step);
        let updated = optimizer.step(&params, values(&model), found.gradients, scale, rate);
        model = load(model, updated);
    }
    Ok(losses)
}

fn model(fixtures: &Path, plain: &Device) -> Result<PeftModel<Adapter>> {
    let checkpoint = Checkpoint::open(&fixtures.join("models/bert/cls"))?;
    let device = plain.clone().autodiff();
    let encoder = Arc::new(checkpoint.encoder(plain)?.with_dropout(0.1, 0.1));
    let config = HeadConfig {
        kind: HeadKind::BertPooled,
        labels: LABELS,
        dropout: 0.1,
    };
    let head = checkpoint.head(config, &device)?;
    let head = head.context("the checkpoint has no head")?;
    pelt_hooks::seed(1);
    let config = AdapterConfig::preset("unipelt-prompt")?;
    let adapter = config.init(encoder.shape(), &device, &|_| None)?;
    Ok(PeftModel::new(encoder, adapter, head))
}

/// Rows of many lengths.
fn examples() -> Examples {
    let sequence = |row: usize| {
        let length = 3 + row * 5 % 17;
        let token = |place: usize| 5 + ((row * 11 + place * 7) % 90) as u32;
        Sequence {
            input_ids: (0..length).map(token).collect(),
            token_type_ids: vec![0; length],
        }
    };
    Examples {
        sequences: (0..ROWS).map(sequence).collect(),
        labels: (0..ROWS).map(|row| Label::Class(row % LABELS)).collect(),
    }
}
