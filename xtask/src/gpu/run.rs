//! Checking and measuring with what was carried.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use pelt_grid::{GpuMemory, gpu_name};
use serde_json::Value;

use super::pack::{CONTENTS, folder_of};
use super::plan::{Grid, Job};
use super::render::{self, Measured};
use super::{python, render::Check};
use crate::bench::machine::Machine;
use crate::bench::program::{Program, Report};
use crate::files::write_atomically;
use crate::parity::{
    self,
    report::{Line, Outcome},
};

/// The other side's name in what is printed.
pub const PYTORCH: &str = "PyTorch";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The folder that was packed [default: where this program is].
    #[arg(long, value_name = "DIR")]
    carried: Option<PathBuf>,
    /// Devices to check [default: those that were packed for].
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    device: Vec<String>,
    /// Measure PyTorch beside them, with this interpreter.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// What PyTorch computes on.
    #[arg(long, value_name = "NAME", default_value = "cuda:0")]
    python_device: String,
    /// Measure speed alone.
    #[arg(long)]
    no_parity: bool,
    /// Compare with the recorded runs alone.
    #[arg(long, conflicts_with = "no_parity")]
    no_speed: bool,
    #[command(flatten)]
    grid: Grid,
    /// Where gpu-check.md, gpu-check.json and the models of random weights go.
    #[arg(long, value_name = "DIR", default_value = "gpu-check")]
    out: PathBuf,
}

/// A program and the device that it computes on.
struct Side {
    name: String,
    program: Program,
    device: String,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let carried = match &arguments.carried {
        Some(folder) => std::path::absolute(folder)?,
        None => {
            let own = std::env::current_exe()?;
            own.parent()
                .context("a program without a folder")?
                .to_path_buf()
        }
    };
    let out = std::path::absolute(&arguments.out)?;
    std::fs::create_dir_all(&out)
        .with_context(|| format!("cannot create the folder {}", out.display()))?;
    let contents = contents(&carried)?;
    let devices = match arguments.device.is_empty() {
        false => arguments.device.clone(),
        true => contents.devices,
    };
    let libraries = match &arguments.python {
        Some(interpreter) => python::libraries(interpreter)?,
        None => Vec::new(),
    };
    let mut check = Check {
        machine: Machine::here(),
        gpu: devices.iter().find_map(|device| gpu_name(device)),
        commit: contents.commit,
        versions: Vec::new(),
        parity: Vec::new(),
        ceilings: BTreeMap::new(),
        steps: Vec::new(),
    };
    if !arguments.no_parity {
        for device in &devices {
            println!("== {device}: recorded runs");
            check.parity.push(compare(&carried, device, &libraries));
            write(&out, &check)?;
        }
    }
    if !arguments.no_speed {
        let mut sides: Vec<Side> = devices
            .iter()
            .map(|device| ours(&carried, device, &libraries))
            .collect();
        if let Some(interpreter) = &arguments.python {
            let program = python::program(interpreter, &carried, &out)?;
            check.versions = program.versions()?;
            sides.push(Side {
                name: PYTORCH.into(),
                device: arguments.python_device.clone(),
                program: program.on(&arguments.python_device),
            });
        }
        let first = devices.first().context("there is no device to check")?;
        // On no device: it only writes.
        let writer = Program::pelt_bench(program(&carried, first, "pelt-bench")).with(&libraries);
        measure(arguments, &writer, &sides, &out, &mut check)?;
    }
    println!("\n{}", render::markdown(&check));
    println!("written: {}", out.join("gpu-check.md").display());
    let failures = check.failures();
    ensure!(
        failures == 0,
        "{failures} checks failed; what they said is above"
    );
    Ok(())
}

struct Contents {
    devices: Vec<String>,
    commit: Option<String>,
}

