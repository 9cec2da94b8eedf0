//! Comparing a case: outputs, loss, gates and gradients.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, ensure};
use burn::module::ParamId;
use burn::tensor::{Device, Int, Tensor, TensorData};
use pelt_encoder::{Head, HeadKind, RowsRead, first_rows};
use pelt_hooks::{Hidden, Method, Pass, gradients};
use pelt_methods::Adapter;
use pelt_ops::{cross_entropy, mean_squared_error};
use pelt_tensors::{HostTensor, TensorFiles};

use crate::case::{Case, Inputs};
use crate::model::Model;
use crate::{spans, tokens};

/// Below this a gradient is rounding: where everything cancels out (the key's bias changes no attention weight) nothing
/// else is left.
const ROUNDING: f64 = 1e-7;

/// How far results may be from the recorded ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Largest difference of an entry of an output, a gate or a loss.
    pub outputs: f64,
    /// Largest difference of an entry of a gradient, as a share of the gradient's largest entry.
    pub gradients: f64,
}

/// What a comparison found.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Largest difference of an output, a gate or a loss.
    pub outputs: f64,
    /// Largest difference of a gradient, as a share of its largest entry.
    pub gradients: f64,
    /// What is outside of the tolerance or missing, a sentence each.
    pub problems: Vec<String>,
}

/// An outcome that is being filled, for one case.
pub(crate) struct Check<'a> {
    pub name: &'a str,
    pub tolerance: Tolerance,
    pub outcome: Outcome,
}

impl Check<'_> {
    /// Takes in the largest difference between entries of an output, of which all are taken by their size over `size`.
    pub fn output(&mut self, what: &str, found: &[f32], expected: &[f32], size: f32) -> Result<()> {
        ensure!(
            found.len() == expected.len(),
            "{what} has {} entries, not {}",
            found.len(),
            expected.len()
        );
        let difference = largest_difference(found, expected) / f64::from(size);
        self.outcome.outputs = worse(self.outcome.outputs, difference);
        if !within(difference, self.tolerance.outputs) {
            self.problem(format!("{what} differs by {difference:e}"));
        }
        Ok(())
    }

    fn gradient(&mut self, what: &str, found: &[f32], expected: &[f32]) -> Result<()> {
        ensure!(
            found.len() == expected.len(),
            "{what} has {} entries",
            found.len()
        );
        let largest = expected.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        let difference = largest_difference(found, expected);
        if within(difference, ROUNDING) {
            return Ok(());
        }
        let relative = difference / f64::from(largest);
        self.outcome.gradients = worse(self.outcome.gradients, relative);
        if !within(relative, self.tolerance.gradients) {
            self.problem(format!("the gradient of {what} differs by {relative:e}"));
        }
        Ok(())
    }

    pub fn problem(&mut self, what: String) {
        self.outcome.problems.push(format!("{}: {what}", self.name));
    }
}

/// Whether a difference is a number and not above the tolerance.
pub(crate) fn within(difference: f64, tolerance: f64) -> bool {
    difference <= tolerance
}

/// The larger one; what is no number is the largest.
pub(crate) fn worse(a: f64, b: f64) -> f64 {
    match a.is_nan() || b.is_nan() {
        true => f64::NAN,
        false => a.max(b),
    }
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f64 {
    let pairs = found.iter().zip(expected);
    pairs
        .map(|(a, b)| f64::from((a - b).abs()))
        .fold(0.0, worse)
}

pub(crate) fn host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    tensor
        .into_data()
        .convert::<f32>()
        .try_to_vec::<f32>()
        .map_err(|error| anyhow::anyhow!("{error:?}"))
}

/// Compares everything that a case holds.
///
/// # Errors
/// If the case cannot be read or run. Differences are no error.
pub fn compare(case: &Case, device: &Device, tolerance: Tolerance) -> Result<Outcome> {
    let mut check = Check {
        name: &case.name,
        tolerance,
        outcome: Outcome::default(),
    };
    run(case, device, &mut check).with_context(|| case.name.clone())?;
    Ok(check.outcome)
}

