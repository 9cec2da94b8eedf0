//! What the matrix products alone can reach.

use std::time::{Duration, Instant};

use burn::tensor::{Device, Distribution, Tensor};
use pelt_encoder::Precision;
use serde::Serialize;

use crate::error::at_least_one;
use crate::model::supported;
use crate::rounds::wait;
use crate::statistics::{fastest, median};
use crate::{BenchError, peak_memory_mib};

/// Sizes of the products.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CeilingSettings {
    /// Rows of the left matrix: tokens of a batch.
    pub tokens: usize,
    /// Width of a hidden state.
    pub hidden: usize,
    /// Width of the feed-forward layer.
    pub intermediate: usize,
    /// Of both matrices.
    pub precision: Precision,
    /// Seconds to spend on each of the three shapes.
    pub seconds: f64,
}

/// GFLOP/s of the products of one forward pass.
#[derive(Debug, Serialize)]
pub struct CeilingReport {
    kind: &'static str,
    tokens: usize,
    precision: Precision,
    /// From the fastest product of each shape.
    gflops: f64,
    /// From the median product of each shape.
    median_gflops: f64,
    shapes: Vec<ShapeReport>,
    peak_memory_mib: Option<u64>,
}

#[derive(Debug, Serialize)]
struct ShapeReport {
    inputs: usize,
    outputs: usize,
    gflops: f64,
    median_gflops: f64,
    rounds: usize,
}

/// Multiplies `[tokens, in]` by `[in, out]` at the shapes of an encoder layer's linear layers, and weighs the shapes as
/// a layer has them: four of `hidden x hidden`, and one each up to `intermediate` and back.
///
/// # Errors
/// A size of zero, or a precision that the device does not compute in.
pub fn ceiling(settings: &CeilingSettings, device: &Device) -> Result<CeilingReport, BenchError> {
    let CeilingSettings {
        tokens,
        hidden,
        intermediate,
        precision,
        seconds,
    } = *settings;
    supported(precision, device)?;
    at_least_one("tokens", tokens)?;
    at_least_one("hidden", hidden)?;
    at_least_one("intermediate", intermediate)?;
    let time = Duration::try_from_secs_f64(seconds).map_err(|_| BenchError::Setting {
        field: "seconds",
        expected: "a number of at least 0",
        found: seconds.to_string(),
    })?;
    let (mut flops, mut best_seconds, mut median_seconds) = (0.0, 0.0, 0.0);
    let mut shapes = Vec::new();
    for (inputs, outputs, count) in [
        (hidden, hidden, 4.0),
        (hidden, intermediate, 1.0),
        (intermediate, hidden, 1.0),
    ] {
        let times = multiply([tokens, inputs, outputs], precision, time, device)?;
        let product = 2.0 * (tokens * inputs * outputs) as f64;
        let (best, middle) = (fastest(&times), median(&times));
        flops += count * product;
        best_seconds += count * best;
        median_seconds += count * middle;
        shapes.push(ShapeReport {
            inputs,
            outputs,
            gflops: product / best / 1e9,
            median_gflops: product / middle / 1e9,
            rounds: times.len(),
        });
    }
    Ok(CeilingReport {
        kind: "ceiling",
        tokens,
        precision,
        gflops: flops / best_seconds / 1e9,
        median_gflops: flops / median_seconds / 1e9,
        shapes,
        peak_memory_mib: peak_memory_mib(),
    })
}

/// What is done between two looks at the clock takes about so long: a GPU is handed one product after another.
const LONG_ENOUGH: f64 = 5e-3;

/// The most products between two looks at the clock.
const MOST_AT_ONCE: usize = 1000;

/// Seconds of a product, again and again for `time`, at least three times; the first products warm up and are not counted.
fn multiply(
    [m, k, n]: [usize; 3],
    precision: Precision,
    time: Duration,
    device: &Device,
) -> Result<Vec<f64>, BenchError> {
    let normal = Distribution::Normal(0.0, 1.0);
    let random = |shape| precision.of(Tensor::<2>::random(shape, normal, device));
    let (left, right) = (random([m, k]), random([k, n]));
    let products = |count: usize| {
        let started = Instant::now();
        for _ in 0..count {
            drop(left.clone().matmul(right.clone()));
        }
        wait(device);
        started.elapsed().as_secs_f64() / count as f64
    };
    products(3);
    let at_once = (LONG_ENOUGH / products(1).max(1e-9)).ceil();
    let at_once = (at_once as usize).clamp(1, MOST_AT_ONCE);
    let mut times = Vec::new();
    let end = Instant::now() + time;
    while times.len() < 3 || Instant::now() < end {
        times.push(products(at_once));
    }
    // A device may have refused all of it without a word until something is read.
    let one = left.matmul(right).slice([0..1, 0..1]).into_data();
    match one.convert::<f32>().try_to_vec_as::<f32>() {
        Ok(values) if values.iter().all(|value| value.is_finite()) => Ok(times),
        found => Err(BenchError::Device(format!("a product gave {found:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shapes_are_measured_and_the_fastest_is_not_slower_than_the_median() {
        let settings = CeilingSettings {
            tokens: 8,
            hidden: 4,
            intermediate: 16,
            precision: Precision::F32,
            seconds: 0.0,
        };
        let report = ceiling(&settings, &Device::flex()).unwrap();
        assert_eq!(report.shapes.len(), 3);
        assert!(report.median_gflops > 0.0 && report.gflops >= report.median_gflops);
        let empty = CeilingSettings {
            tokens: 0,
            ..settings
        };
        assert!(ceiling(&empty, &Device::flex()).is_err());
    }
}
