//! AdapterHub's files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use pelt_methods::{
    Adapter, AdapterConfig, AnyMethod, PartConfig, StackRules, StackedLora, StackedParallel,
    adapterhub_cannot_hold, as_fusion, save_pytorch_copies, trained_level,
};
use pelt_tensors::HostTensor;

use super::{ENCODER, Export, is_name};
use crate::data::label_names;
use crate::method::Tuning;
use crate::run_folder::{ADAPTER_NAME, head_tensors};

/// An adapter of a run, which may have several.
struct Member {
    name: String,
    config: AdapterConfig,
    adapter: Adapter,
}

impl Export<'_> {
    /// Why the library could not load the run, or would compute something else.
    pub(super) fn not_adapterhub(&self) -> Result<Option<String>> {
        if self.run.record.config.tuning.tunes_encoder() {
            return Ok(Some(ENCODER.into()));
        }
        let members = self.members()?;
        let mut parts = members.iter().flat_map(|member| &member.config.parts);
        let why = parts.find_map(adapterhub_cannot_hold);
        Ok(why.or_else(|| self.rules_differ(&members).map(String::from)))
    }

    /// One folder for every adapter where there are several; the head lies with the last one, or with the mixture.
    pub(super) fn adapterhub(&self, folder: &Path) -> Result<()> {
        let config = &self.run.record.config;
        let members = self.members()?;
        let mixture = match &config.tuning {
            Tuning::Fusion(fusion) => Some(fusion),
            _ => None,
        };
        let alone = members.len() == 1 && mixture.is_none();
        for member in &members {
            let own = match alone {
                true => folder.to_path_buf(),
                false => folder.join(&member.name),
            };
            std::fs::create_dir_all(&own)
                .with_context(|| format!("{}: cannot be created", own.display()))?;
            pelt_methods::save(
                &own,
                &member.name,
                &member.config,
                &member.adapter,
                &self.info,
            )?;
            let is_last = members.last().is_some_and(|last| last.name == member.name);
            if is_last && mixture.is_none() {
                self.head(&own, &member.name)?;
            }
            save_pytorch_copies(&own)?;
        }
        if let Some(fusion) = mixture {
            let trained = as_fusion(&self.run.model.method).context("the run has no mixture")?;
            let names: Vec<String> = members.into_iter().map(|member| member.name).collect();
            pelt_methods::save_fusion(folder, &names, fusion, trained, &self.info)?;
            self.head(folder, &names.join(","))?;
            save_pytorch_copies(folder)?;
        }
        Ok(())
    }

    /// The run's adapters, the lowest one first.
    fn members(&self) -> Result<Vec<Member>> {
        let config = &self.run.record.config;
        let method = &self.run.model.method;
        let run = &self.args.run;
        let own = match &config.tuning {
            Tuning::Adapter(own) => own,
            Tuning::Fusion(_) => {
                let fused = config.fused(run)?;
                let levels = fused.adapters(run, &self.base)?.into_iter();
                let levels = levels.map(|level| (level.config, level.adapter));
                return self.named(levels);
            }
            Tuning::Full | Tuning::BitFit => bail!("{}: {ENCODER}", run.display()),
        };
        let mut levels: Vec<(AdapterConfig, Adapter)> = Vec::new();
        match (own.parts.as_slice(), method.parts.as_slice()) {
            ([PartConfig::Stack(config)], [AnyMethod::Stack(stack)]) => {
                let trained = stack.levels.iter().cloned();
                levels.extend(config.levels.iter().cloned().zip(trained));
            }
            _ => {
                if let Some(below) = &config.stack {
                    let below = below.load(run, &self.base)?.into_iter();
                    levels.extend(below.map(|level| (level.config, level.adapter)));
                }
                levels.push((own.clone(), trained_level(method).clone()));
            }
        }
        self.named(levels.into_iter())
    }

    fn named(&self, levels: impl Iterator<Item = (AdapterConfig, Adapter)>) -> Result<Vec<Member>> {
        let named = self.names()?.into_iter().zip(levels);
        let member = |(name, (config, adapter))| Member {
            name,
            config,
            adapter,
        };
        Ok(named.map(member).collect())
    }

    /// The names of the run's adapters, the lowest one first. Those of a mixture come from files, and are kept only where they
    /// can be names of folders.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let config = &self.run.record.config;
        let numbered = |count: usize| {
            let number = |number| format!("{}_{number}", self.args.name);
            (1..=count).map(number).collect()
        };
        if let Tuning::Fusion(_) = config.tuning {
            let fused = config.fused(&self.args.run)?;
            let apart: BTreeSet<&String> = fused.names.iter().collect();
            let kept = fused.names.iter().all(|name| is_name(name))
                && [apart.len(), fused.names.len()] == [fused.adapters.len(); 2];
            return Ok(match kept {
                true => fused.names.clone(),
                false => numbered(fused.adapters.len()),
            });
        }
        let own = config.tuning.adapter();
        let count = match (own.parts.as_slice(), &config.stack) {
            ([PartConfig::Stack(stack)], _) => stack.levels.len(),
            (_, Some(below)) => below.levels.len() + 1,
            (_, None) => 1,
        };
        Ok(match count {
            1 => vec![self.args.name.clone()],
            _ => numbered(count),
        })
    }

    /// How the run's adapters follow one another, where they are a stack.
    pub(super) fn rules(&self) -> Option<StackRules> {
        let config = &self.run.record.config;
        match (&config.stack, config.tuning.adapter().parts.as_slice()) {
            (Some(below), _) => Some(StackRules {
                lora: below.lora,
                parallel: below.parallel,
            }),
            (None, [PartConfig::Stack(stack)]) => Some(StackRules {
                lora: stack.lora,
                parallel: stack.parallel,
            }),
            _ => None,
        }
    }

    /// What a stack of these adapters would compute in another way there.
    fn rules_differ(&self, members: &[Member]) -> Option<&'static str> {
        let rules = self.rules()?;
        let several = |wanted: fn(&PartConfig) -> bool| {
            let with = members
                .iter()
                .filter(|one| one.config.parts.iter().any(wanted));
            with.count() > 1
        };
        let lora = |part: &PartConfig| matches!(part, PartConfig::Lora(_));
        let parallel =
            |part: &PartConfig| matches!(part, PartConfig::Bottleneck(one) if one.is_parallel);
        if rules.lora == StackedLora::Sum && several(lora) {
            return Some(
                "its stacked LoRAs are added up, and there each reads the one below (train with --stacked-lora composed)",
            );
        }
        let summed = rules.parallel == StackedParallel::Sum && several(parallel);
        summed.then_some(
            "its stacked parallel adapters are added up, and there the last one replaces the others (train with --stacked-parallel last)",
        )
    }

    /// Writes the task head; the tensors of a flexible one carry the adapter's name.
    fn head(&self, folder: &Path, name: &str) -> Result<()> {
        let config = &self.run.record.config;
        let (old, new) = (format!("heads.{ADAPTER_NAME}."), format!("heads.{name}."));
        let tensors = head_tensors(&self.run.model.head)?.into_iter();
        let renamed: BTreeMap<String, HostTensor> = tensors
            .map(|(tensor, value)| (tensor.replacen(&old, &new, 1), value))
            .collect();
        let labels = label_names(&config.target);
        pelt_methods::save_head(
            folder,
            name,
            &renamed,
            labels.as_deref(),
            config.head.labels,
            &self.info,
        )?;
        Ok(())
    }
}
