//! Models and adapters on the Hugging Face Hub, under the variables that its own libraries read.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use pelt_hub::{Choose, DEFAULT_ENDPOINT, Hub, Progress, Repository, adapter_files, model_files};

use crate::args::Command;
use crate::talk::{self, Volume};

/// The Hub as the environment has it.
pub fn hub() -> Result<Hub> {
    let below = |variable: OsString, folder: &str| PathBuf::from(variable).join(folder);
    let home = variable("HF_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| below(cache, "huggingface")))
        .or_else(|| variable("HOME").map(|home| below(home, ".cache/huggingface")));
    let cache = match (variable("HF_HUB_CACHE"), &home) {
        (Some(cache), _) => cache.into(),
        (None, Some(home)) => home.join("hub"),
        (None, None) => {
            anyhow::bail!("neither HF_HOME nor HOME is set, so the Hub's cache cannot be found")
        }
    };
    Ok(Hub {
        cache,
        endpoint: text("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.into()),
        token: token(home.as_deref())?,
        offline: ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
            .into_iter()
            .filter_map(text)
            .any(|value| is_true(&value)),
    })
}

/// A variable that is set, and not to nothing.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn text(name: &str) -> Option<String> {
    variable(name)?.into_string().ok()
}

fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
}

/// The user's token, from the environment or the file in which the Hub's own tools keep it.
fn token(home: Option<&Path>) -> Result<Option<String>> {
    let token = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN"));
    let file = match variable("HF_TOKEN_PATH") {
        Some(file) => Some(PathBuf::from(file)),
        None => home.map(|home| home.join("token")),
    };
    let token = match (token, file) {
        (Some(token), _) => token,
        (None, Some(file)) if file.is_file() => std::fs::read_to_string(&file)
            .with_context(|| format!("{}: the Hub's token cannot be read", file.display()))?,
        _ => return Ok(None),
    };
    Ok(Some(token.trim().to_owned()).filter(|token| !token.is_empty()))
}

impl Command {
    /// Puts folders in the place of names on the Hub, fetching what the cache does not have.
    pub fn fetch(&mut self) -> Result<()> {
        let (model, adapters): (Option<&mut PathBuf>, Vec<&mut PathBuf>) = match self {
            Self::Train(args) => (
                Some(&mut args.model),
                args.init_adapter
                    .iter_mut()
                    .chain(&mut args.stack)
                    .chain(&mut args.fuse)
                    .collect(),
            ),
            Self::Pretrain(args) => (Some(&mut args.model), Vec::new()),
            Self::Evaluate(args) => (Some(&mut args.model), Vec::new()),
            Self::Predict(args) => (Some(&mut args.model), Vec::new()),
            Self::Export(args) => (Some(&mut args.model), Vec::new()),
            Self::Import(args) => (
                Some(&mut args.model),
                std::iter::once(&mut args.adapter)
                    .chain(&mut args.stack)
                    .chain(&mut args.fuse)
                    .collect(),
            ),
            Self::Merge(args) => (Some(&mut args.model), args.adapter.iter_mut().collect()),
            Self::Eject(args) => (Some(&mut args.model), Vec::new()),
            Self::Diff(args) => (None, vec![&mut args.a, &mut args.b]),
            Self::Inspect(args) => (Some(&mut args.model), Vec::new()),
            Self::Forward(args) => (Some(&mut args.model), args.adapter.iter_mut().collect()),
            Self::Probe(args) => (Some(&mut args.model), Vec::new()),
            Self::Methods(_) | Self::Tasks(_) | Self::Devices | Self::Completions { .. } => {
                (None, Vec::new())
            }
        };
        if let Some(place) = model {
            *place = folder(place, &model_files)?;
        }
        for place in adapters {
            *place = folder(place, &adapter_files)?;
        }
        Ok(())
    }
}

/// A folder as it is; of the name of a repository, the folder of its files.
fn folder(place: &Path, choose: &Choose<'_>) -> Result<PathBuf> {
    let repository = place
        .to_str()
        .filter(|_| !place.exists())
        .and_then(|name| Repository::model(name).ok());
    let Some(repository) = repository else {
        let is_one_word = place.components().count() == 1 && place.extension().is_none();
        anyhow::ensure!(
            place.exists() || !is_one_word,
            "{}: no such folder; names on the Hub have an owner, as in google-bert/bert-base-uncased",
            place.display()
        );
        // What is no folder either is said by whoever reads it.
        return Ok(place.to_path_buf());
    };
    let found = hub()?
        .fetch(&repository, choose, &mut Downloads::default())
        .with_context(|| {
            format!(
                "{}: no such folder, so it was looked for on the Hub",
                place.display()
            )
        })?;
    talk::detail(format!("{repository}: {}", found.display()));
    Ok(found)
}

/// Shows downloads: a bar on a terminal, a line for each file elsewhere.
#[derive(Default)]
pub struct Downloads {
    file: String,
    bar: Option<ProgressBar>,
}

impl Progress for Downloads {
    fn wait(&mut self, file: &str) {
        talk::say(format!(
            "waiting for another program that is fetching {file}"
        ));
    }

    fn begin(&mut self, file: &str, bytes: u64) {
        if std::io::stderr().is_terminal() && talk::volume() != Volume::Quiet {
            let bar = ProgressBar::new(bytes);
            let style = "{bar:30} {bytes}/{total_bytes}  {msg}  {bytes_per_sec}";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar.set_message(file.to_owned());
            self.bar = Some(bar);
        } else if self.file != file {
            talk::say(format!("fetching {file}, {}", HumanBytes(bytes)));
        }
        self.file = file.to_owned();
    }

    fn advance(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offline_has_the_spellings_of_the_hub_s_own_libraries() {
        for value in ["1", "ON", "yes", "True"] {
            assert!(is_true(value), "{value}");
        }
        for value in ["0", "off", "no", ""] {
            assert!(!is_true(value), "{value}");
        }
    }
}
