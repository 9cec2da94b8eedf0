//! Training steps on made-up tokens: equal work for every program, and no padding in any.

use std::time::Instant;

use burn::tensor::{Int, Tensor, TensorData};
use pelt_data::Tokenizer;
use pelt_encoder::HeadKind;
use pelt_hooks::{EncoderHooks, Hidden, PackedBatch, Packing, Pass, gradients, load, values};
use pelt_methods::Adapter;
use pelt_ops::cross_entropy;
use pelt_train::{AdamW, AdamWConfig, PeftModel, TrainError, clipping_scale, gradient_norm};
use serde::Serialize;

use crate::error::at_least_one;
use crate::flops::{self, Work};
use crate::model::trainable;
use crate::rows::made_up;
use crate::statistics::{fastest, median};
use crate::{BenchError, Setup, peak_memory_mib};

/// Outputs of the head.
const LABELS: usize = 2;

/// Steps before the first that is timed.
const WARM_UP: usize = 2;

/// Learning rate of updates: small, so that many of them on one batch stay finite.
const LEARNING_RATE: f64 = 1e-4;

/// Tokens of each batch whose time per token [`scaling`] compares.
const BATCHES: [[usize; 2]; 7] = [
    [1, 512],
    [2, 256],
    [4, 128],
    [8, 64],
    [16, 32],
    [32, 16],
    [64, 8],
];

/// Whether dropout is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dropout {
    /// As in training, with the model's own probabilities.
    On,
    /// As in evaluation.
    Off,
}

/// What a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepSettings {
    /// Tokens of each sequence.
    pub length: usize,
    /// Steps that are timed.
    pub rounds: usize,
    /// Whether dropout is active.
    pub dropout: Dropout,
    /// Whether gradients are clipped and the optimiser takes a step.
    pub update: bool,
}

/// How long a step takes.
#[derive(Debug, Serialize)]
pub struct StepReport {
    kind: &'static str,
    method: String,
    batch: usize,
    length: usize,
    rounds: usize,
    dropout: Dropout,
    update: bool,
    trainable: usize,
    median_ms: f64,
    fastest_ms: f64,
    sequences_per_s: f64,
    tokens_per_s: f64,
    /// Of the matrix products, as [`flops`] counts them.
    flops_forward: u64,
    flops_backward: u64,
    /// From the median time.
    gflops: f64,
    peak_memory_mib: Option<u64>,
}

/// Times a step: forward, backward and the collection of gradients, and the update where it is asked for.
///
/// # Errors
/// If the model or the method cannot be used, or the sequences are too long for the model.
pub fn step(setup: &Setup<'_>, settings: &StepSettings) -> Result<StepReport, BenchError> {
    at_least_one("batch", setup.batch)?;
    at_least_one("length", settings.length)?;
    at_least_one("rounds", settings.rounds)?;
    let model = build(setup)?;
    let work = work(&model, setup.batch, settings.length);
    let trainable = trainable(&model);
    let times = times(model, setup, settings)?;
    let flops = flops::count(&work);
    let (median, fastest) = (median(&times), fastest(&times));
    Ok(StepReport {
        kind: "step",
        method: setup.method_name.to_string(),
        batch: setup.batch,
        length: settings.length,
        rounds: settings.rounds,
        dropout: settings.dropout,
        update: settings.update,
        trainable,
        median_ms: median * 1e3,
        fastest_ms: fastest * 1e3,
        sequences_per_s: setup.batch as f64 / median,
        tokens_per_s: (setup.batch * settings.length) as f64 / median,
        flops_forward: flops.forward,
        flops_backward: flops.backward,
        gflops: flops.total() as f64 / median / 1e9,
        peak_memory_mib: peak_memory_mib(),
    })
}

/// The time per token of one batch shape.
#[derive(Debug, Serialize)]
pub struct ScalingPoint {
    batch: usize,
    length: usize,
    median_ms: f64,
    us_per_token: f64,
}

