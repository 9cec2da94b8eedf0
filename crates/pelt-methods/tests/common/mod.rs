//! Running a fixture and comparing it.

mod spans;
mod tokens;

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use pelt_encoder::{
    Architecture, Checkpoint, Encoder, Head, HeadConfig, HeadKind, PromptLabels, RowsRead,
    first_rows,
};
use pelt_hooks::{
    ADAPTER, EncoderHooks, EncoderShape, Hidden, Method, NamedParam, PackedBatch, Pass, Sequence,
    gradients,
};
use pelt_methods::{
    Adapter, AdapterConfig, AnyMethod, Fusion, Level, StackRules, StackedLora, StackedParallel,
    load_fusion, stack,
};
use pelt_ops::{cross_entropy, mean_squared_error};
use pelt_tensors::{HostTensor, TensorFiles};
use pelt_testkit::{fixture, fixture_json};
use serde_json::Value;

const OUTPUT_TOLERANCE: f64 = 1e-4;
const GRADIENT_TOLERANCE: f64 = 1e-4;
const GRADIENT_ROUNDING: f64 = 1e-7;

/// One folder of `fixtures/cases`.
pub struct Case {
    /// `base/bert_cls`.
    pub name: String,
    meta: Value,
}

impl Case {
    pub fn all() -> Vec<Self> {
        let mut names = vec![];
        for group in ["adapters", "base", "peft"] {
            for entry in std::fs::read_dir(fixture("cases").join(group)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                names.push(format!("{group}/{name}"));
            }
        }
        names.sort();
        let load = |name: String| Self {
            meta: fixture_json(format!("cases/{name}/meta.json")),
            name,
        };
        names.into_iter().map(load).collect()
    }

    fn text(&self, key: &str) -> &str {
        self.meta[key].as_str().unwrap_or_default()
    }

    fn file(&self, file: &str) -> Option<TensorFiles> {
        let path = fixture(format!("cases/{}/{file}", self.name));
        path.exists().then(|| TensorFiles::open(&path).unwrap())
    }

    /// The names of adapters under `stack` or `fuse`, in order.
    fn composed(&self, how: &str) -> Vec<&str> {
        let names = self.meta["setup"].get(how).and_then(Value::as_array);
        let names = names.into_iter().flatten();
        names.map(|name| name.as_str().unwrap()).collect()
    }

    /// Layers in which the adapter does nothing.
    fn skipped_layers(&self) -> Vec<usize> {
        let layers = self.meta.get("skip_layers").and_then(Value::as_array);
        let layers = layers.into_iter().flatten();
        layers
            .map(|layer| layer.as_u64().unwrap() as usize)
            .collect()
    }

    fn skipping(&self, pass: Pass) -> Pass {
        pass.skipping(self.skipped_layers())
    }

    /// The references let padding into gates, and the fused-attention path of `adapters` lets padding keys into prompt
    /// rows. Only rows without padding can be compared then.
    fn only_full_rows(&self) -> bool {
        self.name.ends_with("_padded") || self.name.ends_with("_sdpa_quirk")
    }
}

/// A padded batch, packed, with the lengths of its rows.
struct Inputs {
    batch: PackedBatch,
    lengths: Vec<usize>,
    columns: usize,
    files: TensorFiles,
}

impl Inputs {
    fn read(case: &Case) -> Self {
        let files = TensorFiles::open(&fixture(case.text("inputs"))).unwrap();
        let ids = files.read_int("input_ids").unwrap();
        let mask = files.read_int("attention_mask").unwrap().values;
        let types = files.read_int("token_type_ids").unwrap().values;
        let use_types = case.meta.get("token_types_used") != Some(&Value::Bool(false));
        let (rows, columns) = (ids.shape[0], ids.shape[1]);
        let mut lengths = vec![];
        let mut sequences = vec![];
        for row in 0..rows {
            let range = row * columns..(row + 1) * columns;
            let length = mask[range.clone()].iter().sum::<i64>() as usize;
            let take = |values: &[i64], keep: bool| {
                let values = values[range.clone()][..length].iter();
                values.map(|v| if keep { *v as u32 } else { 0 }).collect()
            };
            sequences.push(Sequence {
                input_ids: take(&ids.values, true),
                token_type_ids: take(&types, use_types),
            });
            lengths.push(length);
        }
        Self {
            batch: PackedBatch::new(&sequences),
            lengths,
            columns,
            files,
        }
    }
}

/// A fixture's model on the autodiff side.
struct Model {
    encoder: Encoder,
    adapter: Adapter,
    fusion: Option<Fusion>,
    head: Option<Head>,
    model_type: &'static str,
    adapter_name: String,
    peft: bool,
}

