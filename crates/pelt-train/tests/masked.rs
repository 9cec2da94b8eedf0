//! Training on texts with masked tokens, and scoring them.

#![allow(clippy::unwrap_used)] // Helpers of tests may unwrap as tests do.

use std::sync::Arc;

use burn::tensor::Device;
use pelt_data::{Masking, Tokenizer};
use pelt_encoder::{Checkpoint, HeadConfig, HeadKind};
use pelt_hooks::{PackedBatch, Pass};
use pelt_methods::{Adapter, AdapterConfig};
use pelt_metrics::Metric;
use pelt_testkit::fixture;
use pelt_train::{
    Development, MaskedTexts, NoObserver, PeftModel, TrainConfig, Trainer, TrainingRows,
    evaluate_masked,
};

fn model() -> PeftModel<Adapter> {
    let device = Device::flex().autodiff();
    let checkpoint = Checkpoint::open(&fixture("models/bert/mlm")).unwrap();
    let encoder = checkpoint.encoder(&Device::flex()).unwrap();
    let encoder = encoder.with_dropout(0.0, 0.0);
    let config = HeadConfig {
        kind: HeadKind::BertMaskedLm,
        labels: 120,
        dropout: 0.0,
    };
    let head = checkpoint.head(config, &device).unwrap().unwrap();
    let none = AdapterConfig { parts: vec![] };
    let none = none.init(encoder.shape(), &device, &|_| None).unwrap();
    PeftModel::new(Arc::new(encoder), none, head).with_tuned_encoder(|_| true)
}

/// Rows in which every token follows from the one before it.
fn texts() -> MaskedTexts {
    let tokenizer = Tokenizer::load(&fixture("tokenizers/wordpiece")).unwrap();
    let masking = Masking::new(&tokenizer, 120).unwrap();
    let special = tokenizer.special_ids();
    let ordinary: Vec<u32> = (0..120).filter(|id| !special.contains(id)).collect();
    let row = |start: usize| (0..12).map(|at| ordinary[(start + at) % 20]).collect();
    MaskedTexts::new((0..20).map(row).collect(), masking)
}

#[test]
fn scores_are_those_of_the_same_tokens_every_time() {
    let (model, texts) = (model(), texts());
    let first = evaluate_masked(&model, &texts, 3).unwrap().values;
    let second = evaluate_masked(&model, &texts, 20).unwrap().values;
    for name in ["loss", "perplexity", "accuracy"] {
        let difference = (first[name] - second[name]).abs();
        assert!(difference < 1e-5 * first[name].max(1.0), "{name}");
    }
    assert!((first["loss"].exp() / first["perplexity"] - 1.0).abs() < 1e-9);
}

#[test]
fn a_head_for_tokens_gives_no_classes() {
    let batch = PackedBatch::new(&texts().sequences[..2]);
    let error = model().forward(&batch, &Pass::evaluate()).unwrap_err();
    assert!(error.to_string().contains("tokens"), "{error}");
}

#[test]
fn what_is_learnt_shows_in_the_score_and_the_best_weights_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        epochs: 30,
        batch_size: 5,
        gradient_accumulation: 2,
        learning_rate: 3e-3,
        ..TrainConfig::default()
    };
    let texts = texts();
    let trainer = Trainer {
        config: &config,
        train: TrainingRows::Masked(&texts),
        development: Some(Development::Masked(&texts)),
        metrics: &[],
        primary_metric: Metric::Accuracy,
        folder: folder.path(),
        identity: "{}",
    };
    let before = evaluate_masked(&model(), &texts, 8).unwrap().values;
    let outcome = trainer.run(model(), false, &mut NoObserver).unwrap();
    let after = evaluate_masked(&outcome.model, &texts, 5).unwrap().values;
    assert_eq!(after, outcome.best_values);
    assert!(after["loss"] < 0.5 * before["loss"], "{before:?} {after:?}");
}

#[test]
fn parts_of_a_batch_count_by_their_masked_tokens() {
    let texts = texts();
    let trained = |parts| {
        let folder = tempfile::tempdir().unwrap();
        let config = TrainConfig {
            epochs: 3,
            batch_size: 7,
            parts,
            learning_rate: 1e-3,
            ..TrainConfig::default()
        };
        let trainer = Trainer {
            config: &config,
            train: TrainingRows::Masked(&texts),
            development: None,
            metrics: &[],
            primary_metric: Metric::Accuracy,
            folder: folder.path(),
            identity: "{}",
        };
        let outcome = trainer.run(model(), false, &mut NoObserver).unwrap();
        evaluate_masked(&outcome.model, &texts, 8).unwrap().values["loss"]
    };
    let whole = trained(1);
    // Of seven rows alone, some have no masked token.
    for parts in [2, 7] {
        let found = trained(parts);
        assert!(
            (found - whole).abs() < 1e-4,
            "{parts}: {found}, not {whole}"
        );
    }
}
