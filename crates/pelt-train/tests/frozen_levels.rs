//! Training a level on top of frozen ones.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::{Module, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use pelt_data::Label;
use pelt_encoder::{Checkpoint, Encoder, HeadConfig, HeadKind};
use pelt_hooks::{Method, PackedBatch, Pass, Sequence, gradients, load, values};
use pelt_methods::{
    Adapter, AdapterConfig, AnyMethod, Level, ModelInfo, StackRules, StackedLora, stack, stack_on,
    trained_level,
};
use pelt_metrics::Metric;
use pelt_testkit::fixture;
use pelt_train::{Examples, NoObserver, PeftModel, TrainConfig, Trainer, TrainingRows};

const LEVELS: [&str; 9] = [
    "unipelt",
    "unipelt-prompt",
    "lora",
    "ia3",
    "double_seq_bn",
    "par_bn",
    "compacter",
    "prefix",
    "prompt",
];

const TOPS: [&str; 4] = ["unipelt", "unipelt-ia3", "par_bn", "compacter++"];

fn training() -> Device {
    Device::flex().autodiff()
}

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

fn encoder() -> Arc<Encoder> {
    let checkpoint = Checkpoint::open(&fixture("models/bert/cls")).unwrap();
    Arc::new(checkpoint.encoder(&Device::flex()).unwrap())
}

fn config(preset: &str) -> AdapterConfig {
    let mut config = AdapterConfig::preset(preset).unwrap();
    for setting in [
        "prefix.bottleneck_size=8",
        "prompt.prompt_length=3",
        "bottleneck.reduction_factor=4",
    ] {
        // Only methods with such a part take it.
        let _ = config.set(setting);
    }
    config
}

fn level(preset: &str, encoder: &Encoder, device: &Device) -> Level {
    let config = config(preset);
    let adapter = config.init(encoder.shape(), device, &|_| None).unwrap();
    Level {
        name: "pelt".into(),
        adapter: filled(adapter),
        config,
    }
}

fn model(encoder: &Arc<Encoder>, adapter: Adapter) -> PeftModel<Adapter> {
    let checkpoint = Checkpoint::open(&fixture("models/bert/cls")).unwrap();
    let config = HeadConfig {
        kind: HeadKind::BertPooled,
        labels: 3,
        dropout: 0.0,
    };
    let head = checkpoint.head(config, &training()).unwrap().unwrap();
    PeftModel::new(Arc::clone(encoder), adapter, head)
}

fn sequences() -> Vec<Sequence> {
    let sequence = |length: u32| Sequence {
        input_ids: (0..length).map(|token| 5 + (token * 7) % 40).collect(),
        token_type_ids: vec![0; length as usize],
    };
    (0..8).map(|row| sequence(3 + row % 5)).collect()
}

fn host(tensor: Tensor<1>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().unwrap()
}

fn logits(model: &PeftModel<Adapter>) -> Vec<f32> {
    let batch = PackedBatch::new(&sequences());
    let logits = model.clone().valid().forward(&batch, &Pass::evaluate());
    let logits = logits.unwrap();
    let count: usize = logits.dims().iter().product();
    host(logits.reshape([count]))
}

/// Gradients by parameter name, of everything that gets one.
fn named_gradients(model: &PeftModel<Adapter>) -> (BTreeMap<String, Vec<f32>>, usize) {
    let batch = PackedBatch::new(&sequences());
    let logits = model.forward(&batch, &Pass::evaluate()).unwrap();
    let loss = (logits.clone() * logits).sum();
    let mut found = gradients(model, &loss.backward());
    let all = found.len();
    let params = model.named_params().into_iter();
    let named = params.filter_map(|param| {
        let gradient = host(found.remove(&param.id)?);
        Some((param.name, gradient))
    });
    (named.collect(), all)
}

/// The values of every level but the last.
fn frozen_values(adapter: &Adapter) -> Vec<Vec<f32>> {
    let [AnyMethod::Stack(stack)] = adapter.parts.as_slice() else {
        panic!("not a stack");
    };
    let mut out = Vec::new();
    for level in stack.frozen_levels() {
        let mut values = values(level);
        for param in level.named_params() {
            out.extend(values.remove(&param.id).map(host));
        }
    }
    out
}

