//! How the time per token depends on the shape of a batch.

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use pelt_hooks::Packing;
use pelt_ops::{AttentionLayout, attention, parts, side_by_side};
use serde::Serialize;

use crate::flops::Work;
use crate::rounds::{StepTime, WARM_UP, build, measure_with, wait};
use crate::statistics::median;
use crate::{BenchError, Setup, StepSettings, peak_memory_mib};

/// Sequences and tokens of each sequence: 512 tokens together, from one long sequence to many short ones.
const BATCHES: [[usize; 2]; 7] = [
    [1, 512],
    [2, 256],
    [4, 128],
    [8, 64],
    [16, 32],
    [32, 16],
    [64, 8],
];

/// Steps of one shape before it is the next one's turn.
const TURN: usize = 3;

/// The time per token of batches of 512 tokens.
#[derive(Debug, Serialize)]
pub struct ScalingReport {
    kind: &'static str,
    method: String,
    points: Vec<ScalingPoint>,
    /// By which part of the least time per token the largest is above it.
    spread: f64,
    /// The same without attention.
    spread_without_attention: f64,
    peak_memory_mib: Option<u64>,
}

/// The time per token of one batch shape.
#[derive(Debug, Serialize)]
struct ScalingPoint {
    batch: usize,
    length: usize,
    median_ms: f64,
    /// Of the attention of all layers, measured alone.
    attention_ms: f64,
    us_per_token: f64,
    us_per_token_without_attention: f64,
}

/// Steps on batches of 512 tokens, from one long sequence to many short ones. `setup.batch` and `settings.length` are
/// not read.
///
/// Attention is the one part of a step whose work grows with the square of a sequence's length. Its time is therefore
/// measured alone too, forward and backward at the same shapes, and subtracted. Prefix rows and dropout, whose work
/// grows with the number of tokens, are left out of that measurement and so stay in what remains.
///
/// # Errors
/// As [`crate::step`].
pub fn scaling(setup: &Setup<'_>, settings: &StepSettings) -> Result<ScalingReport, BenchError> {
    let points = points(setup, settings, &BATCHES)?;
    Ok(ScalingReport {
        kind: "scaling",
        method: setup.method_name.to_string(),
        spread: spread(points.iter().map(|point| point.us_per_token)),
        spread_without_attention: spread(
            points
                .iter()
                .map(|point| point.us_per_token_without_attention),
        ),
        points,
        peak_memory_mib: peak_memory_mib(),
    })
}

/// The shapes take turns of a few steps, so that a machine whose speed changes over time is the same to all of them.
fn points(
    setup: &Setup<'_>,
    settings: &StepSettings,
    batches: &[[usize; 2]],
) -> Result<Vec<ScalingPoint>, BenchError> {
    let model = build(setup)?;
    let mut steps = vec![Vec::new(); batches.len()];
    let mut attention = steps.clone();
    let mut left = settings.rounds;
    while left > 0 {
        let rounds = left.min(TURN);
        left -= rounds;
        for (place, &[batch, length]) in batches.iter().enumerate() {
            let setup = Setup { batch, ..*setup };
            let settings = StepSettings {
                length,
                rounds,
                ..*settings
            };
            let measured = measure_with(model.clone(), &setup, &settings)?;
            steps[place].extend(measured.rounds.iter().map(StepTime::total));
            attention[place].extend(attention_times(&measured.work, rounds, setup.device));
        }
    }
    let points = batches.iter().zip(steps).zip(attention);
    let points = points.map(|((&[batch, length], steps), attention)| {
        let [median_ms, attention_ms] = [steps, attention].map(|times| median(&times) * 1e3);
        let per_token = |ms: f64| ms * 1e3 / (batch * length) as f64;
        ScalingPoint {
            batch,
            length,
            median_ms,
            attention_ms,
            us_per_token: per_token(median_ms),
            us_per_token_without_attention: per_token(median_ms - attention_ms),
        }
    });
    Ok(points.collect())
}

