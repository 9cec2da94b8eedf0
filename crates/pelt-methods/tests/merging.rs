//! What is left after an adapter has been folded into the model, against the reference's own result.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::Device;
use pelt_encoder::{Checkpoint, Encoder, EncoderError, RowsRead};
use pelt_hooks::{
    Method, NoHooks, PackedBatch, Pass, Projection, ProjectionChange, ProjectionSite, Sequence,
    values,
};
use pelt_methods::{Adapter, AnyMethod, Loaded};
use pelt_tensors::TensorFiles;
use pelt_testkit::{fixture, fixture_json};

const TOLERANCE: f32 = 1e-5;

struct Case {
    name: &'static str,
    checkpoint: Checkpoint,
    loaded: Loaded,
    batch: PackedBatch,
    expected: TensorFiles,
}

impl Case {
    fn open(name: &'static str) -> Self {
        let meta = fixture_json(format!("cases/{name}/meta.json"));
        let checkpoint = Checkpoint::open(&fixture(meta["model"].as_str().unwrap())).unwrap();
        let config = checkpoint.config();
        let folder = fixture(format!("cases/{name}/adapter"));
        let model_type = config.architecture.name();
        let loaded =
            pelt_methods::load(&folder, &config.shape, model_type, &Device::flex(), &|_| {
                None
            })
            .unwrap();
        let inputs = TensorFiles::open(&fixture(meta["inputs"].as_str().unwrap())).unwrap();
        Self {
            name,
            batch: pack(&inputs),
            expected: TensorFiles::open(&fixture(format!("cases/{name}/expected.safetensors")))
                .unwrap(),
            loaded,
            checkpoint,
        }
    }

    /// Compares the hidden states of real tokens with the expected tensor of this name.
    fn assert_hidden(&self, encoder: &Encoder, adapter: Option<&Adapter>, name: &str) {
        let pass = Pass::evaluate();
        let hidden = match adapter {
            Some(adapter) => encoder.forward(&self.batch, adapter, RowsRead::All, &pass),
            None => encoder.forward(&self.batch, &NoHooks, RowsRead::All, &pass),
        };
        let hidden = hidden.unwrap();
        let expected = self.expected.read(name).unwrap();
        let (columns, width) = (expected.shape[1], expected.shape[2]);
        let found = hidden.values.into_data().try_to_vec::<f32>().unwrap();
        for sequence in 0..hidden.packing.sequences() {
            let rows = hidden.packing.rows(sequence);
            let found = &found[rows.start * width..rows.end * width];
            let start = sequence * columns * width;
            let expected = &expected.values[start..start + found.len()];
            assert_near(found, expected, &format!("{}: {name}", self.name));
        }
    }
}

fn pack(inputs: &TensorFiles) -> PackedBatch {
    let read = |name: &str| inputs.read_int(name).unwrap();
    let (ids, mask, types) = (
        read("input_ids"),
        read("attention_mask"),
        read("token_type_ids"),
    );
    let columns = ids.shape[1];
    let sequence = |row: usize| {
        let start = row * columns;
        let length = mask.values[start..start + columns].iter().sum::<i64>() as usize;
        let take = |values: &[i64]| {
            values[start..start + length]
                .iter()
                .map(|value| *value as u32)
                .collect()
        };
        Sequence {
            input_ids: take(&ids.values),
            token_type_ids: take(&types.values),
        }
    };
    let sequences: Vec<Sequence> = (0..ids.shape[0]).map(sequence).collect();
    PackedBatch::new(&sequences)
}

fn assert_near(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let largest = differences.fold(0.0, f32::max);
    assert!(largest < TOLERANCE, "{what} differs by {largest:e}");
}

fn weight_name(site: ProjectionSite) -> String {
    match site {
        ProjectionSite::Pooler => "pooler.dense.weight".into(),
        ProjectionSite::Layer(layer, projection) => {
            let path = match projection {
                Projection::Query => "attention.self.query",
                Projection::Key => "attention.self.key",
                Projection::Value => "attention.self.value",
                Projection::AttentionOutput => "attention.output.dense",
                Projection::Intermediate => "intermediate.dense",
                Projection::Output => "output.dense",
            };
            format!("encoder.layer.{layer}.{path}.weight")
        }
    }
}

#[test]
fn a_merged_lora_gives_the_references_weights_and_outputs() {
    for name in [
        "adapters/bert_cls_lora",
        "adapters/bert_cls_lora_all",
        "peft/bert_cls_lora",
        "peft/bert_cls_lora_rs_all",
        "peft/roberta_cls_lora",
    ] {
        let case = Case::open(name);
        let AnyMethod::Lora(lora) = &case.loaded.adapter.parts[0] else {
            panic!("{name} is no LoRA");
        };
        let config = case.checkpoint.config();
        let model_type = config.architecture.name();
        let merged =
            TensorFiles::open(&fixture(format!("cases/{name}/merged.safetensors"))).unwrap();
        let mut weights = BTreeMap::new();
        for delta in lora.merge_deltas().unwrap() {
            let weight = weight_name(delta.site);
            let mut values = case.checkpoint.tensor(&weight).unwrap().values;
            let ProjectionChange::Add { weight: delta, .. } = delta.change else {
                panic!("{name} does not only add");
            };
            let delta = delta.transpose().into_data().try_to_vec::<f32>().unwrap();
            values
                .iter_mut()
                .zip(delta)
                .for_each(|(value, delta)| *value += delta);
            let expected = merged.read(&format!("{model_type}.{weight}")).unwrap();
            assert_near(&values, &expected.values, &format!("{name}: {weight}"));
            weights.insert(weight, values);
        }
        assert_eq!(weights.len(), merged.names().count(), "{name}");
        let encoder = Encoder::build(
            config,
            &Device::flex(),
            &mut |name, _| match weights.get(name) {
                Some(values) => Ok::<_, EncoderError>(values.clone()),
                None => Ok(case.checkpoint.tensor(name)?.values),
            },
        );
        if case.expected.contains("merged.last_hidden_state") {
            case.assert_hidden(&encoder.unwrap(), None, "merged.last_hidden_state");
        }
    }
}