#[test]
fn the_new_level_gets_the_gradients_it_has_in_a_trained_stack_and_the_frozen_ones_get_none() {
    let encoder = encoder();
    let rules = StackRules {
        lora: StackedLora::Composed,
        ..StackRules::default()
    };
    for below in LEVELS {
        for top in TOPS {
            // What is frozen takes part in no graph, wherever it was loaded to.
            for device in [Device::flex(), training()] {
                let frozen = vec![level(below, &encoder, &device)];
                let new = level(top, &encoder, &training());
                let adapter = stack_on(frozen, new, rules, encoder.shape()).unwrap();
                let (found, all) = named_gradients(&model(&encoder, adapter));
                assert_eq!(
                    found.len(),
                    all,
                    "{top} on {below}: something frozen has a gradient"
                );

                let levels = [below, top].map(|name| level(name, &encoder, &training()));
                let adapter = stack(levels.into(), rules, encoder.shape()).unwrap();
                let (expected, _) = named_gradients(&model(&encoder, adapter));
                assert!(found.keys().any(|name| name.contains("pelt_2")));
                for (name, values) in &found {
                    let expected = &expected[name];
                    let largest = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
                    for (a, b) in values.iter().zip(expected) {
                        let difference = (a - b).abs();
                        assert!(
                            difference <= 1e-5 * largest + 1e-9,
                            "{top} on {below}, {name}: {a} {b}"
                        );
                    }
                }
                let own = expected.keys().filter(|name| !name.contains(".pelt."));
                assert_eq!(own.count(), found.len(), "{top} on {below}");
            }
        }
    }
}

#[test]
fn training_moves_the_new_level_alone_and_what_is_saved_gives_the_same_logits() {
    let encoder = encoder();
    let below =
        || ["unipelt-prompt", "par_bn"].map(|preset| level(preset, &encoder, &Device::flex()));
    let rules = StackRules::default();
    let top = level("unipelt", &encoder, &training());
    let method = top.config.clone();
    let adapter = stack_on(below().into(), top, rules, encoder.shape()).unwrap();
    let start = model(&encoder, adapter);
    let frozen = frozen_values(&start.method);
    let before = values(trained_level(&start.method));
    assert!(!frozen.is_empty());

    let config = TrainConfig {
        epochs: 2,
        batch_size: 4,
        learning_rate: 1e-2,
        ..TrainConfig::default()
    };
    let examples = Examples {
        sequences: sequences(),
        labels: (0..8).map(|row| Label::Class(row % 3)).collect(),
    };
    let folder = tempfile::tempdir().unwrap();
    let trainer = Trainer {
        config: &config,
        train: TrainingRows::Labelled(&examples),
        development: None,
        metrics: &[Metric::Accuracy],
        primary_metric: Metric::Accuracy,
        folder: folder.path(),
        identity: "{}",
    };
    let trained = trainer.run(start, false, &mut NoObserver).unwrap().model;
    assert_eq!(frozen_values(&trained.method), frozen);
    let own = trained_level(&trained.method);
    let after = values(own);
    for param in own.named_params() {
        let [before, after] = [&before, &after].map(|all| host(all[&param.id].clone()));
        assert_ne!(before, after, "{} has not moved", param.name);
    }

    let info = ModelInfo {
        model_type: "bert".into(),
        model_name: "tiny".into(),
        model_class: "BertForSequenceClassification".into(),
        hidden_size: encoder.shape().hidden_size,
    };
    pelt_methods::save(folder.path(), "pelt", &method, own, &info).unwrap();
    let device = Device::flex();
    let loaded =
        pelt_methods::load(folder.path(), encoder.shape(), "bert", &device, &|_| None).unwrap();
    assert_eq!(loaded.config, method);
    let again = Level {
        name: loaded.name,
        config: loaded.config,
        adapter: loaded.adapter,
    };
    let adapter = stack_on(below().into(), again, rules, encoder.shape()).unwrap();
    let again = PeftModel::new(Arc::clone(&encoder), adapter, trained.head.clone());
    assert_eq!(logits(&again), logits(&trained));
}