/// Seconds of the attention of all layers, the last of which may have one query per sequence only. As in a step, the
/// sequences are cut into parts that run side by side.
fn attention_times(work: &Work, rounds: usize, device: &Device) -> Vec<f64> {
    let count = parts(device).min(work.sequences);
    let parts = (0..count).map(|part| (work.sequences + part) / count);
    let parts = parts
        .map(|sequences| {
            let keys = Packing::new(vec![work.prompt + work.length; sequences]);
            let last = match work.all_rows_in_last_layer {
                true => keys.clone(),
                false => keys.one_row_each(),
            };
            let width = work.shape.hidden_size;
            let all = Attention::new(keys.clone(), keys.clone(), work.shape.heads, width, device);
            let last = Attention::new(keys, last, work.shape.heads, width, device);
            [all, last]
        })
        .collect::<Vec<_>>();
    let repeats = work.shape.layers.saturating_sub(1);
    let mut times = Vec::new();
    for round in 0..WARM_UP + rounds {
        let started = Instant::now();
        side_by_side(parts.clone(), |[all, last]| {
            for _ in 0..repeats {
                all.run();
            }
            last.run();
        });
        wait(device);
        if round >= WARM_UP {
            times.push(started.elapsed().as_secs_f64());
        }
    }
    times
}

/// The attention of one layer on random numbers.
#[derive(Debug, Clone)]
struct Attention {
    inputs: [Tensor<2>; 3],
    layout: AttentionLayout,
}

impl Attention {
    fn new(keys: Packing, queries: Packing, heads: usize, width: usize, device: &Device) -> Self {
        let random = |packing: &Packing| {
            let shape = [packing.tokens(), width];
            Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
        };
        Self {
            inputs: [&queries, &keys, &keys].map(random),
            layout: AttentionLayout {
                keys,
                queries,
                heads,
                dropout: 0.0,
                dropout_key: None,
            },
        }
    }

    /// Forward and backward, with gradients of queries, keys and values.
    fn run(&self) {
        let tracked = |input: &Tensor<2>| input.clone().autodiff().require_grad();
        let [query, key, value] = self.inputs.each_ref().map(tracked);
        drop(attention(query, key, value, vec![], &self.layout).backward());
    }
}

/// By which part of the smallest value the largest is above it.
fn spread(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let smallest = values.clone().fold(f64::INFINITY, f64::min);
    let largest = values.fold(f64::NEG_INFINITY, f64::max);
    largest / smallest - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dropout, MethodChoice};
    use pelt_encoder::Precision;

    #[test]
    fn attention_is_measured_alone_and_taken_out_of_the_time_per_token() {
        let method = MethodChoice::parse("unipelt-prompt", &[]).unwrap();
        let setup = Setup {
            model: &pelt_testkit::fixture("models/bert/base"),
            method_name: "unipelt-prompt",
            method: &method,
            batch: 1,
            seed: 1,
            precision: Precision::F32,
            device: &Device::flex(),
        };
        let settings = StepSettings {
            length: 1,
            rounds: 3,
            dropout: Dropout::Off,
            update: false,
        };
        let points = points(&setup, &settings, &[[1, 16], [4, 4]]).unwrap();
        assert_eq!(points.len(), 2);
        for point in points {
            assert!(point.attention_ms > 0.0 && point.attention_ms < point.median_ms);
            let per_token = |ms: f64| ms * 1e3 / 16.0;
            let expected = per_token(point.median_ms - point.attention_ms);
            assert!((point.us_per_token - per_token(point.median_ms)).abs() < 1e-6);
            assert!((point.us_per_token_without_attention - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn every_batch_has_512_tokens() {
        assert!(BATCHES.iter().all(|[batch, length]| batch * length == 512));
    }

    #[test]
    fn the_spread_is_relative_to_the_smallest_value() {
        assert_eq!(spread([4.0, 2.0, 3.0].into_iter()), 1.0);
        assert_eq!(spread([7.0; 3].into_iter()), 0.0);
    }
}
