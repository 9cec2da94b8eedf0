//! Half precision beside trained parameters in `f32`.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use burn::tensor::{DType, Device};
use common::examples;
use pelt_encoder::{Checkpoint, HeadConfig, HeadKind, Precision};
use pelt_hooks::Pass;
use pelt_methods::{Adapter, AdapterConfig, presets};
use pelt_metrics::Metric;
use pelt_testkit::fixture;
use pelt_train::{
    Batch, BatchGradients, NoObserver, Objective, PeftModel, TrainConfig, Trainer, TrainingRows,
    batch_gradients, predict,
};

fn model(method: &str) -> PeftModel<Adapter> {
    let checkpoint = Checkpoint::open(&fixture("models/bert/cls")).unwrap();
    let device = Device::flex().autodiff();
    let encoder = checkpoint.encoder(&Device::flex()).unwrap();
    let encoder = Arc::new(encoder.with_dropout(0.1, 0.1));
    let config = HeadConfig {
        kind: HeadKind::BertPooled,
        labels: 3,
        dropout: 0.1,
    };
    let head = checkpoint.head(config, &device).unwrap().unwrap();
    pelt_hooks::seed(2);
    let mut config = match method {
        "full" => AdapterConfig { parts: vec![] },
        preset => AdapterConfig::preset(preset).unwrap(),
    };
    if method.starts_with("compacter") {
        // The model is narrow.
        config.set("bottleneck.reduction_factor=8").unwrap();
    }
    let adapter = config.init(encoder.shape(), &device, &|_| None);
    let adapter = adapter.unwrap_or_else(|error| panic!("{method}: {error}"));
    let model = PeftModel::new(encoder, adapter, head);
    match method {
        "full" => model.with_tuned_encoder(|_| true),
        _ => model,
    }
}

fn run(model: &PeftModel<Adapter>) -> BatchGradients {
    let batch = Batch::in_parts(&examples(), &[0, 1, 2, 3, 4, 5], 2, &Device::flex());
    batch_gradients(model, batch, &Objective::default(), || Pass::train(3)).unwrap()
}

fn host(tensor: burn::tensor::Tensor<1>) -> Vec<f64> {
    assert_eq!(tensor.dtype(), DType::F32);
    let values = tensor.into_data().try_to_vec::<f32>().unwrap();
    values.into_iter().map(f64::from).collect()
}

#[test]
fn every_method_runs_in_half_precision_with_gradients_of_its_own_type() {
    let mut methods: Vec<&str> = presets().iter().map(|preset| preset.name).collect();
    methods.push("full");
    for method in methods {
        let full = model(method);
        let expected = run(&full);
        for (precision, near) in [(Precision::Bf16, 0.05), (Precision::F16, 0.01)] {
            let half = full.clone().with_precision(precision);
            assert_eq!(half.encoder().precision(), precision);
            let found = run(&half);
            let difference = (found.loss - expected.loss).abs();
            assert!(
                difference < near,
                "{method} in {precision}: loss differs by {difference}"
            );
            assert!(
                difference > 0.0,
                "{method} in {precision}: nothing was rounded"
            );
            assert_eq!(found.gradients.len(), expected.gradients.len(), "{method}");
            // Small entries are all rounding, so gradients are compared as one long vector.
            let (mut product, mut found_square, mut expected_square) = (0.0, 0.0, 0.0);
            for (id, gradient) in &found.gradients {
                let pairs = host(gradient.clone()).into_iter();
                for (a, b) in pairs.zip(host(expected.gradients[id].clone())) {
                    product += a * b;
                    found_square += a * a;
                    expected_square += b * b;
                }
            }
            let cosine = product / f64::sqrt(found_square * expected_square);
            assert!(
                cosine > 1.0 - near,
                "{method} in {precision}: cosine {cosine}"
            );
            let length = f64::sqrt(found_square / expected_square);
            assert!(
                (length - 1.0).abs() < 2.0 * near,
                "{method} in {precision}: length {length}"
            );
        }
    }
}

#[test]
fn training_in_half_precision_learns_and_keeps_what_it_trains_in_f32() {
    let folder = tempfile::tempdir().unwrap();
    let examples = examples();
    for precision in [Precision::Bf16, Precision::F16] {
        let config = TrainConfig {
            epochs: 40,
            learning_rate: 5e-3,
            precision,
            ..TrainConfig::default()
        };
        let trainer = Trainer {
            config: &config,
            train: TrainingRows::Labelled(&examples),
            development: None,
            metrics: &[],
            primary_metric: Metric::Accuracy,
            folder: folder.path(),
            identity: "{}",
        };
        let trained = trainer.run(model("full"), false, &mut NoObserver);
        let trained = trained.unwrap().model;
        assert_eq!(trained.encoder().precision(), precision);
        for value in pelt_hooks::values(&trained).into_values() {
            assert!(host(value).iter().all(|value| value.is_finite()));
        }
        let logits = predict(&trained, &examples.sequences, 4).unwrap();
        let right = logits.iter().enumerate().filter(|(row, logits)| {
            let best = logits.iter().copied().fold(f32::MIN, f32::max);
            logits[row % 3] == best
        });
        assert!(right.count() >= 5, "{precision}: {logits:?}");
    }
}
