//! `pelt-bench`: one measurement per process, so that the peak memory is that of the measured work alone. Prints one
//! JSON object on one line.

// The result on standard output is this program's purpose.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;

use std::process::ExitCode;

#[cfg(not(feature = "profile"))]
use anyhow::bail;
use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use clap::Parser;
use pelt_bench::{
    BenchError, CeilingSettings, EpochSettings, MethodChoice, Setup, StepSettings, TaskData,
    ceiling, epoch, infer, method_names, scaling, step, write_shape,
};
use serde_json::{Value, json, to_value};

use args::{Arguments, Bench, DataArguments, ModelArguments, Speed};

/// The exit code that says: this cannot be measured here.
const NOT_THERE: u8 = 3;

fn main() -> ExitCode {
    // As `pelt` does; without it the ceiling of the products would be one of the allocator.
    pelt_ops::keep_freed_memory();
    match run(Arguments::parse()) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            match error.downcast_ref() {
                Some(BenchError::NotThere(_)) => ExitCode::from(NOT_THERE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(arguments: Arguments) -> Result<Value> {
    let Bench::Speed {
        threads,
        device,
        kind,
    } = arguments.bench;
    let mut pool = rayon::ThreadPoolBuilder::new().use_current_thread();
    if let Some(threads) = threads {
        ensure!(threads > 0, "--threads must be at least 1, but is 0");
        pool = pool.num_threads(threads);
    }
    pool.build_global()
        .context("cannot set the number of threads")?;
    let mut report = measure(kind, &pelt_device::open(&device)?)?;
    if let Value::Object(fields) = &mut report {
        fields.insert("threads".into(), rayon::current_num_threads().into());
        fields.insert("device".into(), device.into());
    }
    Ok(report)
}

fn measure(kind: Speed, device: &Device) -> Result<Value> {
    let value = match kind {
        Speed::Methods => json!({"kind": "methods", "names": method_names()}),
        Speed::Ceiling {
            tokens,
            hidden,
            intermediate,
            precision,
            seconds,
        } => {
            let settings = CeilingSettings {
                tokens,
                hidden,
                intermediate,
                precision,
                seconds,
            };
            to_value(ceiling(&settings, device)?)?
        }
        Speed::Shape { name, out } => {
            write_shape(name, &out)?;
            json!({"kind": "shape", "name": name, "out": out})
        }
        Speed::Step {
            model,
            length,
            steps,
            update,
        } => {
            let settings = StepSettings {
                length,
                rounds: steps.rounds,
                dropout: steps.dropout.into(),
                update,
            };
            with_setup(&model, device, |setup| {
                Ok(to_value(step(setup, &settings)?)?)
            })?
        }
        Speed::Scaling { model, steps } => {
            let settings = StepSettings {
                length: 1,
                rounds: steps.rounds,
                dropout: steps.dropout.into(),
                update: false,
            };
            with_setup(&model, device, |setup| {
                Ok(to_value(scaling(setup, &settings)?)?)
            })?
        }
        Speed::Profile {
            model,
            length,
            steps,
        } => {
            let settings = StepSettings {
                length,
                rounds: steps.rounds,
                dropout: steps.dropout.into(),
                update: true,
            };
            with_setup(&model, device, |setup| profile(setup, &settings))?
        }
        Speed::Epoch {
            model,
            data,
            steps,
            learning_rate,
        } => {
            let settings = EpochSettings {
                steps,
                learning_rate,
            };
            with_setup(&model, device, |setup| {
                Ok(to_value(epoch(setup, &task(&data), &settings)?)?)
            })?
        }
        Speed::Infer { model, data } => with_setup(&model, device, |setup| {
            Ok(to_value(infer(setup, &task(&data))?)?)
        })?,
    };
    Ok(value)
}

#[cfg(feature = "profile")]
fn profile(setup: &Setup<'_>, settings: &StepSettings) -> Result<Value> {
    Ok(to_value(pelt_bench::profile(setup, settings)?)?)
}

#[cfg(not(feature = "profile"))]
fn profile(_: &Setup<'_>, _: &StepSettings) -> Result<Value> {
    bail!(
        "this pelt-bench was built without the cargo feature `profile`, which measures the kernels"
    )
}

fn with_setup(
    model: &ModelArguments,
    device: &Device,
    measure: impl FnOnce(&Setup<'_>) -> Result<Value>,
) -> Result<Value> {
    let method = MethodChoice::parse(&model.method, &model.settings)?;
    measure(&Setup {
        model: &model.model,
        method_name: &model.method,
        method: &method,
        batch: model.batch,
        seed: model.seed,
        precision: model.precision,
        device,
    })
}

fn task(data: &DataArguments) -> TaskData<'_> {
    TaskData {
        task: &data.task,
        folder: &data.data,
        max_length: data.max_length,
    }
}
