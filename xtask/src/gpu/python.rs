//! PyTorch on the machine that is checked.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::bench::program::Program;

/// Prints the folders of the libraries that PyTorch brings, CUDA's among them.
const FOLDERS: &str = "import glob, os, torch
own = os.path.dirname(torch.__file__)
print(os.pathsep.join([os.path.join(own, 'lib'), *sorted(glob.glob(os.path.join(own, '..', 'nvidia', '*', 'lib')))]))";

/// The comparison's program, with the packages that were carried installed in `out`.
pub fn program(interpreter: &Path, carried: &Path, out: &Path) -> Result<Program> {
    let wheels = carried.join("wheels");
    let mut variables: Vec<(&'static str, OsString)> = Vec::new();
    if wheels.is_dir() {
        let packages = out.join("python");
        if !packages.exists() {
            install(interpreter, &wheels, &packages)?;
        }
        variables.push(("PYTHONPATH", packages.into()));
    }
    Program::script(interpreter, &carried.join("speed.py"), &variables)
}

fn install(interpreter: &Path, wheels: &Path, packages: &Path) -> Result<()> {
    let mut command = Command::new(interpreter);
    command.args(["-m", "pip", "install", "-q", "--no-index", "--no-deps"]);
    command.args(["--no-compile", "--target"]).arg(packages);
    for entry in std::fs::read_dir(wheels)? {
        command.arg(entry?.path());
    }
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {}", interpreter.display()))?;
    ensure!(
        status.success(),
        "pip could not install the carried packages"
    );
    Ok(())
}

/// Variables with which our programs find the libraries that PyTorch brings.
pub fn libraries(interpreter: &Path) -> Result<Vec<(&'static str, OsString)>> {
    let output = Command::new(interpreter)
        .args(["-c", FOLDERS])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", interpreter.display()))?;
    ensure!(
        output.status.success(),
        "{} has no torch",
        interpreter.display()
    );
    let mut folders = String::from_utf8_lossy(&output.stdout).trim().to_string();
    if let Ok(before) = std::env::var("LD_LIBRARY_PATH") {
        folders = format!("{folders}:{before}");
    }
    Ok(vec![("LD_LIBRARY_PATH", folders.into())])
}
