//! Collecting what travels.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::backend::Backend;
use crate::bench::program::SCRIPT;
use crate::cargo;
use crate::files::write_atomically;
use crate::parity;

/// What says which devices a folder can check.
pub const CONTENTS: &str = "contents.json";

/// Programs that are built for every device.
const PROGRAMS: [&str; 2] = ["pelt-parity", "pelt-bench"];

/// Packages for a machine that has PyTorch with what belongs to it, but not these.
const PACKAGES: [&str; 5] = [
    "transformers==4.57.6",
    "tokenizers==0.22.2",
    "huggingface-hub==0.36.2",
    "adapters==1.3.0",
    "peft==0.21.2",
];

/// Systems whose wheels are taken.
const PLATFORMS: [&str; 3] = [
    "manylinux_2_28_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
];

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Devices to check there.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "cuda:0,vulkan:0"
    )]
    device: Vec<String>,
    /// Also carry the Python packages of the comparison, for an interpreter of this version, which has PyTorch.
    #[arg(long, value_name = "VERSION")]
    python_version: Option<String>,
    /// The PyTorch that is there, for tch devices: this version's LibTorch is linked, unchecked [default: the checked one].
    #[arg(long, value_name = "VERSION")]
    torch: Option<String>,
    /// Where LibTorch is kept [default: $PELT_CACHE, $XDG_CACHE_HOME/pelt or ~/.cache/pelt].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Folder to write; it is replaced.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let out = std::path::absolute(&arguments.out)?;
    ensure!(
        !out.exists() || out.join(CONTENTS).exists(),
        "{} exists and is no folder of this command; name another one",
        out.display()
    );
    let parent = out.parent().context("a folder to write needs a name")?;
    create(parent)?;
    let fresh = tempfile::Builder::new()
        .prefix(".gpu-check-")
        .tempdir_in(parent)
        .with_context(|| format!("cannot write in {}", parent.display()))?;
    fill(arguments, fresh.path())?;
    if out.exists() {
        std::fs::remove_dir_all(&out)
            .with_context(|| format!("cannot remove {}", out.display()))?;
    }
    let fresh = fresh.keep();
    std::fs::rename(&fresh, &out)
        .with_context(|| format!("cannot rename {} to {}", fresh.display(), out.display()))?;
    println!(
        "carry {} ({} MiB), and run there: ./xtask gpu-check run",
        out.display(),
        size(&out)? >> 20
    );
    Ok(())
}

/// Builds and collects everything in a folder.
fn fill(arguments: &Arguments, fresh: &Path) -> Result<()> {
    for device in &arguments.device {
        let backend = Backend::of_torch(
            device,
            arguments.cache.as_deref(),
            arguments.torch.as_deref(),
        )?;
        let folder = fresh.join(folder_of(device));
        create(&folder)?;
        for name in PROGRAMS {
            backend.build(name)?;
            let program = cargo::program(name)?;
            let file = program.file_name().context("a program without a name")?;
            let carried = folder.join(file);
            copy(&program, &carried)?;
            strip(&carried);
        }
    }
    copy(&std::env::current_exe()?, &fresh.join("xtask"))?;
    copy(
        &cargo::workspace_root().join(SCRIPT),
        &fresh.join("speed.py"),
    )?;
    copy_folder(&parity::fixtures(), &fresh.join("fixtures"))?;
    if let Some(version) = &arguments.python_version {
        download(version, &fresh.join("wheels"))?;
    }
    let contents = json!({
        "devices": arguments.device,
        "version": env!("CARGO_PKG_VERSION"),
        "commit": pelt_grid::commit(&cargo::workspace_root().join("Cargo.toml")),
    });
    write_atomically(&fresh.join(CONTENTS), &format!("{contents:#}\n"))
}

/// The folder of a device's programs.
pub fn folder_of(device: &str) -> &str {
    device.split(':').next().unwrap_or(device)
}

fn create(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create the folder {}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Leaves out a program's symbols, where there is the tool for it: they are most of its size.
fn strip(program: &Path) {
    let status = Command::new("strip")
        .arg(program)
        .stdin(Stdio::null())
        .status();
    if !status.is_ok_and(|status| status.success()) {
        println!(
            "{}: `strip` does not run, so it stays as large as it is",
            program.display()
        );
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    create(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &target)?,
            false => copy(&entry.path(), &target)?,
        }
    }
    Ok(())
}

fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += match entry.file_type()?.is_dir() {
            true => size(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(bytes)
}

fn download(version: &str, folder: &Path) -> Result<()> {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "download", "-q", "--no-deps"]);
    command.args(["--only-binary=:all:", "--implementation", "cp"]);
    command.args(["--python-version", version, "-d"]);
    command.arg(folder);
    for platform in PLATFORMS {
        command.args(["--platform", platform]);
    }
    let status = command
        .args(PACKAGES)
        .stdin(Stdio::null())
        .status()
        .context("cannot start python3")?;
    ensure!(status.success(), "pip could not download the packages");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_a_backend_share_their_programs() {
        let folders = ["cuda:0", "cuda:1", "tch-cuda:0", "wgpu"].map(folder_of);
        assert_eq!(folders, ["cuda", "cuda", "tch-cuda", "wgpu"]);
    }

    #[test]
    fn a_folder_that_is_not_ours_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = Arguments {
            device: vec![],
            python_version: None,
            torch: None,
            cache: None,
            out: folder.path().to_path_buf(),
        };
        let message = run(&arguments).unwrap_err().to_string();
        assert!(message.contains("no folder of this command"), "{message}");
        assert!(folder.path().exists());
    }
}
