//! Python packages in virtual environments of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The folder of an environment with these packages, which are installed where they are missing; `size` tells how much that is.
pub fn install(cache: &Path, name: &str, packages: &[&str], size: &str) -> Result<PathBuf> {
    let environment = cache.join(name);
    // Written last, so that an installation that was broken off is done again.
    let done = environment.join("complete");
    if !done.exists() {
        let shown = environment.display();
        println!("installing {} in {shown} ({size})", packages.join(", "));
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment))?;
        run(Command::new(python(&environment))
            .args(["-m", "pip", "install", "-q"])
            .args(packages))?;
        std::fs::write(&done, "").with_context(|| format!("cannot write {}", done.display()))?;
    }
    Ok(environment)
}

/// The interpreter of an environment.
pub fn python(environment: &Path) -> PathBuf {
    environment.join("bin/python")
}

fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {shown}"))?;
    ensure!(status.success(), "{shown} failed ({status})");
    Ok(())
}
