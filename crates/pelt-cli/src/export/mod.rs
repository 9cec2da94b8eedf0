//! `pelt export`: a finished run as files of other libraries.

mod adapterhub;
mod card;
mod merged;

use std::path::{Path, PathBuf};

pub use card::card_of_combination;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use pelt_methods::{ModelInfo, PeftTarget, peft_cannot_hold, save_peft};

use crate::args::{ExportArgs, ExportFormat};
use crate::method::Tuning;
use crate::model::Base;
use crate::output::print_line;
use crate::run_folder::{self, Run, head_tensors};
use crate::run_record::model_info;

/// Characters of an adapter's name besides letters and digits. In Python it is the name of a module, which has no dots.
const OF_NAMES: [char; 2] = ['_', '-'];

/// Why what changes the encoder's weights is in no adapter's format.
const ENCODER: &str = "it trained the encoder itself, which is no adapter";

/// A run with what its files need.
struct Export<'a> {
    args: &'a ExportArgs,
    base: Base,
    run: Run,
    /// The base model as files describe it.
    info: ModelInfo,
}

pub fn run(args: &ExportArgs) -> Result<()> {
    check_name(&args.name)?;
    let record = run_folder::read_record(&args.run)?;
    let base = Base::open(&args.model, None)?;
    let run = run_folder::load(&args.run, record, &base, &args.model)?;
    let info = ModelInfo {
        model_name: base_name(args)?,
        ..model_info(&run.record.config)
    };
    let export = Export {
        args,
        base,
        run,
        info,
    };
    export.check()?;
    in_new_folder(&args.out, |folder| export.write(folder))
}

/// Checks the name of an adapter.
pub fn check_name(name: &str) -> Result<()> {
    ensure!(
        is_name(name),
        "--name must be letters, digits, _ and -, but is \"{name}\""
    );
    Ok(())
}

/// Whether an adapter can have this name, which is that of a folder too.
fn is_name(name: &str) -> bool {
    let of_name = |c: char| c.is_ascii_alphanumeric() || OF_NAMES.contains(&c);
    !name.is_empty() && name.chars().all(of_name)
}

/// Writes a folder that is there as a whole or not at all: it gets its name when everything is in it.
pub fn in_new_folder(folder: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let shown = folder.display();
    ensure!(
        !folder.exists(),
        "{shown}: is there already; choose a new folder"
    );
    let out =
        std::path::absolute(folder).with_context(|| format!("{shown}: cannot be made absolute"))?;
    let parent = out.parent().context("--out needs a folder's name")?;
    let unwritable = || format!("{}: cannot be written to", parent.display());
    let above: Vec<&Path> = parent.ancestors().take_while(|one| !one.exists()).collect();
    std::fs::create_dir_all(parent).with_context(unwritable)?;
    let fresh = unused_folder(parent).with_context(unwritable)?;
    let written = write(&fresh).and_then(|()| {
        std::fs::rename(&fresh, &out).with_context(|| format!("{shown}: cannot be written"))
    });
    if written.is_err() {
        // The error says why there is nothing; what is left of it is of no use.
        let _ = std::fs::remove_dir_all(&fresh);
        for made in above {
            let _ = std::fs::remove_dir(made);
        }
    }
    written?;
    print_line(shown)
}

/// A new folder with a temporary name. A program that was killed may have left one of its own, with the same process number.
fn unused_folder(parent: &Path) -> std::io::Result<PathBuf> {
    let process = std::process::id();
    let mut number = 0;
    loop {
        let folder = parent.join(format!(".pelt-{process}-{number}.tmp"));
        match std::fs::create_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            made => return made.map(|()| folder),
        }
    }
}

/// The base model's name on the Hub, or that of its folder.
fn base_name(args: &ExportArgs) -> Result<String> {
    match &args.base_name {
        Some(name) => Ok(name.clone()),
        None => model_name(&args.model),
    }
}

/// What a model is called: its repository, or its folder, however that is reached.
pub fn model_name(folder: &Path) -> Result<String> {
    if let Some(name) = pelt_hub::repository_of(folder) {
        return Ok(name);
    }
    let folder = std::fs::canonicalize(folder)
        .with_context(|| format!("{}: cannot be found", folder.display()))?;
    let name = folder.file_name().unwrap_or_default();
    Ok(name.to_string_lossy().into_owned())
}

impl Export<'_> {
    fn write(&self, folder: &Path) -> Result<()> {
        match self.args.format {
            ExportFormat::Adapterhub => self.adapterhub(folder)?,
            ExportFormat::Peft => self.peft(folder)?,
            ExportFormat::SafetensorsMerged => self.merged(folder)?,
        }
        self.card(folder)
    }

    /// Checks that the format can hold the run, before anything is written.
    fn check(&self) -> Result<()> {
        let Some(why) = self.why_not(self.args.format)? else {
            return Ok(());
        };
        let mut others = Vec::new();
        for format in ExportFormat::value_variants() {
            if self.why_not(*format)?.is_none() {
                others.extend(
                    format
                        .to_possible_value()
                        .map(|value| value.get_name().to_string()),
                );
            }
        }
        let instead = match others.as_slice() {
            [] => "no other format can hold it either".into(),
            names => format!(
                "`pelt export --format {}` can hold it",
                names.join("` or `--format ")
            ),
        };
        bail!("{}: {why}; {instead}", self.args.run.display())
    }

    /// Why a format cannot hold the run, if it cannot.
    fn why_not(&self, format: ExportFormat) -> Result<Option<String>> {
        Ok(match format {
            ExportFormat::Adapterhub => self
                .not_adapterhub()?
                .map(|why| format!("AdapterHub's format cannot hold what the run trained: {why}")),
            ExportFormat::Peft => self
                .not_peft()?
                .map(|why| format!("PEFT's format cannot hold what the run trained: {why}")),
            ExportFormat::SafetensorsMerged => self
                .not_merged()
                .map(|why| format!("the run cannot be merged: {why}")),
        })
    }

    fn not_peft(&self) -> Result<Option<String>> {
        let config = &self.run.record.config;
        let adapter = match &config.tuning {
            Tuning::Adapter(adapter) => adapter,
            Tuning::Fusion(_) => return Ok(Some("it is a mixture of adapters".into())),
            Tuning::Full | Tuning::BitFit => return Ok(Some(ENCODER.into())),
        };
        if config.stack.is_some() {
            return Ok(Some("its adapter stands on others".into()));
        }
        Ok(peft_cannot_hold(
            adapter,
            &head_tensors(&self.run.model.head)?,
        ))
    }

    fn peft(&self, folder: &Path) -> Result<()> {
        let head = head_tensors(&self.run.model.head)?;
        let frozen = |name: &str| self.base.frozen(name);
        let target = PeftTarget {
            model: &self.info,
            shape: self.base.encoder.shape(),
            base: &frozen,
            head: &head,
        };
        let adapter = self.run.record.config.tuning.adapter();
        Ok(save_peft(
            folder,
            &adapter,
            &self.run.model.method,
            &target,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_program_left_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        // In a container the next process may have the same number.
        let left = unused_folder(folder.path()).unwrap();
        let out = folder.path().join("a/b");
        in_new_folder(&folder.path().join("out"), |_| Ok(())).unwrap();
        assert!(left.is_dir() && folder.path().join("out").is_dir());
        // A folder above that was made for nothing goes too.
        let failed = in_new_folder(&out, |_| bail!("no"));
        assert_eq!(failed.unwrap_err().to_string(), "no");
        assert!(!folder.path().join("a").exists());
    }
}
