//! `cargo xtask interop`: exported adapters, computed by the Python libraries that they are for.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::demo::default_cache;
use crate::{cargo, environment, parity};

/// The libraries, in the versions whose files are written.
const PACKAGES: [&str; 5] = [
    "torch==2.9.0",
    "transformers==4.57.6",
    "adapters==1.3.0",
    "peft==0.21.2",
    "safetensors==0.6.2",
];

/// The program that compares.
const SCRIPT: &str = "crates/pelt-cli/python/interop.py";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// An interpreter that has the packages [default: that of an environment in the cache folder].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Where the environment is kept [default: $PELT_CACHE, $XDG_CACHE_HOME/pelt or ~/.cache/pelt].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Only cases with this in their names.
    #[arg(long, default_value = "", value_name = "TEXT")]
    only: String,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let python = match &arguments.python {
        Some(python) => python.clone(),
        None => {
            let cache = match &arguments.cache {
                Some(folder) => std::path::absolute(folder)?,
                None => default_cache()?,
            };
            let folder = environment::install(&cache, "interop", &PACKAGES, "about 7 GB")?;
            environment::python(&folder)
        }
    };
    cargo::run(&["build", "--release", "--package", "pelt-cli"])?;
    let status = Command::new(&python)
        .arg(cargo::workspace_root().join(SCRIPT))
        .arg("--pelt")
        .arg(cargo::program("pelt")?)
        .arg("--fixtures")
        .arg(parity::fixtures())
        .arg("--out")
        .arg(cargo::target()?.join("interop"))
        .args(["--only", &arguments.only])
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", python.display()))?;
    ensure!(status.success(), "not everything computes the same");
    Ok(())
}
