//! A model prepared for inference gives what the model in training gives, and leaves the encoder as it is.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::{Module, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use pelt_encoder::{Checkpoint, Encoder, HeadConfig, HeadKind};
use pelt_hooks::{Method, PackedBatch, Pass, Sequence, load, values};
use pelt_methods::{Adapter, AdapterConfig, AnyMethod};
use pelt_testkit::fixture;
use pelt_train::{PeftModel, predict};
use serde_json::json;

/// Relative to the largest logit.
const TOLERANCE: f32 = 1e-5;

const BERT: &str = "models/bert/cls";
const ROBERTA: &str = "models/roberta/cls";

/// Other values in every parameter, none of them zero.
fn filled<M: Module>(module: M) -> M {
    let fill = |(id, value): (ParamId, Tensor<1>)| {
        let count = value.dims()[0];
        let entry = |index: usize| 0.2 * ((index * 31 + count) as f32).sin();
        let data = TensorData::new((0..count).map(entry).collect(), [count]);
        (id, Tensor::from_data(data, &value.device()))
    };
    let values = values(&module).into_iter().map(fill).collect();
    load(module, values)
}

fn model(folder: &str, parts: serde_json::Value) -> (Arc<Encoder>, PeftModel<Adapter>) {
    let checkpoint = Checkpoint::open(&fixture(folder)).unwrap();
    let device = Device::flex().autodiff();
    let encoder = Arc::new(checkpoint.encoder(&Device::flex()).unwrap());
    let config = HeadConfig {
        kind: match folder {
            BERT => HeadKind::BertPooled,
            _ => HeadKind::Roberta,
        },
        labels: 3,
        dropout: 0.1,
    };
    let head = checkpoint.head(config, &device).unwrap().unwrap();
    let config: AdapterConfig = serde_json::from_value(json!({ "parts": parts })).unwrap();
    let adapter = config.init(encoder.shape(), &device, &|_| None).unwrap();
    let model = PeftModel::new(encoder.clone(), filled(adapter), head);
    (encoder, model)
}

/// LoRA at every projection that the model has.
fn lora_everywhere(folder: &str) -> serde_json::Value {
    json!({
        "type": "lora", "r": 3, "alpha": 5.0, "use_rslora": true, "dropout": 0.3, "bias": "lora_only",
        "attn_matrices": ["q", "k", "v"], "attn_output_lora": true, "intermediate_lora": true,
        "output_lora": true, "pooler_lora": folder == BERT,
    })
}

fn sequences() -> Vec<Sequence> {
    let sequence = |length: u32| Sequence {
        input_ids: (0..length).map(|token| 5 + (token * 7) % 40).collect(),
        token_type_ids: vec![0; length as usize],
    };
    [7, 3, 12, 1, 9].into_iter().map(sequence).collect()
}

fn logits(model: &PeftModel<Adapter>) -> Vec<f32> {
    let batch = PackedBatch::new(&sequences());
    let logits = model.forward(&batch, &Pass::evaluate()).unwrap();
    logits.into_data().try_to_vec().unwrap()
}

fn assert_same(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= TOLERANCE * largest, "{a} instead of {b}");
    }
}

fn bits(encoder: &Encoder) -> HashMap<ParamId, Vec<u32>> {
    let host = |value: Tensor<1>| value.into_data().try_to_vec::<f32>().unwrap();
    let values = values(encoder).into_iter();
    values
        .map(|(id, value)| (id, host(value).into_iter().map(f32::to_bits).collect()))
        .collect()
}

/// Checks that outputs agree and that the shared encoder stays, and gives the prepared model.
fn check(folder: &str, parts: serde_json::Value) -> PeftModel<Adapter> {
    let (encoder, model) = model(folder, parts);
    let before = bits(&encoder);
    let expected = logits(&model);
    let plain = PeftModel::new(
        encoder.clone(),
        Adapter { parts: Vec::new() },
        model.head.clone(),
    );
    let plain = logits(&plain);
    let differ = |(a, b): (&f32, &f32)| (a - b).abs() > 100.0 * TOLERANCE;
    assert!(plain.iter().zip(&expected).any(differ), "no contribution");

    let prepared = model.clone().valid().for_inference();
    assert_same(&logits(&prepared), &expected);
    let predicted = predict(&model, &sequences(), 2).unwrap();
    assert_same(&predicted.concat(), &expected);

    assert_eq!(bits(&encoder), before);
    assert_eq!(bits(model.encoder()), before);
    assert_eq!(logits(&model), expected);
    prepared
}

/// Whether this is a prefix that a network makes.
fn has_network(method: &AnyMethod) -> bool {
    let params = method.named_params();
    params
        .iter()
        .any(|param| param.name.ends_with(".wte.weight"))
}

fn is_empty(method: &AnyMethod) -> bool {
    method.num_params() == 0
}

#[test]
fn a_lora_at_every_projection_is_merged() {
    for folder in [BERT, ROBERTA] {
        let prepared = check(folder, json!([lora_everywhere(folder)]));
        assert!(is_empty(&prepared.method.parts[0]), "{folder}");
    }
}

#[test]
fn a_gated_lora_stays() {
    let (_, model) = model(
        BERT,
        json!([{ "type": "lora", "r": 2, "use_gating": true }]),
    );
    let parameters = model.method.num_params();
    let prepared = check(
        BERT,
        json!([{ "type": "lora", "r": 2, "use_gating": true }]),
    );
    assert_eq!(prepared.method.num_params(), parameters);
}

#[test]
fn the_parts_of_a_union_are_prepared_each_in_its_way() {
    for folder in [BERT, ROBERTA] {
        let parts = json!([
            { "type": "prefix", "prefix_length": 4, "bottleneck_size": 6, "use_gating": true },
            lora_everywhere(folder),
            { "type": "bottleneck", "reduction_factor": 4, "mh_adapter": true, "use_gating": true },
        ]);
        let (_, trained) = model(folder, parts.clone());
        assert!(has_network(&trained.method.parts[0]));
        let prepared = check(folder, parts);
        let [prefix, lora, bottleneck] = prepared.method.parts.as_slice() else {
            panic!("{folder}: a part is missing");
        };
        assert!(!has_network(prefix) && !is_empty(prefix), "{folder}");
        assert!(is_empty(lora) && !is_empty(bottleneck), "{folder}");
    }
}

#[test]
fn a_trained_copy_of_the_encoder_takes_the_lora_in_its_place() {
    let (encoder, model) = model(BERT, json!([lora_everywhere(BERT)]));
    let mut model = model.with_tuned_encoder(|name| name.ends_with(".bias"));
    model.tuned = model.tuned.map(filled);
    let (shared, tuned) = (bits(&encoder), bits(model.encoder()));
    let expected = logits(&model);
    let prepared = model.clone().valid().for_inference();
    assert_same(&logits(&prepared), &expected);
    assert_eq!(bits(&encoder), shared);
    assert_eq!(bits(model.encoder()), tuned);
    assert_ne!(bits(prepared.encoder()), tuned);
}

#[test]
fn preparing_twice_changes_nothing_more() {
    let (_, model) = model(BERT, json!([lora_everywhere(BERT)]));
    let once = model.valid().for_inference();
    let again = once.clone().for_inference();
    assert_eq!(bits(again.encoder()), bits(once.encoder()));
    assert_eq!(logits(&again), logits(&once));
}
