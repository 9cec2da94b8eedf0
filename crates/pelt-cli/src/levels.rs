//! Trained adapters that a run's own adapter stands on, or that it mixes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use pelt_methods::{
    Adapter, AdapterConfig, FusionConfig, Level, PartConfig, StackRules, StackedLora,
    StackedParallel,
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
        check_folders("--stack", folders, out)?;
        for folder in folders {
            let shown = folder.display();
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
            below.levels.push(LevelRecord::of(folder, &found)?);
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
        self.put_loaded_below(self.load(run, base)?, method, adapter, base)
    }

    /// Loads the adapters below from where the record says they are.
    pub fn load(&self, run: &Path, base: &Base) -> Result<Vec<Level>> {
        let levels = self.levels.iter().map(|record| record.load(run, base));
        levels.collect()
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

/// The adapters that a run mixes, as its record keeps them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FusedAdapters {
    /// Their names in the mixture's files.
    pub names: Vec<String>,
    pub adapters: Vec<LevelRecord>,
}

impl FusedAdapters {
    /// Loads the adapters of `--fuse` and makes a new mixture of them on `training`, for a run that is written to `out`.
    pub fn read(
        folders: &[PathBuf],
        config: &FusionConfig,
        out: &Path,
        base: &Base,
        training: &Device,
    ) -> Result<(Self, Adapter)> {
        let (adapters, levels) = Self::levels(folders, out, base)?;
        let mixture = pelt_methods::fuse(levels, config, base.encoder.shape(), training);
        let (names, adapter) = mixture.context("--fuse: these adapters cannot be mixed")?;
        Ok((Self { names, adapters }, adapter))
    }

    /// Loads the mixture in `folder` of the adapters of `--fuse`, for a run that is written to `out`.
    pub fn of_mixture(
        folder: &Path,
        fused: &[PathBuf],
        out: &Path,
        base: &Base,
    ) -> Result<(Self, FusionConfig, Adapter)> {
        let (records, levels) = Self::levels(fused, out, base)?;
        let loaded = base.load_fusion(folder, levels)?;
        let in_order = loaded.order.iter().filter_map(|at| records.get(*at));
        let fused = Self {
            names: loaded.names,
            adapters: in_order.cloned().collect(),
        };
        let adapter = pelt_methods::as_adapter(loaded.fusion)?;
        Ok((fused, loaded.config, adapter))
    }

    /// The adapters of `--fuse`, with their records.
    fn levels(
        folders: &[PathBuf],
        out: &Path,
        base: &Base,
    ) -> Result<(Vec<LevelRecord>, Vec<Level>)> {
        check_folders("--fuse", folders, out)?;
        let (mut adapters, mut levels) = (Vec::new(), Vec::new());
        for folder in folders {
            let found = TrainedAdapter::to_go_on_from(folder, base, &device())?;
            let parts = &found.level.config.parts;
            ensure!(
                matches!(parts.as_slice(), [PartConfig::Bottleneck(_)]),
                "{}: only bottleneck adapters can be mixed, but this one is {}",
                folder.display(),
                parts
                    .iter()
                    .map(PartConfig::name)
                    .collect::<Vec<_>>()
                    .join(" + ")
            );
            adapters.push(LevelRecord::of(folder, &found)?);
            levels.push(found.level);
        }
        Ok((adapters, levels))
    }

    /// Loads the mixture of a run with the adapters from where the record says they are.
    pub fn load(&self, run: &Path, base: &Base) -> Result<Adapter> {
        let adapters = self.adapters(run, base)?;
        let loaded = base.load_fusion(run, adapters)?;
        Ok(pelt_methods::as_adapter(loaded.fusion)?)
    }

    /// Loads the adapters that are mixed from where the record says they are.
    pub fn adapters(&self, run: &Path, base: &Base) -> Result<Vec<Level>> {
        let adapters = self.adapters.iter().map(|record| record.load(run, base));
        adapters.collect()
    }
}

/// Checks that folders of trained adapters are different ones, and none of them the run's.
pub fn check_folders(option: &str, folders: &[PathBuf], out: &Path) -> Result<()> {
    for (number, folder) in folders.iter().enumerate() {
        ensure!(
            !folders[..number]
                .iter()
                .any(|other| same_folder(other, folder)),
            "{option} has the folder {} twice",
            folder.display()
        );
        ensure!(
            !same_folder(folder, out),
            "--out {} is a folder of {option}, which is never written to",
            out.display()
        );
    }
    Ok(())
}

impl LevelRecord {
    fn of(folder: &Path, found: &TrainedAdapter) -> Result<Self> {
        Ok(Self {
            path: absolute(folder)?,
            fingerprint: found.fingerprint.clone(),
            method: found.level.config.clone(),
        })
    }

    /// Loads the adapter, which must be what it was when `run` was trained on top of it, or mixed it.
    fn load(&self, run: &Path, base: &Base) -> Result<Level> {
        let shown = run.display();
        let folder = Path::new(&self.path);
        ensure!(
            folder.is_dir(),
            "{shown}: the run was trained with the adapter in {}, but that folder is missing",
            self.path
        );
        let unreadable =
            || format!("{shown}: the adapter that the run was trained with cannot be loaded");
        let found = fingerprint(folder).with_context(unreadable)?;
        ensure!(
            found == self.fingerprint,
            "{shown}: the run was trained with the adapter in {}, which has changed since: the SHA-256 of its weights should be {} but is {}",
            self.path,
            short(&self.fingerprint),
            short(&found)
        );
        let found = TrainedAdapter::load(folder, base, &device()).with_context(unreadable)?;
        ensure!(
            found.level.config == self.method,
            "{shown}: the run was trained with the adapter in {}, which has changed since: it describes another method",
            self.path
        );
        Ok(found.level)
    }
}
