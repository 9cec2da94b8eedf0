//! `cargo xtask parity`: recorded reference runs, repeated on other devices.

mod drivers;
mod report;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::backend::Backend;
use crate::bench::machine::Machine;
use crate::cargo;
use drivers::SoftwareDriver;
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
    /// Compare every backend that this machine can run: WGPU and Vulkan on software drivers, CUDA where there is a GPU.
    #[arg(long, conflicts_with = "device")]
    all: bool,
    /// Where LibTorch is kept [default: $PELT_CACHE, $XDG_CACHE_HOME/pelt or ~/.cache/pelt].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// A device, and what it runs on where that is not up to the machine.
#[derive(Debug)]
struct Target {
    device: String,
    driver: Option<SoftwareDriver>,
}

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
        "outside of the tolerances: {}",
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
    let on_machine = |device: &str| Target {
        device: device.to_string(),
        driver: None,
    };
    if !arguments.all {
        return arguments
            .device
            .iter()
            .map(|device| on_machine(device))
            .collect();
    }
    let software = |device: &str, driver| Target {
        device: device.to_string(),
        driver: Some(driver),
    };
    vec![
        on_machine("flex"),
        on_machine("tch-cpu"),
        software("wgpu:0", SoftwareDriver::Lavapipe),
        software("vulkan:0", SoftwareDriver::SwiftShader),
        on_machine("cuda:0"),
        on_machine("tch-cuda:0"),
        on_machine("metal:0"),
    ]
}

impl Target {
    fn title(&self) -> String {
        match self.driver {
            Some(driver) => format!("{} ({})", self.device, driver.name()),
            None => self.device.clone(),
        }
    }

    /// Builds the program and runs it.
    fn compare(&self, arguments: &Arguments) -> Result<Outcome> {
        if self.device.contains("cuda") && !drivers::has_nvidia_gpu() {
            bail!("there is no NVIDIA GPU (`nvidia-smi` does not run)");
        }
        if self.device.starts_with("metal") && !cfg!(target_os = "macos") {
            bail!("Metal is on Apple's systems only");
        }
        let mut backend = Backend::of(&self.device, arguments.cache.as_deref())?;
        if let Some(driver) = self.driver {
            backend.variables.extend(driver.install()?);
        }
        backend.build("pelt-parity")?;
        let target = cargo::metadata()?.target_directory.into_std_path_buf();
        let program = target
            .join("release")
            .join(format!("pelt-parity{}", std::env::consts::EXE_SUFFIX));
        let fixtures = cargo::workspace_root().join("crates/pelt-testkit/fixtures");
        let output = Command::new(&program)
            .args(["--json", "--device", &self.device, "--fixtures"])
            .arg(&fixtures)
            .envs(backend.variables)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        match output.status.code() {
            Some(0 | 1) => Ok(Outcome::Compared(Report::parse(&text)?)),
            Some(2) => bail!("it cannot be used (see above)"),
            _ => Ok(Outcome::Crashed(output.status.to_string())),
        }
    }
}