impl Model {
    fn load(case: &Case) -> Self {
        let device = Device::flex().autodiff();
        let checkpoint = Checkpoint::open(&fixture(case.text("model"))).unwrap();
        let encoder = checkpoint
            .encoder(&Device::flex())
            .unwrap()
            .with_dropout(0.0, 0.0);
        let model_type = checkpoint.config().architecture.name();
        let width = encoder.shape().hidden_size;
        let mut head = checkpoint_head(&checkpoint, &device);
        let adapter_folder = fixture(format!("cases/{}/adapter", case.name));
        let none = AdapterConfig { parts: vec![] };
        let (mut adapter, mut adapter_name) = (
            none.init(encoder.shape(), &device, &|_| None).unwrap(),
            String::new(),
        );
        let peft = case.text("kind") == "peft";
        if adapter_folder.exists() {
            let base = |name: &str| checkpoint.tensor(name).ok().map(|tensor| tensor.values);
            let loaded =
                pelt_methods::load(&adapter_folder, encoder.shape(), model_type, &device, &base)
                    .unwrap_or_else(|error| panic!("{}: {error}", case.name));
            if let Some(saved) = &loaded.head {
                head = Head::from_tensors(&saved.tensors, &loaded.name, width, &device).ok();
            }
            adapter = loaded.adapter;
            adapter_name = loaded.name;
        }
        if !case.composed("stack").is_empty() {
            adapter = stacked(case, encoder.shape(), model_type, &device);
        }
        let fused = case.composed("fuse");
        let fusion = (!fused.is_empty()).then(|| {
            adapter_name = fused.join(",");
            fused_adapters(case, encoder.shape(), model_type, &device)
        });
        let trained: fn(&str) -> bool = match case.text("kind") {
            "bitfit" => |name| name.ends_with(".bias"),
            "base" if case.file("grads.safetensors").is_some() => |_| true,
            _ => |_| false,
        };
        let tuned = encoder
            .named_params()
            .iter()
            .any(|param| trained(&param.name));
        Self {
            encoder: match tuned {
                true => encoder.trainable(trained),
                false => encoder,
            },
            adapter,
            fusion,
            head,
            model_type,
            adapter_name,
            peft,
        }
    }

    fn hooks(&self) -> &dyn EncoderHooks {
        match &self.fusion {
            Some(fusion) => fusion,
            None => &self.adapter,
        }
    }

    /// The adapter, or those of a stack, by name.
    fn levels(&self) -> Vec<(&str, &Adapter)> {
        match self.adapter.parts.as_slice() {
            [AnyMethod::Stack(stack)] => stack.named_levels().collect(),
            _ => vec![(&self.adapter_name, &self.adapter)],
        }
    }

    /// The name of a trained parameter in `grads.safetensors`.
    fn gradient_name(&self, param: &NamedParam) -> String {
        let name = param.name.replace(ADAPTER, &self.adapter_name);
        let is_head = ["classifier", "heads.", "qa_outputs", "cls.", "lm_head."]
            .iter()
            .any(|start| name.starts_with(start));
        if !self.peft {
            return match is_head {
                true => name,
                false => format!("{}.{name}", self.model_type),
            };
        }
        let lora = format!(".loras.{}.", self.adapter_name);
        match name.split_once(&lora) {
            Some((path, "bias_delta")) => format!(
                "base_model.model.{}.{path}.base_layer.bias",
                self.model_type
            ),
            Some((path, _)) if matches!(self.adapter.parts[0], AnyMethod::Ia3(_)) => {
                format!("base_model.model.{}.{path}.ia3_l", self.model_type)
            }
            Some((path, tensor)) => format!(
                "base_model.model.{}.{path}.{tensor}.weight",
                self.model_type
            ),
            None if is_head => format!("base_model.model.{name}"),
            None => "prompt_encoder.embedding.weight".into(),
        }
    }
}

/// The adapters of a stacked or fused case.
fn levels(
    case: &Case,
    how: &str,
    shape: &EncoderShape,
    model_type: &str,
    device: &Device,
) -> Vec<Level> {
    let level = |name: &str| {
        let folder = fixture(format!("cases/{}/adapter_{name}", case.name));
        let loaded = pelt_methods::load(&folder, shape, model_type, device, &|_| None).unwrap();
        assert_eq!(loaded.name, name);
        Level {
            name: loaded.name,
            config: loaded.config,
            adapter: loaded.adapter,
        }
    };
    case.composed(how).into_iter().map(level).collect()
}

/// The adapters of a stacked case on top of one another, by the reference's rules.
fn stacked(case: &Case, shape: &EncoderShape, model_type: &str, device: &Device) -> Adapter {
    let rules = StackRules {
        lora: StackedLora::Composed,
        parallel: StackedParallel::Last,
    };
    let levels = levels(case, "stack", shape, model_type, device);
    stack(levels, rules, shape).unwrap()
}

