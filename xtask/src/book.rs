//! `cargo xtask book`: the pages as HTML, and their commands on real data.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::bench::model;
use crate::cargo;

/// Repositories on the Hub that the book's commands name, and where their files lie in a data folder.
const DATASETS: [(&str, &str); 2] = [("nyu-mll--glue", "glue"), ("rajpurkar--squad", "squad")];
const MODEL: &str = "sentence-transformers--all-MiniLM-L6-v2";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run every command of the book on the data sets in this folder (Hub's Parquet layout), in the place of the Hub.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder of all-MiniLM-L6-v2 [default: the demo's, fetched where it is missing].
    #[arg(long, value_name = "DIR", requires = "data")]
    model: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(data) = &arguments.data {
        run_commands(data, arguments.model.as_deref())?;
    }
    let docs = cargo::workspace_root().join("docs");
    let rendered = Command::new("mdbook").arg("build").arg(&docs).status();
    match rendered {
        Ok(status) => ensure!(status.success(), "`mdbook build` failed ({status})"),
        Err(_) => println!(
            "skipped: the pages as HTML; mdbook is not on the PATH (`cargo install --locked mdbook`)"
        ),
    }
    Ok(())
}

/// Has the tests run the commands with an optimised build and this cache in the place of the Hub.
fn run_commands(data: &Path, model: Option<&Path>) -> Result<()> {
    let home = cargo::target()?.join("book-hub");
    if home.exists() {
        std::fs::remove_dir_all(&home)
            .with_context(|| format!("cannot remove {}", home.display()))?;
    }
    let hub = home.join("hub");
    link(&model::folder(model)?, &snapshot(&hub, "models", MODEL)?)?;
    for (name, folder) in DATASETS {
        let from = std::path::absolute(data.join(folder))?;
        link(&from, &snapshot(&hub, "datasets", name)?)?;
    }
    cargo::run(&["build", "--release", "--package", "pelt-cli"])?;
    let variables = [
        ("PELT_BOOK_HF_HOME", home.into()),
        ("PELT_BOOK_PROGRAM", cargo::program("pelt")?.into()),
    ];
    cargo::run_with(
        &["test", "--workspace", "--test", "book", "--", "--nocapture"],
        &variables,
    )
}

/// The folder of a repository's only snapshot.
fn snapshot(hub: &Path, kind: &str, name: &str) -> Result<PathBuf> {
    let repository = hub.join(format!("{kind}--{name}"));
    let references = repository.join("refs");
    std::fs::create_dir_all(&references)
        .with_context(|| format!("cannot create {}", references.display()))?;
    std::fs::write(references.join("main"), "local").context("cannot write a reference")?;
    Ok(repository.join("snapshots/local"))
}

/// Links every file below a folder to the same place below another one.
fn link(from: &Path, to: &Path) -> Result<()> {
    let unreadable = || format!("cannot read {}", from.display());
    std::fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        let place = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            link(&path, &place)?;
        } else {
            make_link(&path, &place)
                .with_context(|| format!("cannot create {}", place.display()))?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn make_link(from: &Path, to: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(from, to)
}

#[cfg(not(unix))]
fn make_link(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::copy(from, to).map(|_| ())
}
