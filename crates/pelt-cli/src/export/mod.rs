//! `pelt export`: a finished run as files of other libraries.

mod adapterhub;
mod card;
mod merged;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use pelt_methods::{ModelInfo, PeftTarget, peft_cannot_hold, save_peft};

use crate::args::{ExportArgs, ExportFormat};
use crate::method::Tuning;
use crate::model::Base;
use crate::output::print_line;
use crate::run_folder::{self, Run, head_tensors};
use crate::run_record::model_info;

/// Characters of an adapter's name besides letters and digits. In Python it is the name of a module, which has no dots.
const OF_NAMES: [char; 2] = ['_', '-'];

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
    std::fs::create_dir_all(parent).with_context(unwritable)?;
    let fresh = parent.join(format!(".pelt-{}.tmp", std::process::id()));
    std::fs::create_dir(&fresh).with_context(unwritable)?;
    let written = write(&fresh).and_then(|()| {
        std::fs::rename(&fresh, &out).with_context(|| format!("{shown}: cannot be written"))
    });
    if written.is_err() {
        // The error says why there is nothing; what is left of it is of no use.
        let _ = std::fs::remove_dir_all(&fresh);
    }
    written?;
    print_line(shown)
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

    fn peft(&self, folder: &Path) -> Result<()> {
        let config = &self.run.record.config;
        let shown = self.args.run.display();
        let Tuning::Adapter(adapter) = &config.tuning else {
            bail!(
                "{shown}: the run trained {}, which PEFT's format cannot hold; {}",
                self.trained(),
                self.instead()
            );
        };
        ensure!(
            config.stack.is_none(),
            "{shown}: the run's adapter stands on others, which PEFT's format cannot hold; --format adapterhub writes all of them"
        );
        let head = head_tensors(&self.run.model.head)?;
        if let Some(why) = peft_cannot_hold(adapter, &head) {
            bail!("{shown}: PEFT's format cannot hold the run's adapter: {why}");
        }
        let frozen = |name: &str| self.base.frozen(name);
        let target = PeftTarget {
            model: &self.info,
            shape: self.base.encoder.shape(),
            base: &frozen,
            head: &head,
        };
        Ok(save_peft(folder, adapter, &self.run.model.method, &target)?)
    }

    /// What the run trained, in a sentence.
    fn trained(&self) -> &'static str {
        match self.run.record.config.tuning {
            Tuning::Adapter(_) => "an adapter",
            Tuning::Fusion(_) => "a mixture of adapters",
            Tuning::Full | Tuning::BitFit => "the encoder itself",
        }
    }

    /// The format for what is no single adapter.
    fn instead(&self) -> &'static str {
        match self.run.record.config.tuning {
            Tuning::Full | Tuning::BitFit => "use --format safetensors-merged",
            _ => "use --format adapterhub",
        }
    }
}
