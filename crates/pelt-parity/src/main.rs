//! Compares recorded reference runs on a device.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::exit)] // A command line talks to its user.

use std::path::PathBuf;

use anyhow::{Context, Result};
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

fn main() {
    match run(&Args::parse()) {
        Ok(true) => {}
        Ok(false) => std::process::exit(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::exit(2);
        }
    }
}

/// Whether everything was within its tolerance.
fn run(args: &Args) -> Result<bool> {
    let device = pelt_device::open(&args.device)?;
    let report = pelt_parity::run(&args.fixtures, &args.device, &device)
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
