//! LibTorch, from PyTorch's package in a virtual environment of its own.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::environment;

/// The version that burn's backend is made for.
const VERSION: &str = "2.9.0";

/// Installs LibTorch where it is missing, and gives the variables with which to build against it and run. A version other
/// than the one that burn's backend is made for is linked without a check.
pub fn install(cache: &Path, version: Option<&str>) -> Result<Vec<(&'static str, OsString)>> {
    let version = version.unwrap_or(VERSION);
    let package = format!("torch=={version}");
    let name = format!("torch-{version}");
    let environment = environment::install(cache, &name, &[&package], "about 6 GB")?;
    let python = environment::python(&environment);
    let print = "import os, torch; print(os.path.join(os.path.dirname(torch.__file__), 'lib'))";
    let output = Command::new(&python)
        .args(["-c", print])
        .output()
        .with_context(|| format!("cannot start {}", python.display()))?;
    ensure!(
        output.status.success(),
        "{} has no torch",
        environment.display()
    );
    let library = String::from_utf8_lossy(&output.stdout).trim().to_string();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [environment.join("bin")].into_iter();
    let path = std::env::join_paths(folders.chain(std::env::split_paths(&path)))?;
    let mut variables = vec![
        ("PATH", path),
        ("VIRTUAL_ENV", environment.into()),
        ("LIBTORCH_USE_PYTORCH", "1".into()),
        ("LD_LIBRARY_PATH", library.into()),
    ];
    if version != VERSION {
        variables.push(("LIBTORCH_BYPASS_VERSION_CHECK", "1".into()));
    }
    Ok(variables)
}