fn run(case: &Case, device: &Device, check: &mut Check<'_>) -> Result<()> {
    let model = Model::load(case, device)?;
    let inputs = Inputs::read(case)?;
    let expected = case.file("expected.safetensors")?;
    let pass = case.skipping(Pass::observing_gates());
    let hooks = model.hooks();
    let all = model
        .encoder
        .forward(&inputs.batch, &hooks, RowsRead::All, &pass)?;
    let gates = pass.into_gates();
    let rows: Vec<usize> = (0..inputs.lengths.len())
        .filter(|row| !case.only_full_rows() || inputs.lengths[*row] == inputs.columns)
        .collect();
    ensure!(!rows.is_empty(), "no row can be compared");
    let outputs = |what: &str, found: &[f32], expected: &HostTensor, check: &mut Check<'_>| {
        let width = expected.values.len() / inputs.lengths.len();
        for row in &rows {
            let range = row * width..(row + 1) * width;
            let found = found.get(range.clone());
            let found = found.with_context(|| format!("{what} has too few rows"))?;
            check.output(what, found, &expected.values[range], 1.0)?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let first = first_rows(&all);
    if let Some(expected) = &expected {
        // Some fixtures of PEFT hold the outputs of the head alone.
        if let Ok(hidden) = expected.read("last_hidden_state") {
            let padded = padded(&all, &hidden)?;
            outputs("last_hidden_state", &padded, &hidden, check)?;
        }
        if let Ok(recorded) = expected.read("pooler_output") {
            let pooled = model.encoder.pool(&first, &hooks, &Pass::evaluate());
            let pooled = host(pooled.context("the model has no pooler")?.values)?;
            outputs("pooler_output", &pooled, &recorded, check)?;
        }
        for (adapter_name, adapter) in model.levels() {
            let gates = named_gates(adapter, &gates)?;
            let start = format!("gate.{adapter_name}.");
            // Some fixtures were recorded without their gates.
            for name in expected.names() {
                if let Some(short) = name.strip_prefix(&start) {
                    let found = gates
                        .get(short)
                        .with_context(|| format!("no gate {short}"))?;
                    outputs(short, found, &expected.read(name)?, check)?;
                }
            }
        }
    }
    let Some(head) = &model.head else {
        let headless = expected.is_some_and(|expected| !expected.contains("logits"));
        ensure!(headless, "the head is missing");
        return Ok(());
    };
    let kind = head.config().kind;
    if kind.is_masked_lm() || kind.is_span() {
        let expected = expected.context("there is no expected.safetensors")?;
        let compare = match kind.is_span() {
            true => spans::compare,
            false => tokens::compare,
        };
        return compare(case, &model, head, &inputs, &expected, check);
    }
    let logits = |rows: RowsRead| -> Result<Tensor<2>> {
        let pass = case.skipping(Pass::evaluate());
        let hidden = model.encoder.forward(&inputs.batch, &hooks, rows, &pass)?;
        let first = match rows {
            RowsRead::All => first_rows(&hidden),
            RowsRead::First => hidden,
        };
        let input = match kind {
            HeadKind::BertPooled => model
                .encoder
                .pool(&first, &hooks, &pass)
                .context("no pooler")?,
            _ => first,
        };
        Ok(head.forward(input, &pass))
    };
    if let Some(expected) = &expected {
        for rows in [RowsRead::All, RowsRead::First] {
            outputs(
                "logits",
                &host(logits(rows)?)?,
                &expected.read("logits")?,
                check,
            )?;
        }
    }
    if case.only_full_rows() {
        return Ok(());
    }
    let loss = loss(logits(RowsRead::First)?, &inputs.files, device)?;
    if let Some(expected) = &expected {
        let recorded = expected.read("loss")?.values;
        check.output("loss", &host(loss.clone())?, &recorded, 1.0)?;
    }
    compare_gradients(case, &model, head, loss, check)
}

/// Hidden states in the reference's padded form. Padding takes the reference's values, so that whole rows can be compared.
fn padded(all: &Hidden, expected: &HostTensor) -> Result<Vec<f32>> {
    let (columns, width) = (expected.shape[1], expected.shape[2]);
    let packed = host(all.values.clone())?;
    let mut padded = expected.values.clone();
    for sequence in 0..all.packing.sequences() {
        let range = all.packing.rows(sequence);
        ensure!(
            range.len() <= columns,
            "a sequence has {} rows",
            range.len()
        );
        let start = sequence * columns * width;
        padded[start..start + range.len() * width]
            .copy_from_slice(&packed[range.start * width..range.end * width]);
    }
    Ok(padded)
}

/// Observed gates under the fixture's names, `LAYER.PLACE`; the columns of LoRA's are query, key, value.
fn named_gates(
    adapter: &Adapter,
    gates: &HashMap<ParamId, Tensor<2>>,
) -> Result<BTreeMap<String, Vec<f32>>> {
    let mut columns: BTreeMap<String, Vec<(usize, Tensor<2>)>> = BTreeMap::new();
    for param in adapter.named_params() {
        let Some(gate) = gates.get(&param.id) else {
            continue;
        };
        let layer = param.name.split('.').nth(2).unwrap_or_default();
        let places = [
            (".prefix_gates.", "self_prefix", 0),
            ("self.query.loras", "selfattn_lora", 0),
            ("self.key.loras", "selfattn_lora", 1),
            ("self.value.loras", "selfattn_lora", 2),
            ("intermediate.dense.loras", "intermediate_lora", 0),
            (".output.adapters.", "output_adapter", 0),
        ];
        let place = places.iter().find(|(mark, ..)| param.name.contains(mark));
        let (_, place, column) = place.with_context(|| format!("a gate at {}", param.name))?;
        let gates = columns.entry(format!("{layer}.{place}")).or_default();
        gates.push((*column, gate.clone()));
    }
    let join = |(name, mut parts): (String, Vec<(usize, Tensor<2>)>)| {
        parts.sort_by_key(|part| part.0);
        let parts = parts.into_iter().map(|part| part.1.without_autodiff());
        Ok((name, host(Tensor::cat(parts.collect(), 1))?))
    };
    columns.into_iter().map(join).collect()
}

fn loss(logits: Tensor<2>, files: &TensorFiles, device: &Device) -> Result<Tensor<1>> {
    let [rows, outputs] = logits.dims();
    Ok(match outputs {
        1 => {
            let labels = TensorData::new(files.read("labels_reg")?.values, [rows]);
            mean_squared_error(logits, Tensor::from_data(labels, device))
        }
        _ => cross_entropy(
            logits,
            int_tensor(files.read_int("labels_cls")?.values, device),
        ),
    })
}

pub(crate) fn int_tensor(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

pub(crate) fn compare_gradients(
    case: &Case,
    model: &Model,
    head: &Head,
    loss: Tensor<1>,
    check: &mut Check<'_>,
) -> Result<()> {
    let Some(expected) = case.file("grads.safetensors")? else {
        return Ok(());
    };
    // PEFT saves a projected prefix only, so its network cannot be loaded, and has no gradient to compare.
    let network = case.name.ends_with("_prefix_projection");
    let backward = loss.backward();
    let mut found = gradients(&model.adapter, &backward);
    let mut params = model.adapter.named_params();
    if let Some(fusion) = &model.fusion {
        found.extend(gradients(fusion, &backward));
        params.extend(fusion.named_params());
    }
    found.extend(gradients(head, &backward));
    found.extend(gradients(&model.encoder, &backward));
    params.extend(head.named_params());
    params.extend(model.encoder.named_params());
    let mut left: Vec<String> = expected.names().map(str::to_string).collect();
    for param in params {
        let Some(gradient) = found.get(&param.id) else {
            continue;
        };
        let mut name = model.gradient_name(&param);
        if !expected.contains(&name) {
            // Prompt-learning methods of PEFT save the head one level higher.
            name = name.replace("base_model.model.classifier", "base_model.classifier");
        }
        if network && name.starts_with("prompt_encoder") {
            continue;
        }
        let Ok(expected) = expected.read(&name) else {
            // The library has ln_before twice in its files, once in its gradients.
            let twice =
                param.name.contains("adapter_norm_before") || param.name.contains("adapter_down.0");
            // It counts the bias beside the tied word embeddings to them, and so to what is frozen.
            let tied = ["cls.predictions.bias", "lm_head.bias"].contains(&param.name.as_str())
                || param.name.ends_with(".3.bias") && param.name.starts_with("heads.");
            if !twice && !tied {
                check.problem(format!("the gradient of {name} was not recorded"));
            }
            continue;
        };
        left.retain(|other| *other != name);
        let gradient = param.to_file(host(gradient.clone())?);
        check.gradient(&name, &gradient, &expected.values)?;
    }
    left.retain(|name| !(network && name.starts_with("prompt_encoder")));
    if !left.is_empty() {
        check.problem(format!("no gradient for {}", left.join(", ")));
    }
    Ok(())
}
