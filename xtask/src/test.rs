//! `cargo xtask test`: every test of the workspace in one cargo command, so that burn is compiled once.

use anyhow::Result;

use crate::cargo;

/// What a plain test run leaves out, each with how to run it.
const SKIPPED: [&str; 2] = [
    "GPU and libtorch backends: the tests are compiled for the `flex` backend only",
    "the demo: it downloads a model and trains on it; run `cargo xtask demo`",
];

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Passed on to `cargo test --workspace`, for example a test's name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut command = vec!["test", "--workspace"];
    command.extend(arguments.rest.iter().map(String::as_str));
    let outcome = cargo::run(&command);
    for skipped in SKIPPED {
        println!("skipped: {skipped}");
    }
    outcome
}
