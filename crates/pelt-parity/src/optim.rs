//! Twenty recorded steps of AdamW, one by one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use pelt_encoder::{Checkpoint, HeadConfig, HeadKind};
use pelt_hooks::{ADAPTER, Method, NamedParam, PackedBatch, Pass, gradients, load_named, values};
use pelt_methods::{Adapter, AdapterConfig};
use pelt_ops::cross_entropy;
use pelt_tensors::{HostTensor, TensorFiles};
use pelt_train::{
    AdamW, AdamWConfig, Decay, LinearSchedule, PeftModel, clipping_scale, decays, gradient_norm,
};
use serde_json::Value;

use crate::case::{read_json, sequences};
use crate::compare::{Outcome, host, int_tensor, within, worse};

/// The recorded runs.
pub const RUNS: [&str; 3] = [
    "bert_cls_full",
    "bert_cls_lora",
    "roberta_cls_unipelt_prompt",
];

/// Largest difference of a loss, a norm or a rate, as a share of it where it is above 1.
const NUMBERS: f64 = 1e-4;

/// In so many entries one may differ by more than the tolerance. The reference ran in f64. Where a gradient passes through
/// zero, its f32 rounding error is as large as the gradient, and Adam divides by just that size: a few entries in a
/// hundred thousand move by a fraction of the learning rate.
const ENTRIES_PER_OUTLIER: usize = 20_000;

/// How far values of parameters may be from the recorded ones.
#[derive(Debug, Clone, Copy)]
pub struct ValueTolerance {
    /// Of nearly all entries.
    pub most: f64,
    /// Of every entry.
    pub all: f64,
}

/// Runs the steps of one recorded run, and compares losses, norms, rates and the values of all parameters. Gives the largest
/// difference of a value among the outputs, and the values after the last step.
///
/// # Errors
/// If the run cannot be read or repeated. Differences are no error.
pub fn compare_steps(
    fixtures: &Path,
    run: &str,
    device: &Device,
    tolerance: ValueTolerance,
) -> Result<(Outcome, BTreeMap<String, Vec<f32>>)> {
    let run = Run {
        name: run,
        fixtures,
        meta: read_json(&fixtures.join("optim").join(run).join("meta.json"))?,
        device,
        tolerance,
    };
    run.repeat().with_context(|| format!("optim/{}", run.name))
}

struct Run<'a> {
    name: &'a str,
    fixtures: &'a Path,
    meta: Value,
    device: &'a Device,
    tolerance: ValueTolerance,
}