fn fused_adapters(case: &Case, shape: &EncoderShape, model_type: &str, device: &Device) -> Fusion {
    let levels = levels(case, "fuse", shape, model_type, device);
    let folder = fixture(format!("cases/{}/fusion", case.name));
    let loaded = load_fusion(&folder, levels, shape, model_type, device).unwrap();
    assert_eq!(loaded.names, case.composed("fuse"));
    loaded.fusion
}

fn checkpoint_head(checkpoint: &Checkpoint, device: &Device) -> Option<Head> {
    let (kind, last) = match checkpoint.config().architecture {
        Architecture::Bert => (HeadKind::BertPooled, "classifier.weight"),
        Architecture::Roberta => (HeadKind::Roberta, "classifier.out_proj.weight"),
    };
    let prompt_labels = PromptLabels::default();
    let spans = (HeadKind::Span { prompt_labels }, "qa_outputs.weight");
    let bert = (HeadKind::BertMaskedLm, "cls.predictions.bias");
    let roberta = (HeadKind::RobertaMaskedLm, "lm_head.bias");
    let known = [(kind, last), spans, bert, roberta];
    let (kind, labels) = known.into_iter().find_map(|(kind, last)| {
        let last = checkpoint.tensor(last).ok()?;
        Some((kind, last.shape[0]))
    })?;
    let config = HeadConfig {
        kind,
        labels,
        dropout: 0.0,
    };
    checkpoint.head(config, device).unwrap()
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().unwrap()
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs
        .map(|(a, b)| f64::from((a - b).abs()))
        .fold(0.0, f64::max)
}

/// Compares everything that the fixture holds.
pub fn compare(case: &Case, failures: &mut Vec<String>, worst: &mut f64) {
    let model = Model::load(case);
    let inputs = Inputs::read(case);
    let expected = case.file("expected.safetensors");
    let mut check = |what: &str, difference: f64, tolerance: f64| {
        if difference > tolerance || !difference.is_finite() {
            failures.push(format!("{}: {what} differs by {difference:e}", case.name));
        }
    };
    let pass = case.skipping(Pass::observing_gates());
    let all = model
        .encoder
        .forward(&inputs.batch, &model.hooks(), RowsRead::All, &pass)
        .unwrap();
    let gates = pass.into_gates();
    let rows: Vec<usize> = (0..inputs.lengths.len())
        .filter(|row| !case.only_full_rows() || inputs.lengths[*row] == inputs.columns)
        .collect();
    assert!(!rows.is_empty(), "{}: no row can be compared", case.name);
    let mut outputs = |what: &str, found: &[f32], expected: &HostTensor| {
        let width = expected.values.len() / inputs.lengths.len();
        for row in &rows {
            let range = row * width..(row + 1) * width;
            let difference = largest_difference(&found[range.clone()], &expected.values[range]);
            *worst = worst.max(difference);
            check(what, difference, OUTPUT_TOLERANCE);
        }
    };
    let first = first_rows(&all);
    let pooled = model
        .encoder
        .pool(&first, &model.hooks(), &Pass::evaluate());
    if let Some(expected) = &expected {
        // Some fixtures of PEFT hold the outputs of the head alone.
        if let Ok(hidden) = expected.read("last_hidden_state") {
            compare_hidden(&all, &hidden, &mut outputs);
        }
        if expected.contains("pooler_output") {
            let pooled = host(pooled.clone().unwrap().values);
            outputs(
                "pooler_output",
                &pooled,
                &expected.read("pooler_output").unwrap(),
            );
        }
        for (adapter_name, adapter) in model.levels() {
            let gates: BTreeMap<_, _> = named_gates(adapter, &gates).into_iter().collect();
            for name in expected.names() {
                // Some fixtures were recorded without their gates.
                let start = format!("gate.{adapter_name}.");
                if let Some(short) = name.strip_prefix(&start) {
                    outputs(short, &gates[short], &expected.read(name).unwrap());
                }
            }
        }
    }
    let Some(head) = &model.head else {
        let headless = expected.is_some_and(|expected| !expected.contains("logits"));
        assert!(headless, "{}: the head is missing", case.name);
        return;
    };
    if head.config().kind.is_masked_lm() {
        let expected = expected.unwrap();
        tokens::compare(case, &model, head, &inputs, &expected, failures, worst);
        return;
    }
    if head.config().kind.is_span() {
        let expected = expected.unwrap();
        spans::compare(case, &model, head, &inputs, &expected, failures, worst);
        return;
    }
    let logits = |rows: RowsRead| {
        let pass = case.skipping(Pass::evaluate());
        let hidden = model
            .encoder
            .forward(&inputs.batch, &model.hooks(), rows, &pass)
            .unwrap();
        let first = match rows {
            RowsRead::All => first_rows(&hidden),
            RowsRead::First => hidden,
        };
        let input = match head.config().kind {
            HeadKind::BertPooled => model.encoder.pool(&first, &model.hooks(), &pass).unwrap(),
            _ => first,
        };
        head.forward(input, &pass)
    };
    if let Some(expected) = &expected {
        for rows in [RowsRead::All, RowsRead::First] {
            let logits = host(logits(rows));
            outputs("logits", &logits, &expected.read("logits").unwrap());
        }
    }
    if case.only_full_rows() {
        return;
    }
    let loss = loss(logits(RowsRead::First), &inputs.files);
    if let Some(expected) = &expected {
        let value: f32 = loss.clone().into_scalar();
        let expected = expected.read("loss").unwrap().values[0];
        check(
            "loss",
            f64::from((value - expected).abs()),
            OUTPUT_TOLERANCE,
        );
    }
    compare_gradients(case, &model, head, loss, &mut check);
}

