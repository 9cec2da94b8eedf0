//! LibTorch, from PyTorch's package in a virtual environment of its own.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The version that burn's backend is made for.
const VERSION: &str = "2.9.0";

/// Installs LibTorch where it is missing, and gives the variables with which to build against it and run. A version other
/// than the one that burn's backend is made for is linked without a check.
pub fn install(cache: &Path, version: Option<&str>) -> Result<Vec<(&'static str, OsString)>> {
    let version = version.unwrap_or(VERSION);
    let environment = cache.join(format!("torch-{version}"));
    let python = environment.join("bin/python");
    // Written last, so that an installation that was broken off is done again.
    let done = environment.join("complete");
    if !done.exists() {
        println!(
            "installing PyTorch {version} in {} (about 6 GB)",
            environment.display()
        );
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment))?;
        let package = format!("torch=={version}");
        run(Command::new(&python).args(["-m", "pip", "install", "-q", &package]))?;
        std::fs::write(&done, "").with_context(|| format!("cannot write {}", done.display()))?;
    }
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

fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {shown}"))?;
    ensure!(status.success(), "{shown} failed ({status})");
    Ok(())
}
