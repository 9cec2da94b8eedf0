//! Compares fine-tuning methods: runs the grid of a plan with `pelt`, and reports on it.

// This program talks to a person at a terminal; printing is its purpose.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use pelt_grid::report::{self, Summary};
use pelt_grid::{
    Failure, Lock, Outcome, PLAN_FILE, Pelt, Plan, Record, Setup, Slurm, commit, compare, finals,
    run_all, run_cell, submit, trials, write_plan,
};

/// Compare fine-tuning methods on tasks, over seeds.
#[derive(Debug, Parser)]
#[command(name = "pelt-grid", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a plan's cells that have no result yet, and write the report
    Run(Box<RunArguments>),
    /// Run one cell of a results folder, as a job scheduler does
    Cell(CellArguments),
    /// Check that model and data of a results folder's plan are there, and fetch data from the Hub
    Fetch(FetchArguments),
    /// Write the report of a results folder, finished or not
    Report {
        /// Folder of the results, with the plan in it.
        results: PathBuf,
    },
    /// Show what differs between two results folders
    Compare {
        /// Folder of the results that are compared with.
        a: PathBuf,
        /// Folder of the other results.
        b: PathBuf,
    },
}

/// Where things lie.
#[derive(Debug, Clone, Args)]
struct Places {
    /// Folder of the pretrained encoder (Hugging Face layout), or its name on the Hub [default: the plan's].
    #[arg(long, value_name = "DIR|OWNER/NAME")]
    model: Option<PathBuf>,
    /// Folder of data sets [default: the plan's; without one GLUE and SQuAD come from the Hub].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Device to compute on: one of `pelt devices`.
    #[arg(long, default_value = "flex", value_name = "NAME")]
    device: String,
    /// The program that trains [default: `pelt` beside this program, else on the PATH].
    #[arg(long, value_name = "FILE")]
    pelt: Option<PathBuf>,
    /// Keep the trained weights of every cell.
    #[arg(long)]
    keep_weights: bool,
}

