//! Running cargo, and where the workspace and its build outputs lie.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};

/// The workspace's own packages, without those that they depend on; works offline.
pub fn metadata() -> Result<Metadata> {
    MetadataCommand::new()
        .manifest_path(workspace_root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("`cargo metadata` failed")
}

/// The checkout's top folder: the parent of this package's own.
pub fn workspace_root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.parent().map(PathBuf::from).unwrap_or(own)
}

/// A program of the workspace, as `cargo build --release` leaves it.
pub fn program(name: &str) -> Result<PathBuf> {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    Ok(target()?.join("release").join(file))
}

/// The folder of build outputs.
pub fn target() -> Result<PathBuf> {
    Ok(metadata()?.target_directory.into_std_path_buf())
}

/// Whether cargo tells something of this package by the environment variable, as it does to what it runs.
///
/// ring's build script asks to be run anew whenever one of them changes: passed on, they would have everything that depends
/// on it compiled again after each `cargo build` that was typed by hand.
fn is_of_this_package(variable: &OsStr) -> bool {
    let name = variable.to_string_lossy();
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// Runs cargo in the workspace's top folder with its output shown, and fails if it does.
pub fn run(arguments: &[&str]) -> Result<()> {
    run_with(arguments, &[])
}

/// The same with these environment variables.
pub fn run_with(arguments: &[&str], variables: &[(&str, OsString)]) -> Result<()> {
    // Cargo tells the programs that it runs which cargo it is, so that toolchain overrides carry over.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_this_package(name)) {
        command.env_remove(name);
    }
    let status = command
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir(workspace_root())
        .status()
        .with_context(|| format!("cannot start `cargo {}`", arguments.join(" ")))?;
    if !status.success() {
        bail!("`cargo {}` failed ({status})", arguments.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_says_of_this_package_is_not_passed_on() {
        let kept = |name: &str| !is_of_this_package(OsStr::new(name));
        assert!(kept("CARGO") && kept("CARGO_HOME") && kept("CARGO_TARGET_DIR") && kept("PATH"));
        assert!(!kept("CARGO_MANIFEST_DIR") && !kept("CARGO_PKG_NAME"));
    }
}
