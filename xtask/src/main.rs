//! Developer commands of this workspace: `cargo xtask tidy`, `cargo xtask test`, `cargo xtask demo`, `cargo xtask bench`,
//! `cargo xtask parity` and `cargo xtask profile`.

// This program talks to a person at a terminal; printing is its purpose.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod backend;
mod bench;
mod cargo;
mod demo;
mod parity;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer commands of the pelt workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check what the compiler cannot: layering, backend features, manifests, sources and documents.
    Tidy,
    /// Run all tests, and say what was skipped.
    Test(test::Arguments),
    /// Fetch a real encoder and real sentences, adapt the one to the other, and print what was learned.
    Demo(demo::Arguments),
    /// Measure speed and memory.
    Bench(bench::Arguments),
    /// Repeat recorded reference runs on other devices.
    Parity(parity::Arguments),
    /// Show how the time of a training step is spent, kernel by kernel.
    Profile(bench::profile::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Tidy => tidy::run(),
        Command::Test(arguments) => test::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Parity(arguments) => parity::run(&arguments),
        Command::Profile(arguments) => bench::profile::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