#[derive(Debug, Args)]
struct RunArguments {
    /// The plan, a TOML file.
    #[arg(required_unless_present = "suite")]
    plan: Option<PathBuf>,
    /// A plan that comes with the program: glue, domain, squad, low-resource or smoke.
    #[arg(long, value_name = "NAME", conflicts_with = "plan")]
    suite: Option<String>,
    /// Only these tasks of the plan.
    #[arg(long, value_name = "TASK", value_delimiter = ',')]
    tasks: Vec<String>,
    /// Only these methods of the plan.
    #[arg(long, value_name = "METHOD", value_delimiter = ',')]
    methods: Vec<String>,
    /// This many seeds, from 42 on [default: the plan's].
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    #[command(flatten)]
    places: Places,
    /// Folder of the results [default: results/NAME].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Cells that run at the same time, each on its share of the cores.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Begin no cell after this many hours. The same command goes on from there.
    #[arg(long, value_name = "H")]
    hours: Option<f64>,
    /// What runs the cells.
    #[arg(long, value_enum, default_value_t = Launcher::Local)]
    launcher: Launcher,
    /// With Slurm: generic resources of a cell, for example gpu:1.
    #[arg(long, value_name = "LIST")]
    gres: Option<String>,
    /// With Slurm: an option of every job, for example --slurm-option=--partition=long; can be repeated.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    slurm_option: Vec<String>,
    /// With Slurm: come back only when the report is written.
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Launcher {
    /// Processes of this machine.
    Local,
    /// A Slurm job array, one cell a task.
    Slurm,
}

#[derive(Debug, Args)]
struct CellArguments {
    /// Folder of the results, with the plan in it.
    results: PathBuf,
    /// Which cells the index counts.
    #[arg(long, value_enum)]
    phase: Phase,
    /// Number of the cell, from 0.
    #[arg(long)]
    index: usize,
    #[command(flatten)]
    places: Places,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Phase {
    /// Every learning rate with the first seed.
    Trials,
    /// The best learning rates with the other seeds.
    Finals,
}

#[derive(Debug, Args)]
struct FetchArguments {
    /// Folder of the results, with the plan in it.
    results: PathBuf,
    #[command(flatten)]
    places: Places,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(arguments) => run(&arguments),
        Command::Cell(arguments) => cell(&arguments),
        Command::Fetch(arguments) => fetch(&arguments),
        Command::Report { results } => Plan::read(&results.join(PLAN_FILE))
            .map_err(Into::into)
            .and_then(|plan| write_report(&plan, &results)),
        Command::Compare { a, b } => compare_folders(&a, &b),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &RunArguments) -> Result<()> {
    let mut plan = match (&arguments.plan, &arguments.suite) {
        (Some(path), _) => Plan::read(path)?,
        (None, Some(suite)) => Plan::suite(suite)?,
        (None, None) => bail!("say what to run: a plan, or --suite NAME"),
    };
    plan.narrow(&arguments.tasks, &arguments.methods, arguments.seeds)?;
    plan.check_choice()?;
    ensure!(arguments.jobs > 0, "--jobs must be at least 1, but is 0");
    check_launcher(arguments)?;
    let results = match &arguments.out {
        Some(folder) => std::path::absolute(folder)?,
        None => std::path::absolute(Path::new("results").join(&plan.name))?,
    };
    let setup = arguments.places.setup(&plan, jobs(arguments))?;
    // The machine that hands jobs to Slurm may have no GPU.
    if arguments.launcher == Launcher::Slurm {
        let lock = Lock::take(&results)?;
        check_plan_of_jobs(&plan, &results)?;
        write_plan(&plan, &results)?;
        return run_on_slurm(arguments, &plan, &results, &setup, lock);
    }
    setup.try_device()?;
    // Cells would fetch it side by side.
    let encoder = setup.fetch_model()?;
    let _lock = Lock::take(&results)?;
    write_plan(&plan, &results)?;
    let deadline = match arguments.hours {
        Some(hours) => {
            let seconds = Duration::try_from_secs_f64(hours * 3600.0);
            let seconds = seconds.context("--hours must be a number of hours")?;
            Instant::now().checked_add(seconds)
        }
        None => None,
    };
    let cells = trials(&plan).len() + finals(&plan).len();
    println!("{}: {cells} cells in {}", plan.name, results.display());
    let outcome = run_all(&plan, &results, &setup, &encoder, deadline, &|line| {
        println!("{line}")
    })?;
    write_report(&plan, &results)?;
    finish(&outcome)
}

/// Cells that run at the same time: on this machine no more than there are cores.
fn jobs(arguments: &RunArguments) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if arguments.launcher == Launcher::Slurm || arguments.jobs <= cores {
        return arguments.jobs;
    }
    eprintln!(
        "note: --jobs {} on {cores} cores: {cores} cells run at the same time",
        arguments.jobs
    );
    cores
}

/// Checks that the folder has no other plan: jobs that wait in Slurm's queue read it when they begin.
fn check_plan_of_jobs(plan: &Plan, results: &Path) -> Result<()> {
    let path = results.join(PLAN_FILE);
    ensure!(
        !path.exists() || Plan::read(&path)? == *plan,
        "{}: jobs of another plan may be waiting, and would run cells of this one; take another folder with --out, or remove \
         the file if there are none",
        path.display()
    );
    Ok(())
}

/// Checks that every option is one of the launcher's.
fn check_launcher(arguments: &RunArguments) -> Result<()> {
    let slurm = arguments.launcher == Launcher::Slurm;
    let given = [
        ("--gres", arguments.gres.is_some()),
        ("--slurm-option", !arguments.slurm_option.is_empty()),
        ("--wait", arguments.wait),
    ];
    for (option, given) in given {
        ensure!(!given || slurm, "{option} is for --launcher slurm");
    }
    ensure!(
        arguments.hours.is_none() || !slurm,
        "--hours is for --launcher local; a limit of Slurm's jobs is --slurm-option=--time=..."
    );
    Ok(())
}

fn write_report(plan: &Plan, results: &Path) -> Result<()> {
    report::write(&Summary::of(plan, results)?, results)?;
    println!("report: {}", results.join("report.html").display());
    Ok(())
}

fn compare_folders(a: &Path, b: &Path) -> Result<()> {
    print!("{}", compare(a, b)?);
    Ok(())
}

/// Says what came of it; an error if a cell failed.
fn finish(outcome: &Outcome) -> Result<()> {
    for Failure { cell, message } in &outcome.failed {
        eprintln!(
            "failed: {} {} seed {}: {message}",
            cell.task, cell.method, cell.seed
        );
    }
    if outcome.left > 0 {
        println!("{} cells are left; the same command goes on", outcome.left);
    }
    match outcome.failed.len() {
        0 => Ok(()),
        failed => bail!("{failed} cells failed; the same command tries them again"),
    }
}

fn run_on_slurm(
    arguments: &RunArguments,
    plan: &Plan,
    results: &Path,
    setup: &Setup,
    lock: Lock,
) -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut places = vec!["--model".to_string(), setup.model.display().to_string()];
    if let Some(data) = &setup.data {
        places.extend(["--data".into(), data.display().to_string()]);
    }
    places.extend(["--pelt".into(), setup.pelt.program.display().to_string()]);
    places.extend(["--device".into(), setup.device.clone()]);
    if setup.keep_weights {
        places.push("--keep-weights".into());
    }
    let slurm = Slurm {
        program,
        arguments: places,
        gres: arguments.gres.clone(),
        options: arguments.slurm_option.clone(),
        jobs: arguments.jobs,
        wait: arguments.wait,
    };
    // The jobs write from now on.
    drop(lock);
    for (name, number) in submit(plan, results, &slurm)? {
        println!("job {number}: {name}");
    }
    println!("results: {}", results.display());
    match arguments.wait {
        true => check_jobs(plan, results),
        false => Ok(()),
    }
}

