//! Means of gates are those of single sequences, in the model as it is trained.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use pelt_encoder::{Checkpoint, HeadConfig, HeadKind};
use pelt_hooks::{Method, PackedBatch, ParamValues, Pass, Sequence, load};
use pelt_methods::{Adapter, AdapterConfig, named_gates};
use pelt_testkit::fixture;
use pelt_train::{GateMeans, PeftModel, predict, predict_observing};

/// Other values in every parameter, none of them zero, so that no two gates are alike.
fn filled(adapter: Adapter) -> Adapter {
    let mut filled = ParamValues::new();
    for (number, param) in adapter.named_params().iter().enumerate() {
        let count = param.count();
        let entry = |index: usize| 0.2 * ((index * 31 + number * 17) as f32).sin();
        let data = TensorData::new((0..count).map(entry).collect(), [count]);
        filled.insert(param.id, Tensor::from_data(data, &Device::flex()));
    }
    load(adapter, filled)
}

fn model(preset: &str, settings: &[&str]) -> PeftModel<Adapter> {
    let checkpoint = Checkpoint::open(&fixture("models/bert/cls")).unwrap();
    let device = Device::flex().autodiff();
    let encoder = Arc::new(checkpoint.encoder(&Device::flex()).unwrap());
    let config = HeadConfig {
        kind: HeadKind::BertPooled,
        labels: 3,
        dropout: 0.1,
    };
    let head = checkpoint.head(config, &device).unwrap().unwrap();
    let mut config = AdapterConfig::preset(preset).unwrap();
    for setting in settings {
        config.set(setting).unwrap();
    }
    let adapter = config.init(encoder.shape(), &device, &|_| None).unwrap();
    PeftModel::new(encoder, filled(adapter), head)
}

fn sequences() -> Vec<Sequence> {
    let sequence = |row: u32| {
        let length = 2 + row * 5 % 11;
        Sequence {
            input_ids: (0..length).map(|t| 5 + (t * 7 + row) % 40).collect(),
            token_type_ids: vec![0; length as usize],
        }
    };
    (0..23).map(sequence).collect()
}

/// The same means from one sequence at a time, without anything that is done for inference.
fn one_by_one(model: &PeftModel<Adapter>, skipped: &[usize]) -> GateMeans {
    let sequences = sequences();
    let mut means = GateMeans::new();
    for sequence in &sequences {
        let pass = Pass::observing_gates().skipping(skipped.iter().copied());
        let batch = PackedBatch::new([sequence]);
        model.forward(&batch, &pass).unwrap();
        for (gate, values) in pass.into_gates() {
            let values: Vec<f32> = values.into_data().try_to_vec().unwrap();
            let mean = means.entry(gate).or_insert_with(|| vec![0.0; values.len()]);
            for (mean, value) in mean.iter_mut().zip(values) {
                *mean += f64::from(value) / sequences.len() as f64;
            }
        }
    }
    means
}

fn check(preset: &str, settings: &[&str], skipped: &[usize]) {
    let model = model(preset, settings).skipping(skipped.to_vec());
    let (outputs, means) = predict_observing(&model, &sequences(), 6).unwrap();
    assert_eq!(outputs, predict(&model, &sequences(), 6).unwrap());
    let expected = one_by_one(&model, skipped);
    assert_eq!(means.len(), expected.len(), "{preset}");
    for (gate, expected) in &expected {
        for (found, expected) in means[gate].iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-6,
                "{preset}: {found} is not {expected}"
            );
            assert!((0.01..0.99).contains(expected), "{preset}: {expected}");
        }
    }
    // Every gate has a name, and every name outside of the skipped layers a gate.
    let named: BTreeSet<_> = named_gates(&model.method)
        .into_iter()
        .filter(|gate| gate.layer.is_none_or(|layer| !skipped.contains(&layer)))
        .map(|gate| (gate.weight.to_string(), gate.column))
        .collect();
    let found: BTreeMap<_, _> = means
        .iter()
        .flat_map(|(id, columns)| {
            (0..columns.len()).map(move |column| ((id.to_string(), column), ()))
        })
        .collect();
    assert!(
        named.iter().eq(found.keys()),
        "{preset}: {named:?} {found:?}"
    );
    let distinct: BTreeSet<_> = means
        .values()
        .flatten()
        .map(|mean| mean.to_bits())
        .collect();
    assert_eq!(
        distinct.len(),
        named.len(),
        "{preset}: two gates have one value"
    );
}

#[test]
fn means_are_those_of_single_sequences() {
    let narrow = "prefix.bottleneck_size=8";
    check("unipelt", &[narrow, "bottleneck.mh_adapter=true"], &[]);
    let apart = "prefix.shared_gating=false";
    check(
        "unipelt-prompt",
        &[narrow, apart, "prompt.prompt_length=3"],
        &[],
    );
    check("unipelt-ia3", &[narrow], &[]);
    check("unipelt-stack-3", &[narrow], &[]);
}

#[test]
fn gates_of_skipped_layers_have_no_mean() {
    check("unipelt", &["prefix.bottleneck_size=8"], &[0]);
}

#[test]
fn a_method_without_gates_has_no_means() {
    let (_, means) = predict_observing(&model("lora", &[]), &sequences(), 6).unwrap();
    assert_eq!(means, GateMeans::new());
}
