//! `cargo xtask gpu-check`: exactness and speed on a machine that has a GPU and neither network nor toolchain.
//!
//! `pack` collects programs and files in one folder; `run`, by the copy of this program in that folder, needs nothing else.

mod pack;
mod plan;
mod python;
mod render;
mod run;

use anyhow::Result;

/// Check and measure GPUs of a machine without network.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, clap::Subcommand)]
enum Step {
    /// Build what is needed and collect it in a folder to carry.
    Pack(pack::Arguments),
    /// Repeat the recorded runs and measure training steps, with the files of such a folder alone.
    Run(run::Arguments),
}

pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.step {
        Step::Pack(arguments) => pack::run(arguments),
        Step::Run(arguments) => run::run(arguments),
    }
}
