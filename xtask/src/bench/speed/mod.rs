//! `cargo xtask bench speed`: every measurement in a process of its own, several times, both sides in turn.

mod acceptance;
mod plan;
mod plot;
mod render;
mod results;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::backend::Backend;
use crate::bench::machine::Machine;
use crate::bench::model;
use crate::bench::program::{OURS, PYTHON, Program};
use crate::cargo;
use crate::files::write_atomically;
pub use acceptance::UNION;
use plan::{Measurement, Settings};
use results::{Results, Side};

/// The other implementation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Against {
    /// PyTorch with transformers, adapters and peft.
    Python,
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Measure this implementation too, in turn with ours.
    #[arg(long, value_enum)]
    against: Option<Against>,
    /// The interpreter that has its packages.
    #[arg(long, value_name = "PATH", default_value = "python3")]
    python: PathBuf,
    /// Checkpoint folder [default: the demo's encoder, fetched where it is missing].
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Folder of GLUE tasks in the Hub's Parquet layout; without it nothing is measured on real rows.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Runs of every measurement; their median counts.
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// Tasks to train on; the first one is also evaluated and used for the table of methods.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "mrpc,sst2,cola",
        value_name = "NAMES"
    )]
    tasks: Vec<String>,
    /// Methods of the table [default: all; `none` for no table].
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    methods: Option<Vec<String>>,
    /// Runs of every measurement in the table of methods.
    #[arg(long, default_value_t = 1, value_name = "N")]
    table_rounds: usize,
    /// Steps that stand for an epoch.
    #[arg(
        long,
        default_value_t = 40,
        value_name = "N",
        conflicts_with = "full_epochs"
    )]
    steps: usize,
    /// Run whole epochs.
    #[arg(long)]
    full_epochs: bool,
    /// Device of our side; what it needs is compiled in.
    #[arg(long, default_value = "flex", value_name = "NAME")]
    device: String,
    /// Threads of both sides [default: one per core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Only the measurements whose names begin with one of these, e.g. `infer,scaling`.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// One short run of each measurement, one task and no table of methods: to try the command out.
    #[arg(long)]
    quick: bool,
    /// Where speed.json, speed.md and scaling.svg go [default: target/bench].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        arguments.rounds > 0 && arguments.table_rounds > 0 && arguments.steps > 0,
        "--rounds, --table-rounds and --steps must be at least 1"
    );
    let data = arguments
        .data
        .as_ref()
        .map(std::path::absolute)
        .transpose()?;
    let model = model::folder(arguments.model.as_deref())?;
    let out = match &arguments.out {
        Some(folder) => std::path::absolute(folder)?,
        None => cargo::target()?.join("bench"),
    };
    std::fs::create_dir_all(&out)
        .with_context(|| format!("cannot create the folder {}", out.display()))?;
    let python = match arguments.against {
        Some(Against::Python) => Some(Program::python(&arguments.python)?),
        None => None,
    };
    let mut versions = vec![("pelt".to_string(), env!("CARGO_PKG_VERSION").to_string())];
    if let Some(python) = &python {
        versions.extend(python.versions()?);
    }
    // Before the build, which is a load of its own.
    let machine = Machine::here();
    println!("building pelt-bench (the first build takes some minutes)");
    let backend = Backend::of(&arguments.device, None)?;
    backend.build("pelt-bench")?;
    let ours = Program::pelt_bench(cargo::program("pelt-bench")?)
        .with(&backend.variables)
        .on(&arguments.device);

    let settings = settings(arguments, &model, data.as_deref(), &ours)?;
    machine.warn_if_busy();
    let mut results = Results::new(machine, versions, settings.sampled());
    if data.is_none() {
        println!("without --data nothing is measured on real rows");
        results.note("no data set was given, so nothing was measured on real rows");
    }
    let plan = plan::chosen(plan::measurements(&settings), &arguments.only)?;
    for (number, measurement) in plan.iter().enumerate() {
        println!("[{}/{}] {}", number + 1, plan.len(), measurement.name);
        measure(measurement, &ours, python.as_ref(), &mut results);
        write(&out, &results)?;
    }
    println!("\n{}", render::markdown(&results));
    println!(
        "written: {}, speed.json and the plot scaling.svg beside it",
        out.join("speed.md").display()
    );
    match results.failures() {
        0 => Ok(()),
        count => bail!("{count} runs failed; what they said is above"),
    }
}

/// Everything that decides what is measured.
fn settings(
    arguments: &Arguments,
    model: &Path,
    data: Option<&Path>,
    ours: &Program,
) -> Result<Settings> {
    let quick = arguments.quick;
    let methods = match &arguments.methods {
        Some(names) if names.iter().any(|name| name == "none") => Vec::new(),
        Some(names) => names.clone(),
        None if quick => Vec::new(),
        None => ours.methods()?,
    };
    Ok(Settings {
        model: model.display().to_string(),
        data: data.map(|folder| folder.display().to_string()),
        tasks: match quick {
            true => arguments.tasks.iter().take(1).cloned().collect(),
            false => arguments.tasks.clone(),
        },
        methods,
        rounds: if quick { 1 } else { arguments.rounds },
        table_rounds: if quick { 1 } else { arguments.table_rounds },
        step_rounds: if quick { 3 } else { 15 },
        ceiling_seconds: if quick { 0.5 } else { 3.0 },
        steps: match (arguments.full_epochs, quick) {
            (true, _) => None,
            (false, true) => Some(arguments.steps.min(5)),
            (false, false) => Some(arguments.steps),
        },
        threads: arguments.threads,
    })
}

/// Runs one measurement on both sides in turn. A run that fails is told of and left out.
fn measure(
    measurement: &Measurement,
    ours: &Program,
    python: Option<&Program>,
    results: &mut Results,
) {
    let name = measurement.name.as_str();
    let mut sides = vec![(name, Side::Ours, ours, &measurement.ours)];
    if let Some((beside, arguments)) = &measurement.beside {
        sides.insert(0, (*beside, Side::Ours, ours, arguments));
    }
    if let (Some(python), Some(arguments)) = (python, &measurement.theirs) {
        sides.push((name, Side::Theirs, python, arguments));
    }
    for _ in 0..measurement.rounds {
        // After a first run without a result there is no point in a second one.
        sides.retain(|(measured, side, program, arguments)| {
            let report = program.measure(arguments);
            let name = match side {
                Side::Ours => OURS,
                Side::Theirs => PYTHON,
            };
            match report {
                Ok(Some(report)) => {
                    println!("  {name:<7} {}", render::one_line(&report));
                    results.add(measured, *side, report);
                    true
                }
                Ok(None) => {
                    println!("  {name:<7} no counterpart");
                    false
                }
                Err(error) => {
                    println!("  {name:<7} failed: {error:#}");
                    results.failed(measured, name, &error);
                    false
                }
            }
        });
    }
}

fn write(out: &Path, results: &Results) -> Result<()> {
    write_atomically(&out.join("speed.json"), &format!("{:#}\n", results.json()))?;
    write_atomically(&out.join("speed.md"), &render::markdown(results))?;
    match results.reports("scaling", Side::Ours).last() {
        Some(report) => write_atomically(&out.join("scaling.svg"), &plot::scaling(report)?),
        None => Ok(()),
    }
}
