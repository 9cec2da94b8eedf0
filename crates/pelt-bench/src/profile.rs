//! How the time of a step is spent, kernel by kernel.

use pelt_ops::profile::{Direction, Entry};
use serde::Serialize;

use crate::rounds::{StepTime, at_once, measure};
use crate::statistics::mean;
use crate::{BenchError, Dropout, Setup, StepSettings, peak_memory_mib};

/// Where the time of a step goes. All times are means over the steps, so that they add up.
#[derive(Debug, Serialize)]
pub struct ProfileReport {
    kind: &'static str,
    method: String,
    batch: usize,
    length: usize,
    rounds: usize,
    dropout: Dropout,
    /// Forward, backward and update.
    step_ms: f64,
    forward_ms: f64,
    backward_ms: f64,
    /// Clipping and AdamW.
    update_ms: f64,
    /// The longest first.
    kernels: Vec<KernelReport>,
    /// What is left of `forward_ms`: the tensor library's own operations, and bookkeeping.
    rest_forward_ms: f64,
    /// What is left of `backward_ms`.
    rest_backward_ms: f64,
    peak_memory_mib: Option<u64>,
}

/// What one kernel takes in a step.
#[derive(Debug, Serialize)]
struct KernelReport {
    name: &'static str,
    /// `forward` or `backward`.
    direction: &'static str,
    /// Calls in one step.
    calls: f64,
    /// Of all calls in one step, divided by the number of parts of the batch that run at the same time.
    ms: f64,
    /// Of the whole step.
    share: f64,
}

/// Times steps with an update, their parts, and every kernel call in them. `settings.update` is not read.
///
/// # Errors
/// As [`crate::step`].
pub fn profile(setup: &Setup<'_>, settings: &StepSettings) -> Result<ProfileReport, BenchError> {
    let settings = StepSettings {
        update: true,
        ..*settings
    };
    let measured = measure(setup, &settings)?;
    let entries = pelt_ops::profile::take();
    let mean_ms = |part: fn(&StepTime) -> f64| {
        let seconds: Vec<f64> = measured.rounds.iter().map(part).collect();
        mean(&seconds) * 1e3
    };
    let step_ms = mean_ms(StepTime::total);
    let (forward_ms, backward_ms) = (mean_ms(|time| time.forward), mean_ms(|time| time.backward));
    let rounds = settings.rounds as f64;
    // Kernels of parts that run at the same time share the time on the clock.
    let at_once = at_once(setup) as f64;
    let ms_of = |entry: &Entry| entry.elapsed.as_secs_f64() * 1e3 / rounds / at_once;
    let of = |direction| -> f64 {
        let entries = entries.iter();
        let entries = entries.filter(|entry| entry.direction == direction);
        entries.map(ms_of).sum()
    };
    let kernels = entries.iter().map(|entry| KernelReport {
        name: entry.name,
        direction: match entry.direction {
            Direction::Forward => "forward",
            Direction::Backward => "backward",
        },
        calls: entry.calls as f64 / rounds,
        ms: ms_of(entry),
        share: ms_of(entry) / step_ms,
    });
    Ok(ProfileReport {
        kind: "profile",
        method: setup.method_name.to_string(),
        batch: setup.batch,
        length: settings.length,
        rounds: settings.rounds,
        dropout: settings.dropout,
        step_ms,
        forward_ms,
        backward_ms,
        update_ms: mean_ms(|time| time.update),
        rest_forward_ms: forward_ms - of(Direction::Forward),
        rest_backward_ms: backward_ms - of(Direction::Backward),
        kernels: kernels.collect(),
        peak_memory_mib: peak_memory_mib(),
    })
}