fn contents(carried: &Path) -> Result<Contents> {
    let path = carried.join(CONTENTS);
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read {}; `cargo xtask gpu-check pack` writes such a folder",
            path.display()
        )
    })?;
    let value: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
    let devices = value["devices"].as_array();
    let devices = devices.with_context(|| format!("{} names no devices", path.display()))?;
    Ok(Contents {
        devices: devices
            .iter()
            .filter_map(|name| Some(name.as_str()?.to_string()))
            .collect(),
        commit: value["commit"].as_str().map(String::from),
    })
}

fn compare(carried: &Path, device: &str, variables: &[(&'static str, OsString)]) -> Line {
    let program = program(carried, device, "pelt-parity");
    let outcome = parity::repeat(&program, device, &carried.join("fixtures"), variables);
    Line {
        title: device.to_string(),
        // Here the device was asked for by name.
        outcome: outcome.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}"))),
    }
}

fn ours(carried: &Path, device: &str, variables: &[(&'static str, OsString)]) -> Side {
    Side {
        name: device.to_string(),
        program: Program::pelt_bench(program(carried, device, "pelt-bench"))
            .with(variables)
            .on(device),
        device: device.to_string(),
    }
}

fn program(carried: &Path, device: &str, name: &str) -> PathBuf {
    carried.join(folder_of(device)).join(name)
}

fn measure(
    arguments: &Arguments,
    writer: &Program,
    sides: &[Side],
    out: &Path,
    check: &mut Check,
) -> Result<()> {
    let grid = &arguments.grid;
    for job in grid.jobs() {
        let model = out.join(&job.shape);
        if !model.join("model.safetensors").exists() {
            let folder = model.display().to_string();
            let words = ["shape", "--name", &job.shape, "--out", &folder];
            writer.measure(&words.map(String::from))?;
        }
        for side in sides {
            ceiling(grid, &job, &model, side, check);
        }
        for side in sides {
            let watch = GpuMemory::watch(&side.device);
            let report = side.program.measure(&grid.step(&job, &model));
            let memory = watch.stop();
            let report = report.map_err(|error| format!("{error:#}"));
            let measured = Measured {
                job: job.clone(),
                side: side.name.clone(),
                report,
                memory,
            };
            println!("{}", measured.line());
            check.steps.push(measured);
            write(out, check)?;
        }
    }
    Ok(())
}

/// Measures the products in bf16 once for every side, shape and batch, or in f32 where the device has no bf16.
fn ceiling(grid: &Grid, job: &Job, model: &Path, side: &Side, check: &mut Check) {
    let key = (job.shape.clone(), job.batch, side.name.clone());
    if check.ceilings.contains_key(&key) {
        return;
    }
    for precision in ["bf16", "f32"] {
        let found = grid.ceiling(job, precision, model);
        match found.and_then(|words| side.program.measure(&words)) {
            Ok(None) => {}
            Ok(Some(report)) => {
                let what = describe(&report);
                println!("{} {} x {}: {what}", side.name, job.batch, job.length);
                check.ceilings.insert(key, report);
                return;
            }
            Err(error) => {
                println!("{}: no products in {precision}: {error:#}", side.name);
                return;
            }
        }
    }
}

fn describe(report: &Report) -> String {
    let gflops = report.number("gflops").unwrap_or_default();
    format!(
        "products in {}: {gflops:.0} GFLOP/s",
        report.text("precision").unwrap_or("f32")
    )
}

fn write(out: &Path, check: &Check) -> Result<()> {
    write_atomically(
        &out.join("gpu-check.json"),
        &format!("{:#}\n", check.json()),
    )?;
    write_atomically(&out.join("gpu-check.md"), &render::markdown(check))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_not_packed_is_told_how_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let message = contents(folder.path()).err().unwrap().to_string();
        assert!(message.contains("gpu-check pack"), "{message}");
        std::fs::write(folder.path().join(CONTENTS), r#"{"devices": ["cuda:1"]}"#).unwrap();
        assert_eq!(contents(folder.path()).unwrap().devices, ["cuda:1"]);
    }
}