fn compare_hidden(
    all: &Hidden,
    expected: &HostTensor,
    outputs: &mut dyn FnMut(&str, &[f32], &HostTensor),
) {
    let (columns, width) = (expected.shape[1], expected.shape[2]);
    let packed = host(all.values.clone());
    // Padding takes the reference's values, so that whole rows can be compared.
    let mut padded = expected.values.clone();
    for sequence in 0..all.packing.sequences() {
        let range = all.packing.rows(sequence);
        assert!(range.len() <= columns);
        let start = sequence * columns * width;
        padded[start..start + range.len() * width]
            .copy_from_slice(&packed[range.start * width..range.end * width]);
    }
    outputs("last_hidden_state", &padded, expected);
}

/// Observed gates under the fixture's names, `LAYER.PLACE`; the columns of LoRA's are query, key, value.
fn named_gates(
    adapter: &Adapter,
    gates: &std::collections::HashMap<burn::module::ParamId, Tensor<2>>,
) -> Vec<(String, Vec<f32>)> {
    let mut columns: BTreeMap<String, Vec<(usize, Tensor<2>)>> = BTreeMap::new();
    for param in adapter.named_params() {
        let Some(gate) = gates.get(&param.id) else {
            continue;
        };
        let layer = param.name.split('.').nth(2).unwrap();
        let place = [
            (".prefix_gates.", "self_prefix", 0),
            ("self.query.loras", "selfattn_lora", 0),
            ("self.key.loras", "selfattn_lora", 1),
            ("self.value.loras", "selfattn_lora", 2),
            ("intermediate.dense.loras", "intermediate_lora", 0),
            (".output.adapters.", "output_adapter", 0),
        ];
        let (_, place, column) = place
            .iter()
            .find(|(mark, ..)| param.name.contains(mark))
            .unwrap();
        let key = format!("{layer}.{place}");
        columns
            .entry(key)
            .or_default()
            .push((*column, gate.clone()));
    }
    let join = |(name, mut parts): (String, Vec<(usize, Tensor<2>)>)| {
        parts.sort_by_key(|part| part.0);
        let parts = parts
            .into_iter()
            .map(|part| part.1.without_autodiff())
            .collect();
        (name, host(Tensor::cat(parts, 1)))
    };
    columns.into_iter().map(join).collect()
}

fn loss(logits: Tensor<2>, files: &TensorFiles) -> Tensor<1> {
    let [rows, outputs] = logits.dims();
    let device = Device::flex();
    match outputs {
        1 => {
            let labels = files.read("labels_reg").unwrap().values;
            mean_squared_error(
                logits,
                Tensor::from_data(TensorData::new(labels, [rows]), &device),
            )
        }
        _ => {
            let labels = files.read_int("labels_cls").unwrap().values;
            let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [rows]), &device);
            cross_entropy(logits, labels)
        }
    }
}

fn compare_gradients(
    case: &Case,
    model: &Model,
    head: &Head,
    loss: Tensor<1>,
    check: &mut dyn FnMut(&str, f64, f64),
) {
    let Some(expected) = case.file("grads.safetensors") else {
        return;
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
                check(
                    &format!("gradient of {name} is not in the fixture"),
                    f64::NAN,
                    0.0,
                );
            }
            continue;
        };
        left.retain(|other| *other != name);
        let largest = expected.values.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        let difference =
            largest_difference(&param.to_file(host(gradient.clone())), &expected.values);
        let relative = difference / f64::from(largest);
        // Where everything cancels out (the key's bias changes no attention weight) only rounding is left.
        if difference > GRADIENT_ROUNDING {
            check(&format!("gradient of {name}"), relative, GRADIENT_TOLERANCE);
        }
    }
    left.retain(|name| !(network && name.starts_with("prompt_encoder")));
    if !left.is_empty() {
        check(
            &format!("no gradient for {}", left.join(", ")),
            f64::NAN,
            0.0,
        );
    }
}
