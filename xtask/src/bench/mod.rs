//! `cargo xtask bench` and `cargo xtask profile`: measurements that are too long for tests.

mod machine;
mod model;
pub mod profile;
mod program;
mod speed;
mod table;

use anyhow::Result;

/// Measure what the documentation claims.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    /// Time and memory of training and evaluation, alone or beside PyTorch.
    Speed(Box<speed::Arguments>),
}

pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.bench {
        Bench::Speed(arguments) => speed::run(arguments),
    }
}
