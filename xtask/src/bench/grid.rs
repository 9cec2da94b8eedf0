//! `cargo xtask bench --suite NAME`: builds `pelt` and `pelt-grid`, and has the latter run a grid of the former.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::model;
use crate::backend::Backend;
use crate::cargo;

/// What is handed on.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Arguments of the subcommand of `pelt-grid`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<String>,
}

/// Runs a plan. A suite, which names no encoder, gets the demo's unless another one is given.
pub fn run(arguments: &[String]) -> Result<()> {
    let mut arguments = arguments.to_vec();
    if has(&arguments, "--suite") && !has(&arguments, "--model") {
        let folder = model::folder(None)?;
        arguments.extend(["--model".into(), folder.display().to_string()]);
    }
    call("run", &arguments)
}

fn has(arguments: &[String], option: &str) -> bool {
    let with_value = format!("{option}=");
    arguments
        .iter()
        .any(|argument| argument == option || argument.starts_with(&with_value))
}

/// The value of an option, beside it or behind it.
fn value<'a>(arguments: &'a [String], option: &str) -> Option<&'a str> {
    let place = arguments.iter().position(|argument| argument == option);
    let behind = place.and_then(|place| arguments.get(place + 1));
    let beside = || {
        let start = format!("{option}=");
        arguments
            .iter()
            .find_map(|argument| argument.strip_prefix(&start))
    };
    behind.map(String::as_str).or_else(beside)
}

/// Builds both programs and runs a subcommand.
pub fn call(subcommand: &str, arguments: &[String]) -> Result<()> {
    let device = value(arguments, "--device").unwrap_or("flex");
    let backend = Backend::of(device, None)?;
    backend.build("pelt-cli")?;
    cargo::run(&["build", "--release", "--package", "pelt-grid"])?;
    let program = cargo::program("pelt-grid")?;
    let status = Command::new(&program)
        .arg(subcommand)
        .args(arguments)
        .envs(backend.variables)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    match status.success() {
        true => Ok(()),
        false => bail!("`pelt-grid {subcommand}` failed ({status})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_found_with_its_value_beside_or_behind_it() {
        let words = ["--suite=smoke", "--jobs", "2"].map(String::from);
        assert!(has(&words, "--suite") && has(&words, "--jobs"));
        assert!(!has(&words, "--model") && !has(&words, "--suit"));
        assert_eq!(value(&words, "--suite"), Some("smoke"));
        assert_eq!(value(&words, "--jobs"), Some("2"));
        assert_eq!(value(&words, "--model"), None);
    }
}