impl Run<'_> {
    fn number(&self, section: &str, key: &str) -> Result<f64> {
        let number = self.meta[section][key].as_f64();
        number.with_context(|| format!("meta.json has no number {section}.{key}"))
    }

    fn model_type(&self) -> &str {
        self.meta["arch"].as_str().unwrap_or_default()
    }

    fn tensors(&self, file: &str) -> Result<TensorFiles> {
        Ok(TensorFiles::open(&self.path(file))?)
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.fixtures.join("optim").join(self.name).join(file)
    }

    /// The name of a parameter in the fixture's files.
    fn in_file(&self, param: &NamedParam) -> String {
        let name = param.name.replace(ADAPTER, "a");
        match name.starts_with("classifier") {
            true => name,
            false => format!("{}.{name}", self.model_type()),
        }
    }

    /// A key bias shifts all scores of a query alike, so the loss does not depend on it where there is no prefix. Its gradient
    /// is rounding noise, which Adam blows up to steps of the learning rate's size.
    fn is_noise(&self, param: &NamedParam) -> bool {
        self.name == "bert_cls_full" && param.name.ends_with("key.bias")
    }

    fn model(&self) -> Result<PeftModel<Adapter>> {
        let model = self.meta["model"].as_str().unwrap_or_default();
        let checkpoint = Checkpoint::open(&self.fixtures.join(model))?;
        let device = self.device.clone().autodiff();
        let encoder = checkpoint.encoder(self.device)?.with_dropout(0.0, 0.0);
        let encoder = Arc::new(encoder);
        let config = HeadConfig {
            kind: match self.model_type() {
                "bert" => HeadKind::BertPooled,
                _ => HeadKind::Roberta,
            },
            labels: 3,
            dropout: 0.0,
        };
        let head = checkpoint.head(config, &device)?;
        let head = head.context("the checkpoint has no head")?;
        let folder = self.path("adapter");
        let shape = encoder.shape();
        if !folder.exists() {
            let none = AdapterConfig { parts: vec![] };
            let adapter = none.init(shape, &device, &|_| None)?;
            return Ok(PeftModel::new(encoder, adapter, head).with_tuned_encoder(|_| true));
        }
        let loaded = pelt_methods::load(&folder, shape, self.model_type(), &device, &|_| None)?;
        let initial = self.tensors("initial.safetensors")?;
        let read = |param: &NamedParam| initial.read(&self.in_file(param)).map(|t| t.values);
        let params = loaded.adapter.named_params();
        let adapter = load_named(loaded.adapter, &params, &device, read)?;
        let params = head.named_params();
        let head = load_named(head, &params, &device, read)?;
        Ok(PeftModel::new(encoder, adapter, head))
    }

    fn repeat(&self) -> Result<(Outcome, BTreeMap<String, Vec<f32>>)> {
        let mut model = self.model()?;
        let params = model.named_params();
        let decay = match self.meta["optimizer"]["decayed"].as_str() {
            Some("all") => Decay::Everything,
            _ => Decay::Weights,
        };
        if decay == Decay::Weights {
            let decayed = params.iter().filter(|param| decays(&param.name));
            let mut decayed: Vec<_> = decayed.map(|param| self.in_file(param)).collect();
            decayed.sort();
            let recorded = self.meta["optimizer"]["decayed"].clone();
            let recorded: Vec<String> = serde_json::from_value(recorded)?;
            ensure!(decayed == recorded, "decayed parameters: {decayed:?}");
        }
        let mut optimizer = AdamW::new(AdamWConfig {
            weight_decay: self.number("optimizer", "weight_decay")?,
            decay,
            ..AdamWConfig::default()
        });
        let schedule = LinearSchedule {
            peak: self.number("optimizer", "lr")?,
            warmup_steps: self.number("schedule", "warmup_steps")? as usize,
            total_steps: self.number("schedule", "total_steps")? as usize,
        };
        let max_norm = self.number("clip", "max_norm")?;
        let batches = self.tensors("batches.safetensors")?;
        let steps = self.meta["steps"].as_array().context("no steps")?;
        ensure!(steps.len() == 20, "{} steps", steps.len());
        let mut outcome = Outcome::default();
        for (index, step) in steps.iter().enumerate() {
            let batch = step["batch"].as_u64().context("a step without a batch")?;
            let (sequences, _) = sequences(&batches, &format!("{batch}."), true)?;
            let labels = batches.read_int(&format!("{batch}.labels"))?.values;
            let logits = model.forward(&PackedBatch::new(&sequences), &Pass::evaluate())?;
            let loss = cross_entropy(logits, int_tensor(labels, self.device));
            let value = host(loss.clone())?[0];
            let mut near = |what: &str, found: f64, key: &str| {
                let recorded = step[key].as_f64().unwrap_or(f64::NAN);
                let difference = (found - recorded).abs() / recorded.abs().max(1.0);
                if !within(difference, NUMBERS) {
                    outcome.problems.push(format!(
                        "optim/{}: {what} at step {index} is {found}, not {recorded}",
                        self.name
                    ));
                }
            };
            near("loss", f64::from(value), "loss");
            let gradients = gradients(&model, &loss.backward());
            for param in params.iter().filter(|param| self.is_noise(param)) {
                let largest = host(gradients[&param.id].clone().abs().max())?[0];
                ensure!(
                    largest < 1e-6,
                    "{} has a gradient of {largest:e}",
                    param.name
                );
            }
            let norm = gradient_norm(&gradients);
            near("gradient norm", norm, "grad_norm");
            let rate = schedule.rate(index);
            near("learning rate", rate, "lr");
            let scale = clipping_scale(norm, max_norm);
            let updated = optimizer.step(&params, values(&model), gradients, scale, rate);
            model = pelt_hooks::load(model, updated);
            let after = format!("after_{}.safetensors", index + 1);
            if self.path(&after).exists() {
                self.compare_values(&model, &after, &mut outcome)?;
            }
        }
        self.compare_values(&model, "final.safetensors", &mut outcome)?;
        let values = values(&model);
        let kept = params.iter().filter(|param| !self.is_noise(param));
        let host = |param: &NamedParam| Ok((param.name.clone(), host(values[&param.id].clone())?));
        Ok((outcome, kept.map(host).collect::<Result<_>>()?))
    }

    fn compare_values(
        &self,
        model: &PeftModel<Adapter>,
        file: &str,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let found = values(model);
        let (mut entries, mut outside) = (0, 0);
        let mut left: BTreeMap<String, HostTensor> = self.tensors(file)?.read_all()?;
        for param in model.named_params() {
            let name = self.in_file(&param);
            let recorded = left.remove(&name);
            let recorded = recorded.with_context(|| format!("{file} has no {name}"))?;
            if self.is_noise(&param) {
                continue;
            }
            let found = param.to_file(host(found[&param.id].clone())?);
            ensure!(found.len() == recorded.values.len(), "entries of {name}");
            let mut largest: f64 = 0.0;
            for (a, b) in found.iter().zip(&recorded.values) {
                let difference = f64::from((a - b).abs());
                entries += 1;
                outside += usize::from(!within(difference, self.tolerance.most));
                largest = worse(largest, difference);
            }
            outcome.outputs = worse(outcome.outputs, largest);
            if !within(largest, self.tolerance.all) {
                outcome.problems.push(format!(
                    "optim/{}: an entry of {name} in {file} differs by {largest:e}",
                    self.name
                ));
            }
        }
        ensure!(left.is_empty(), "not trained here: {:?}", left.keys());
        if outside * ENTRIES_PER_OUTLIER > entries {
            outcome.problems.push(format!(
                "optim/{}: {outside} of {entries} values in {file} differ by more than {:e}",
                self.name, self.tolerance.most
            ));
        }
        Ok(())
    }
}