/// Says which cells failed or have no result, when the jobs have ended; an error if there are any.
fn check_jobs(plan: &Plan, results: &Path) -> Result<()> {
    let summary = Summary::of(plan, results)?;
    for Failure { cell, message } in &summary.failures {
        eprintln!("failed: {}: {message}", cell.id());
    }
    for cell in &summary.missing {
        eprintln!("no result: {cell}");
    }
    ensure!(
        summary.is_complete() && results.join("report.html").is_file(),
        "not every job ended well; what they said is in {}",
        results.join("slurm").display()
    );
    Ok(())
}

fn cell(arguments: &CellArguments) -> Result<()> {
    let results = std::path::absolute(&arguments.results)?;
    let plan = Plan::read(&results.join(PLAN_FILE))?;
    let setup = arguments.places.setup(&plan, 1)?;
    let outside = || format!("--index {}: the plan has no such cell", arguments.index);
    let cell = match arguments.phase {
        Phase::Trials => trials(&plan)
            .into_iter()
            .nth(arguments.index)
            .with_context(outside)?,
        Phase::Finals => {
            let wanted = finals(&plan)
                .into_iter()
                .nth(arguments.index)
                .with_context(outside)?;
            let tried = trials(&plan);
            let records = tried
                .iter()
                .filter_map(|cell| Record::read(&cell.folder(&results)).transpose());
            let records: Vec<Record> = records.collect::<Result<_, _>>()?;
            let cell = wanted.cell(&plan, &records);
            cell.context("every trial failed, so that there is no learning rate")?
        }
    };
    let encoder = setup.fetch_model()?;
    if pelt_grid::finished(&cell, &plan, &results, &encoder)?.is_some() {
        println!("{}: finished before", cell.id());
        return Ok(());
    }
    match run_cell(&cell, &plan, &results, &setup) {
        Ok(record) => {
            println!("{}: {} {:.4}", cell.id(), record.metric, record.score());
            Ok(())
        }
        Err(error) => {
            let message = error.to_string();
            let folder = cell.folder(&results);
            Failure { cell, message }.write(&folder)?;
            Err(error.into())
        }
    }
}

fn fetch(arguments: &FetchArguments) -> Result<()> {
    let plan = Plan::read(&arguments.results.join(PLAN_FILE))?;
    let setup = arguments.places.setup(&plan, 1)?;
    setup.fetch_model()?;
    for task in &plan.tasks {
        setup.fetch(&task.name)?;
        println!("{}: there", task.name);
    }
    Ok(())
}

/// Whether this names a repository on the Hugging Face Hub, as `owner/name`, which `pelt` fetches.
fn is_on_hub(model: &Path) -> bool {
    let parts = model.components();
    let names = parts.filter(|part| matches!(part, std::path::Component::Normal(_)));
    !model.exists() && model.is_relative() && names.count() == 2 && model.components().count() == 2
}

impl Places {
    fn setup(&self, plan: &Plan, jobs: usize) -> Result<Setup> {
        let model = self.model.clone().or(plan.model.clone().map(PathBuf::from));
        let model = model.context(
            "say which pretrained encoder to adapt, with --model DIR or --model OWNER/NAME",
        )?;
        let model = match is_on_hub(&model) {
            true => model,
            false => std::path::absolute(model)?,
        };
        ensure!(
            is_on_hub(&model) || model.join("config.json").is_file(),
            "{}: should be the folder of a pretrained encoder, but has no config.json",
            model.display()
        );
        let data = self.data.clone().or(plan.data.clone().map(PathBuf::from));
        let data = data.map(std::path::absolute).transpose()?;
        if let Some(folder) = &data {
            ensure!(
                folder.is_dir(),
                "{}: there is no such folder",
                folder.display()
            );
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let pelt = self.pelt()?;
        Ok(Setup {
            commit: commit(&pelt),
            pelt: Pelt {
                program: pelt,
                threads: (jobs > 1).then(|| (cores / jobs).max(1)),
            },
            model,
            data,
            device: self.device.clone(),
            keep_weights: self.keep_weights,
            jobs,
        })
    }

    /// The program that trains.
    fn pelt(&self) -> Result<PathBuf> {
        if let Some(program) = &self.pelt {
            ensure!(
                program.is_file(),
                "{}: there is no such program",
                program.display()
            );
            return Ok(std::path::absolute(program)?);
        }
        let name = format!("pelt{}", std::env::consts::EXE_SUFFIX);
        let own = std::env::current_exe().context("cannot find this program")?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = own.parent().map(PathBuf::from).into_iter();
        folders
            .chain(std::env::split_paths(&path))
            .map(|folder| folder.join(&name))
            .find(|program| program.is_file())
            .context(
                "there is no `pelt` beside this program or on the PATH; name it with --pelt FILE",
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_on_the_hub_is_two_words_and_no_folder() {
        for name in ["owner/name", "owner/name@v1"] {
            assert!(is_on_hub(Path::new(name)), "{name}");
        }
        for path in [
            "name",
            "/owner/name",
            "./name",
            "../name",
            "a/b/c",
            "src/report",
        ] {
            assert!(!is_on_hub(Path::new(path)), "{path}");
        }
    }
}
