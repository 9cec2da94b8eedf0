//! `cargo xtask bench` and `cargo xtask profile`: measurements that are too long for tests.

mod grid;
pub mod machine;
pub mod model;
pub mod profile;
pub mod program;
mod speed;
pub mod table;

use anyhow::Result;

/// Compare methods on tasks (options of `pelt-grid run`, such as --suite smoke), or measure speed.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    bench: Option<Bench>,
    /// Options of `pelt-grid run`: --suite NAME or a plan, --tasks, --methods, --seeds, --model, --data, --jobs, --out, ...
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    grid: Vec<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    /// Time and memory of training and evaluation, alone or beside PyTorch.
    Speed(Box<speed::Arguments>),
    /// Write the report of a results folder again.
    Report(grid::Arguments),
    /// Show what differs between two results folders.
    Compare(grid::Arguments),
}

pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.bench {
        Some(Bench::Speed(arguments)) => speed::run(arguments),
        Some(Bench::Report(arguments)) => grid::call("report", &arguments.rest),
        Some(Bench::Compare(arguments)) => grid::call("compare", &arguments.rest),
        None => grid::run(&arguments.grid),
    }
}