/// Steps on batches of 512 tokens, from one long sequence to many short ones. `setup.batch` and `settings.length` are
/// not read.
///
/// # Errors
/// As [`step`].
pub fn scaling(
    setup: &Setup<'_>,
    settings: &StepSettings,
) -> Result<Vec<ScalingPoint>, BenchError> {
    let points = BATCHES.into_iter().map(|[batch, length]| {
        let setup = Setup { batch, ..*setup };
        let settings = StepSettings {
            length,
            ..*settings
        };
        let median_ms = step(&setup, &settings)?.median_ms;
        Ok(ScalingPoint {
            batch,
            length,
            median_ms,
            us_per_token: median_ms * 1e3 / (batch * length) as f64,
        })
    });
    points.collect()
}

fn build(setup: &Setup<'_>) -> Result<PeftModel<Adapter>, BenchError> {
    // Only a prompt that starts from a text needs the tokenizer, and made-up tokens do not.
    let tokenizer = Tokenizer::load(setup.model).ok();
    setup.build(LABELS, tokenizer.as_ref())
}

/// Seconds of every timed step.
fn times(
    mut model: PeftModel<Adapter>,
    setup: &Setup<'_>,
    settings: &StepSettings,
) -> Result<Vec<f64>, BenchError> {
    let vocabulary = model.encoder().shape().vocab_size;
    let sequences = made_up(setup.batch, settings.length, vocabulary, setup.seed);
    let batch = PackedBatch::new(&sequences);
    let classes = (0..setup.batch).map(|row| (row % LABELS) as i64).collect();
    let classes = Tensor::<1, Int>::from_data(
        TensorData::new::<i64, _>(classes, [setup.batch]),
        setup.device,
    );
    let params = model.named_params();
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let mut times = Vec::new();
    for round in 0..WARM_UP + settings.rounds {
        let started = Instant::now();
        let pass = match settings.dropout {
            Dropout::On => Pass::train(setup.seed + round as u64),
            Dropout::Off => Pass::evaluate(),
        };
        let loss = cross_entropy(model.forward(&batch, &pass)?, classes.clone());
        let value: f32 = loss.clone().into_scalar();
        let found = gradients(&model, &loss.backward());
        if settings.update {
            let scale = clipping_scale(gradient_norm(&found), 1.0);
            let updated = optimizer.step(&params, values(&model), found, scale, LEARNING_RATE);
            model = load(model, updated);
        } else {
            drop(found);
        }
        let seconds = started.elapsed().as_secs_f64();
        if !value.is_finite() {
            return Err(TrainError::NotFinite {
                what: "the loss",
                value: f64::from(value),
                step: round + 1,
                epoch: 1,
                batch: round + 1,
            }
            .into());
        }
        if round >= WARM_UP {
            times.push(seconds);
        }
    }
    Ok(times)
}

/// What a step of this model multiplies. The method itself says how many rows its prompt and prefixes have.
fn work(model: &PeftModel<Adapter>, sequences: usize, length: usize) -> Work {
    let shape = *model.encoder().shape();
    let method = &model.method;
    let input = Hidden {
        values: Tensor::zeros([1, shape.hidden_size], &model.device()),
        packing: Packing::new([1]),
    };
    let prefix_rows = |layer| {
        let prefixes = method.prefix(layer, &input, &Pass::evaluate());
        prefixes.iter().map(|prefix| prefix.key.dims()[0]).sum()
    };
    let params = model.named_params().into_iter();
    Work {
        shape,
        sequences,
        length,
        prompt: method
            .prompt()
            .map_or(0, |prompt| prompt.embeddings.dims()[0]),
        prefixes: (0..shape.layers).map(prefix_rows).collect(),
        all_rows_in_last_layer: method.needs_all_rows(shape.layers.saturating_sub(1)),
        reads_pooler: model.head.config().kind == HeadKind::BertPooled,
        trained: params.map(|param| (param.name, param.shape)).collect(),
    }
}
