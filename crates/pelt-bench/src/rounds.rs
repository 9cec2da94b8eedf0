//! The loop that every measurement of steps runs, and how long the parts of a step took in it.

use std::time::Instant;

use burn::tensor::{Device, Tensor};
use pelt_data::{Label, Tokenizer};
use pelt_encoder::HeadKind;
use pelt_hooks::{EncoderHooks, Hidden, Packing, Pass, load, values};
use pelt_methods::Adapter;
use pelt_ops::{PARTS, parts, workers};
use pelt_train::{
    AdamW, AdamWConfig, Batch, Examples, Objective, PeftModel, TrainError, batch_gradients,
    clipping_scale, gradient_norm,
};

use crate::error::at_least_one;
use crate::flops::Work;
use crate::model::trainable;
use crate::rows::made_up;
use crate::{BenchError, Dropout, Setup, StepSettings};

/// Steps before the first that is timed.
pub(crate) const WARM_UP: usize = 2;

/// Outputs of the head.
const LABELS: usize = 2;

/// Learning rate of updates: small, so that many of them on one batch stay finite.
const LEARNING_RATE: f64 = 1e-4;

/// Steps that were timed, and what they did.
pub(crate) struct Measured {
    pub work: Work,
    pub trainable: usize,
    /// The first step of the warm-up.
    pub first: StepTime,
    pub rounds: Vec<StepTime>,
}

/// Seconds of the parts of one step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepTime {
    /// From the tokens to the loss.
    pub forward: f64,
    /// From the loss to the gradients by name.
    pub backward: f64,
    /// Clipping and the optimiser; next to nothing without an update.
    pub update: f64,
}

impl StepTime {
    pub fn total(&self) -> f64 {
        self.forward + self.backward + self.update
    }
}

/// Builds the model and runs steps with it on made-up tokens of equal length.
///
/// # Errors
/// If a setting is zero, the model or the method cannot be used, or the sequences are too long for the model.
pub(crate) fn measure(setup: &Setup<'_>, settings: &StepSettings) -> Result<Measured, BenchError> {
    measure_with(build(setup)?, setup, settings)
}

/// The model that steps are measured with, whatever the batch.
///
/// # Errors
/// If the model or the method cannot be used.
pub(crate) fn build(setup: &Setup<'_>) -> Result<PeftModel<Adapter>, BenchError> {
    // Only a prompt that starts from a text needs the tokenizer, and made-up tokens do not.
    let tokenizer = Tokenizer::load(setup.model).ok();
    setup.build(LABELS, tokenizer.as_ref())
}

/// As [`measure`], with a model from [`build`].
///
/// # Errors
/// If a setting is zero, or the sequences are too long for the model.
pub(crate) fn measure_with(
    model: PeftModel<Adapter>,
    setup: &Setup<'_>,
    settings: &StepSettings,
) -> Result<Measured, BenchError> {
    at_least_one("batch", setup.batch)?;
    at_least_one("length", settings.length)?;
    at_least_one("rounds", settings.rounds)?;
    let work = work(&model, setup.batch, settings.length);
    let trainable = trainable(&model);
    let mut rounds = rounds(model, setup, settings)?;
    let timed = rounds.split_off(WARM_UP);
    Ok(Measured {
        work,
        trainable,
        first: rounds[0],
        rounds: timed,
    })
}

/// The times of all steps, those of the warm-up first.
fn rounds(
    mut model: PeftModel<Adapter>,
    setup: &Setup<'_>,
    settings: &StepSettings,
) -> Result<Vec<StepTime>, BenchError> {
    let vocabulary = model.encoder().shape().vocab_size;
    let examples = Examples {
        sequences: made_up(setup.batch, settings.length, vocabulary, setup.seed),
        labels: (0..setup.batch)
            .map(|row| Label::Class(row % LABELS))
            .collect(),
    };
    let rows: Vec<usize> = (0..setup.batch).collect();
    let batch = Batch::in_parts(&examples, &rows, PARTS, setup.device);
    let params = model.named_params();
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let mut times = Vec::new();
    for round in 0..WARM_UP + settings.rounds {
        #[cfg(feature = "profile")]
        if round == WARM_UP {
            // The kernels of the warm-up are no part of what is reported.
            pelt_ops::profile::take();
        }
        let pass = || match settings.dropout {
            Dropout::On => Pass::train(setup.seed + round as u64),
            Dropout::Off => Pass::evaluate(),
        };
        let started = Instant::now();
        let found = batch_gradients(&model, batch.clone(), &Objective::default(), pass)?;
        wait(setup.device);
        let forward = found.forward.as_secs_f64() / at_once(setup) as f64;
        let backward = started.elapsed().as_secs_f64() - forward;

        let started = Instant::now();
        if settings.update {
            let scale = clipping_scale(gradient_norm(&found.gradients), 1.0);
            let values = values(&model);
            let updated = optimizer.step(&params, values, found.gradients, scale, LEARNING_RATE);
            model = load(model, updated);
        }
        wait(setup.device);
        let update = started.elapsed().as_secs_f64();
        if !found.loss.is_finite() {
            return Err(TrainError::NotFinite {
                what: "the loss",
                value: found.loss,
                step: round + 1,
                epoch: 1,
                batch: round + 1,
            }
            .into());
        }
        times.push(StepTime {
            forward,
            backward,
            update,
        });
    }
    Ok(times)
}

/// Waits until a device has done what it was asked for. A failure shows again where a result is read.
pub(crate) fn wait(device: &Device) {
    drop(device.sync());
}

/// How many parts of a batch are worked on at the same time.
pub(crate) fn at_once(setup: &Setup<'_>) -> usize {
    let parts = parts(setup.device).min(setup.batch);
    parts.min(workers(setup.device))
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
