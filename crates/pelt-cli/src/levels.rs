//! Trained adapters that a run's own adapter stands on.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use pelt_methods::{
    Adapter, AdapterConfig, Level, PartConfig, StackRules, StackedLora, StackedParallel,
};
use serde::{Deserialize, Serialize};

use crate::device::device;
use crate::model::{Base, absolute};
use crate::run_folder::{ADAPTER_NAME, short};
use crate::trained_adapter::{TrainedAdapter, fingerprint};
use crate::training::same_folder;

/// What lies below a run's own adapter, as the run's record keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelsBelow {
    pub lora: StackedLora,
    pub parallel: StackedParallel,
    /// The lowest one first.
    pub levels: Vec<LevelRecord>,
}

/// A frozen adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelRecord {
    /// Its folder.
    pub path: String,
    /// SHA-256 of its weights.
    pub fingerprint: String,
    pub method: AdapterConfig,
}

impl LevelsBelow {
    /// Loads the adapters of `--stack`, which are to lie below a new one that is written to `out`.
    pub fn read(
        folders: &[PathBuf],
        rules: StackRules,
        out: &Path,
        base: &Base,
    ) -> Result<(Self, Vec<Level>)> {
        let mut below = Self {
            lora: rules.lora,
            parallel: rules.parallel,
            levels: Vec::with_capacity(folders.len()),
        };
        let mut levels = Vec::with_capacity(folders.len());
        for (number, folder) in folders.iter().enumerate() {
            let shown = folder.display();
            ensure!(
                !folders[..number]
                    .iter()
                    .any(|other| same_folder(other, folder)),
                "--stack has the folder {shown} twice"
            );
            ensure!(
                !same_folder(folder, out),
                "--out {} is a folder of --stack, which is never written to",
                out.display()
            );
            let found = TrainedAdapter::load(folder, base, &device())?;
            if let Some(own) = &found.below {
                ensure!(
                    below.is_like(own),
                    "{shown}: this adapter was trained on top of {}, so exactly that must lie below it, by the same rules, in --stack",
                    own.paths()
                );
            }
            let parts = &found.level.config.parts;
            ensure!(
                !parts
                    .iter()
                    .any(|part| matches!(part, PartConfig::Stack(_))),
                "{shown}: this adapter is a stack itself, which cannot lie below another adapter"
            );
            below.levels.push(LevelRecord {
                path: absolute(folder)?,
                fingerprint: found.fingerprint,
                method: found.level.config.clone(),
            });
            levels.push(found.level);
        }
        Ok((below, levels))
    }

    /// Puts the run's own adapter on top of the adapters below it, which are loaded from where the record says they are.
    pub fn put_below(
        &self,
        run: &Path,
        method: AdapterConfig,
        adapter: Adapter,
        base: &Base,
    ) -> Result<Adapter> {
        let levels = self.levels.iter().map(|record| record.load(run, base));
        let levels = levels.collect::<Result<Vec<_>>>()?;
        self.put_loaded_below(levels, method, adapter, base)
    }

    /// The same with the adapters below as loaded.
    pub fn put_loaded_below(
        &self,
        levels: Vec<Level>,
        method: AdapterConfig,
        adapter: Adapter,
        base: &Base,
    ) -> Result<Adapter> {
        let top = Level {
            name: ADAPTER_NAME.into(),
            config: method,
            adapter,
        };
        let rules = StackRules {
            lora: self.lora,
            parallel: self.parallel,
        };
        let shape = base.encoder.shape();
        Ok(pelt_methods::stack_on(levels, top, rules, shape)?)
    }

    /// The folders, the lowest one first.
    pub fn paths(&self) -> String {
        let paths: Vec<&str> = self.levels.iter().map(|level| &*level.path).collect();
        paths.join(", ")
    }

    /// Whether the same weights lie below by the same rules, wherever they are.
    fn is_like(&self, other: &Self) -> bool {
        let fingerprints = |below: &Self| -> Vec<String> {
            below.levels.iter().map(|l| l.fingerprint.clone()).collect()
        };
        (self.lora, self.parallel) == (other.lora, other.parallel)
            && fingerprints(self) == fingerprints(other)
    }
}

impl LevelRecord {
    /// Loads the adapter, which must be what it was when `run` was trained on top of it.
    fn load(&self, run: &Path, base: &Base) -> Result<Level> {
        let shown = run.display();
        let folder = Path::new(&self.path);
        ensure!(
            folder.is_dir(),
            "{shown}: the run was trained on top of the adapter in {}, but that folder is missing",
            self.path
        );
        let unreadable =
            || format!("{shown}: the adapter that the run was trained on top of cannot be loaded");
        let found = fingerprint(folder).with_context(unreadable)?;
        ensure!(
            found == self.fingerprint,
            "{shown}: the run was trained on top of the adapter in {}, which has changed since: the SHA-256 of its weights should be {} but is {}",
            self.path,
            short(&self.fingerprint),
            short(&found)
        );
        let found = TrainedAdapter::load(folder, base, &device()).with_context(unreadable)?;
        // Through text like the record, so that numbers are rounded alike.
        let method: AdapterConfig =
            serde_json::from_str(&serde_json::to_string(&found.level.config)?)?;
        ensure!(
            method == self.method,
            "{shown}: the run was trained on top of the adapter in {}, which has changed since: it describes another method",
            self.path
        );
        Ok(found.level)
    }
}
