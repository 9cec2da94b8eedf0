//! `cargo xtask parity`: recorded reference runs, repeated on other devices.

mod drivers;
pub mod report;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::backend::Backend;
use crate::bench::machine::Machine;
use crate::cargo;
use report::{Line, Outcome, Report, lines};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Devices to compare, with the drivers that this machine has: flex, tch-cpu, vulkan:0 and so on.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        required_unless_present = "all"
    )]
    device: Vec<String>,
    /// Compare every backend that this machine can run: WGPU on a software driver, Vulkan and CUDA where there is a GPU.
    #[arg(long, conflicts_with = "device")]
    all: bool,
    /// Where LibTorch is kept [default: $PELT_CACHE, $XDG_CACHE_HOME/pelt or ~/.cache/pelt].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// A device, and whether it runs on the processor by a driver that makes it one.
#[derive(Debug, Clone)]
struct Target {
    device: String,
    software: bool,
}

/// One device of every backend.
const ALL: [&str; 7] = [
    "flex",
    "tch-cpu",
    "wgpu:0",
    "vulkan:0",
    "cuda:0",
    "tch-cuda:0",
    "metal:0",
];

pub fn run(arguments: &Arguments) -> Result<()> {
    let machine = Machine::here();
    let mut outcomes = Vec::new();
    for target in targets(arguments) {
        println!("== {}", target.title());
        let outcome = target.compare(arguments).unwrap_or_else(|error| {
            let why = format!("{error:#}");
            println!("{}: {why}", target.title());
            Outcome::Skipped(why)
        });
        outcomes.push(Line {
            title: target.title(),
            outcome,
        });
    }
    println!(
        "\n{}, {} cores, {}: `{}`\n",
        machine.cpu, machine.cores, machine.date, machine.command
    );
    println!("{}", lines(&outcomes));
    let failed = outcomes.iter().filter(|line| line.is_failure());
    let failed: Vec<&str> = failed.map(|line| line.title.as_str()).collect();
    ensure!(
        failed.is_empty(),
        "not equal, or not compared to the end: {}",
        failed.join(", ")
    );
    if !arguments.all {
        let skipped = outcomes
            .iter()
            .find(|line| matches!(line.outcome, Outcome::Skipped(_)));
        if let Some(line) = skipped {
            bail!("{} could not be compared", line.title);
        }
    }
    Ok(())
}

fn targets(arguments: &Arguments) -> Vec<Target> {
    let target = |device: &str| Target {
        device: device.to_string(),
        software: arguments.all && device.starts_with("wgpu"),
    };
    match arguments.all {
        true => ALL.map(target).to_vec(),
        false => arguments
            .device
            .iter()
            .map(|device| target(device))
            .collect(),
    }
}

impl Target {
    fn title(&self) -> String {
        match self.software {
            true => format!("{} (lavapipe)", self.device),
            false => self.device.clone(),
        }
    }

    /// Builds the program and runs it.
    fn compare(&self, arguments: &Arguments) -> Result<Outcome> {
        let has_gpu = pelt_grid::gpu_name(&self.device).is_some();
        if self.device.contains("cuda") && !has_gpu {
            bail!("there is no such NVIDIA GPU (`nvidia-smi` does not name it)");
        }
        if arguments.all && self.device.starts_with("vulkan") && !has_gpu {
            bail!(
                "there is no NVIDIA GPU, and no software driver runs its matrix products rightly \
                (docs/backends.md); name the device to try another GPU"
            );
        }
        if self.device.starts_with("metal") && !cfg!(target_os = "macos") {
            bail!("Metal is on Apple's systems only");
        }
        let mut backend = Backend::of(&self.device, arguments.cache.as_deref())?;
        if self.software {
            backend.variables.extend(drivers::install_lavapipe()?);
        }
        if let Err(error) = backend.build("pelt-parity") {
            return Ok(Outcome::Failed(format!("it cannot be built: {error:#}")));
        }
        let program = cargo::program("pelt-parity")?;
        repeat(&program, &self.device, &fixtures(), &backend.variables)
    }
}

/// Exit code of `pelt-parity` where the device cannot be opened.
const NO_DEVICE: i32 = 3;

/// Exit code of the system's loader.
const NO_LIBRARY: i32 = 127;

/// Where the recorded runs are.
pub fn fixtures() -> PathBuf {
    cargo::workspace_root().join("crates/pelt-testkit/fixtures")
}

/// Runs the program that repeats the recorded runs on a device.
pub fn repeat(
    program: &Path,
    device: &str,
    fixtures: &Path,
    variables: &[(&'static str, OsString)],
) -> Result<Outcome> {
    let output = Command::new(program)
        .args(["--json", "--device", device, "--fixtures"])
        .arg(fixtures)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0 | 1) => Ok(Outcome::Compared(Report::parse(&text)?)),
        Some(NO_DEVICE) => bail!("it cannot be used (see above)"),
        Some(NO_LIBRARY) => Ok(Outcome::Failed(
            "a library of the program was not found (see above)".into(),
        )),
        Some(_) => Ok(Outcome::Failed("it gave up (see above)".into())),
        None => Ok(Outcome::Crashed(output.status.to_string())),
    }
}
