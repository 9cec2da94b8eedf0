//! Developer commands of this workspace: `cargo xtask tidy`, `cargo xtask check`, `cargo xtask test`, `cargo xtask demo`, `cargo xtask bench`,
//! `cargo xtask parity`, `cargo xtask gpu-check`, `cargo xtask interop`, `cargo xtask book` and `cargo xtask profile`.

// This program talks to a person at a terminal; printing is its purpose.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod backend;
mod bench;
mod book;
mod cargo;
mod check;
mod demo;
mod environment;
mod files;
mod gpu;
mod interop;
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
    /// Check types with the features of every backend, alone and together; needs neither GPU nor LibTorch.
    Check,
    /// Run all tests, and say what was skipped.
    Test(test::Arguments),
    /// Fetch a real encoder and real sentences, adapt the one to the other, and print what was learned.
    Demo(demo::Arguments),
    /// Measure speed and memory.
    Bench(bench::Arguments),
    /// Repeat recorded reference runs on other devices.
    Parity(parity::Arguments),
    /// Repeat recorded runs and measure speed on a machine that has a GPU and no network.
    GpuCheck(gpu::Arguments),
    /// Load exported adapters in the Python libraries that they are for, and compare what they compute.
    Interop(interop::Arguments),
    /// Write the book as HTML, and run its commands on real data.
    Book(book::Arguments),
    /// Show how the time of a training step is spent, kernel by kernel.
    Profile(bench::profile::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Tidy => tidy::run(),
        Command::Check => check::run(),
        Command::Test(arguments) => test::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Parity(arguments) => parity::run(&arguments),
        Command::GpuCheck(arguments) => gpu::run(&arguments),
        Command::Interop(arguments) => interop::run(&arguments),
        Command::Book(arguments) => book::run(&arguments),
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
