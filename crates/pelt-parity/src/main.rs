//! Compares recorded reference runs on a device.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::exit)] // A command line talks to its user.

use std::path::PathBuf;

use anyhow::{Context, Result};
use burn::tensor::Device;
use clap::Parser;

/// Compare a device with recorded reference runs and with the processor.
#[derive(Debug, Parser)]
#[command(name = "pelt-parity", version)]
struct Args {
    /// Device, such as flex, tch-cpu, vulkan:0 or cuda:0.
    #[arg(long, default_value = pelt_device::default_name(), value_name = "NAME")]
    device: String,
    /// Folder of the recorded runs.
    #[arg(long, value_name = "DIR")]
    fixtures: PathBuf,
    /// Write the report to standard output as JSON.
    #[arg(long)]
    json: bool,
}

/// Exit code where something was outside of its tolerance.
const EXIT_DIFFERENT: i32 = 1;
/// Exit code where the comparison could not be made.
const EXIT_FAILED: i32 = 2;
/// Exit code where there is no such device.
const EXIT_NO_DEVICE: i32 = 3;

fn main() {
    let args = Args::parse();
    let device = match pelt_device::open(&args.device) {
        Ok(device) => device,
        Err(error) => give_up(&error.into(), EXIT_NO_DEVICE),
    };
    match run(&args, &device) {
        Ok(true) => {}
        Ok(false) => std::process::exit(EXIT_DIFFERENT),
        Err(error) => give_up(&error, EXIT_FAILED),
    }
}

fn give_up(error: &anyhow::Error, code: i32) -> ! {
    eprintln!("error: {error:#}");
    std::process::exit(code)
}

/// Whether everything was within its tolerance.
fn run(args: &Args, device: &Device) -> Result<bool> {
    let report = pelt_parity::run(&args.fixtures, &args.device, device)
        .with_context(|| format!("on {}", args.device))?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", report.device);
        for section in &report.sections {
            println!(
                "  {:<44} {:>4}  largest difference {:.1e} (at most {:.0e})  {:.1} s",
                section.name, section.count, section.largest, section.tolerance, section.seconds
            );
        }
    }
    for problem in &report.problems {
        eprintln!("{problem}");
    }
    Ok(report.problems.is_empty())
}