/// Compares every tensor of the reference's merged model.
fn assert_merged_weights(case: &Case, encoder: &Encoder) {
    let path = fixture(format!("cases/{}/merged.safetensors", case.name));
    let merged = TensorFiles::open(&path).unwrap();
    let model_type = case.checkpoint.config().architecture.name();
    let values = values(encoder);
    let mut compared = 0;
    for param in encoder.named_params() {
        let Ok(expected) = merged.read(&format!("{model_type}.{}", param.name)) else {
            continue;
        };
        let found = values[&param.id].clone().into_data();
        let found = param.to_file(found.try_to_vec::<f32>().unwrap());
        assert_near(
            &found,
            &expected.values,
            &format!("{}: {}", case.name, param.name),
        );
        compared += 1;
    }
    assert_eq!(compared, merged.names().count(), "{}", case.name);
}

#[test]
fn merged_factors_give_the_references_weights_and_outputs() {
    // PEFT scales inputs, outputs and biases.
    let case = Case::open("peft/bert_cls_ia3");
    let encoder = case.checkpoint.encoder(&Device::flex()).unwrap();
    let (adapter, deltas) = case.loaded.adapter.clone().for_inference();
    assert_eq!(adapter.num_params(), 0);
    assert_merged_weights(&case, &encoder.with_deltas(deltas));

    // AdapterHub leaves biases alone, which changes what the model gives.
    let case = Case::open("adapters/bert_cls_ia3");
    let encoder = case.checkpoint.encoder(&Device::flex()).unwrap();
    let AnyMethod::Ia3(ia3) = &case.loaded.adapter.parts[0] else {
        panic!("no (IA)³");
    };
    let deltas = ia3.sites.iter().map(|site| site.delta(true).unwrap());
    let merged = encoder.with_deltas(deltas.collect());
    assert_merged_weights(&case, &merged);
    case.assert_hidden(&merged, None, "merged.last_hidden_state");
}

#[test]
fn an_adapter_prepared_for_inference_gives_the_references_outputs() {
    for (name, output) in [
        ("adapters/bert_cls_lora_all", "merged.last_hidden_state"),
        ("adapters/roberta_cls_lora", "last_hidden_state"),
        ("adapters/bert_cls_ia3", "last_hidden_state"),
        ("adapters/bert_cls_compacter", "last_hidden_state"),
        ("adapters/bert_cls_prefix_mlp", "ejected.last_hidden_state"),
        (
            "adapters/roberta_cls_prefix_mlp",
            "ejected.last_hidden_state",
        ),
    ] {
        let case = Case::open(name);
        let (adapter, deltas) = case.loaded.adapter.clone().for_inference();
        let encoder = case.checkpoint.encoder(&Device::flex()).unwrap();
        let merged = name.contains("lora") || name.contains("ia3");
        assert_eq!(adapter.num_params() == 0, merged, "{name}");
        assert_eq!(deltas.is_empty(), !merged, "{name}");
        case.assert_hidden(&encoder.with_deltas(deltas), Some(&adapter), output);
    }
}

#[test]
fn an_ejected_prefix_gives_the_references_vector_and_outputs() {
    for name in [
        "adapters/bert_cls_prefix_mlp",
        "adapters/roberta_cls_prefix_mlp",
    ] {
        let mut case = Case::open(name);
        let AnyMethod::Prefix(prefix) = case.loaded.adapter.parts.remove(0) else {
            panic!("{name} is no prefix");
        };
        let ejected = prefix.eject();
        let expected =
            TensorFiles::open(&fixture(format!("cases/{name}/ejected.safetensors"))).unwrap();
        let vector = expected.names().next().unwrap();
        assert!(vector.ends_with(".self_prefix.control_trans"), "{vector}");
        let expected = expected.read(vector).unwrap();
        let param = &ejected.named_params()[0];
        let found = values(&ejected)[&param.id]
            .clone()
            .into_data()
            .try_to_vec::<f32>()
            .unwrap();
        assert_near(&found, &expected.values, name);
        let adapter = Adapter::new(vec![AnyMethod::Prefix(ejected)]).unwrap();
        let encoder = case.checkpoint.encoder(&Device::flex()).unwrap();
        case.assert_hidden(&encoder, Some(&adapter), "ejected.last_hidden_state");
    }
}
