//! All comparisons on one device.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use burn::tensor::Device;
use pelt_encoder::Precision;
use serde::Serialize;

use crate::compare::{within, worse};
use crate::{Case, RUNS, Tolerance, ValueTolerance, compare, compare_steps, train};

/// What a group of comparisons gave.
#[derive(Debug, Clone, Serialize)]
pub struct Section {
    /// What was compared.
    pub name: &'static str,
    /// How many comparisons it had.
    pub count: usize,
    /// The largest difference, and how far it may be.
    pub largest: f64,
    /// The tolerance.
    pub tolerance: f64,
    /// Seconds of all of them, compilation of the device's programs included.
    pub seconds: f64,
}

/// What all comparisons on a device gave.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The device's name.
    pub device: String,
    /// Groups of comparisons.
    pub sections: Vec<Section>,
    /// What is outside of its tolerance, a sentence each.
    pub problems: Vec<String>,
}

/// How far a device in `f32` may be from the recorded numbers.
const OUTPUTS: f64 = 1e-4;
const GRADIENTS: f64 = 1e-4;
/// The values of parameters after Adam's steps, which divide by the size of a gradient however small it is.
const VALUES: ValueTolerance = ValueTolerance {
    most: 1e-4,
    all: 1e-3,
};
/// The losses of two runs that drift apart by rounding.
const LOSSES: f64 = 1e-3;

/// The losses of a run in half precision beside those of one in `f32` on the same device.
pub const HALF: [(Precision, f64); 2] = [(Precision::Bf16, 1e-1), (Precision::F16, 2e-2)];

/// Compares everything on one device: all recorded cases, all recorded steps, and where the processor is compiled in as well,
/// the losses of a training run with the processor's.
///
/// # Errors
/// If a fixture cannot be read or run. Differences are in the report.
pub fn run(fixtures: &Path, name: &str, device: &Device) -> Result<Report> {
    let mut report = Report {
        device: name.to_string(),
        sections: Vec::new(),
        problems: Vec::new(),
    };
    let cases = Case::all(fixtures)?;
    ensure!(!cases.is_empty(), "{} has no cases", fixtures.display());
    let tolerance = Tolerance {
        outputs: OUTPUTS,
        gradients: GRADIENTS,
    };
    let started = Instant::now();
    let (mut outputs, mut gradients) = (0.0_f64, 0.0_f64);
    for case in &cases {
        let outcome = compare(case, device, tolerance)?;
        outputs = worse(outputs, outcome.outputs);
        gradients = worse(gradients, outcome.gradients);
        report.problems.extend(outcome.problems);
    }
    let seconds = started.elapsed().as_secs_f64();
    let mut section = |name, count, largest, tolerance, seconds| {
        report.sections.push(Section {
            name,
            count,
            largest,
            tolerance,
            seconds,
        });
    };
    section(
        "outputs, gates and losses",
        cases.len(),
        outputs,
        OUTPUTS,
        seconds,
    );
    section(
        "gradients (relative)",
        cases.len(),
        gradients,
        GRADIENTS,
        seconds,
    );

    let started = Instant::now();
    let mut largest = 0.0_f64;
    let mut problems = Vec::new();
    for run in RUNS {
        let (outcome, _) = compare_steps(fixtures, run, device, VALUES)?;
        largest = worse(largest, outcome.outputs);
        problems.extend(outcome.problems);
    }
    let seconds = started.elapsed().as_secs_f64();
    section(
        "values after 20 steps of AdamW",
        RUNS.len(),
        largest,
        VALUES.all,
        seconds,
    );

    #[cfg(feature = "flex")]
    let started = Instant::now();
    let full = train(fixtures, device, Precision::F32)?;
    #[cfg(feature = "flex")]
    {
        let expected = train(fixtures, &Device::flex(), Precision::F32)?;
        let largest = farthest(&full, &expected);
        if !within(largest, LOSSES) {
            problems.push(format!("the losses of training differ by {largest:e}"));
        }
        let seconds = started.elapsed().as_secs_f64();
        section(
            "losses of 30 steps of training, from flex",
            full.len(),
            largest,
            LOSSES,
            seconds,
        );
    }
    for (precision, tolerance) in HALF {
        if !precision.is_supported(device) {
            continue;
        }
        let started = Instant::now();
        let found = train(fixtures, device, precision)?;
        let largest = farthest(&found, &full);
        if !within(largest, tolerance) {
            problems.push(format!(
                "the losses of training in {precision} differ from those in f32 by {largest:e}"
            ));
        }
        let seconds = started.elapsed().as_secs_f64();
        let name = match precision {
            Precision::F16 => "losses of 30 steps in f16, from f32",
            Precision::F32 | Precision::Bf16 => "losses of 30 steps in bf16, from f32",
        };
        section(name, found.len(), largest, tolerance, seconds);
    }
    report.problems.extend(problems);
    Ok(report)
}

/// The largest difference between the losses of two runs.
fn farthest(found: &[f64], expected: &[f64]) -> f64 {
    let pairs = found.iter().zip(expected);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, worse)
}
