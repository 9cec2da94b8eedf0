//! What a method adds to the loss, and what stays frozen.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use burn::tensor::Device;
use pelt_data::Label;
use pelt_encoder::{Checkpoint, HeadConfig, HeadKind};
use pelt_hooks::{Method, Pass, Sequence};
use pelt_methods::{Fusion, Level, load_fusion};
use pelt_metrics::Metric;
use pelt_testkit::fixture;
use pelt_train::{
    Batch, Examples, NoObserver, Objective, PeftModel, TrainConfig, Trainer, TrainingRows,
    batch_gradients,
};

const CASE: &str = "cases/adapters/bert_cls_fuse_seq_bn";

fn model(regularization: bool) -> PeftModel<Fusion> {
    let device = Device::flex().autodiff();
    let checkpoint = Checkpoint::open(&fixture("models/bert/cls")).unwrap();
    let encoder = checkpoint.encoder(&Device::flex()).unwrap();
    let encoder = Arc::new(encoder.with_dropout(0.0, 0.0));
    let level = |name: &str| {
        let folder = fixture(format!("{CASE}/adapter_{name}"));
        let loaded = pelt_methods::load(&folder, encoder.shape(), "bert", &device, &|_| None);
        let loaded = loaded.unwrap();
        Level {
            name: loaded.name,
            config: loaded.config,
            adapter: loaded.adapter,
        }
    };
    let levels = vec![level("a"), level("b")];
    let folder = fixture(format!("{CASE}/fusion"));
    let loaded = load_fusion(&folder, levels, encoder.shape(), "bert", &device).unwrap();
    let mut fusion = loaded.fusion;
    fusion.regularization = regularization;
    let config = HeadConfig {
        kind: HeadKind::BertPooled,
        labels: 3,
        dropout: 0.0,
    };
    let head = checkpoint.head(config, &device).unwrap().unwrap();
    PeftModel::new(encoder, fusion, head)
}

fn examples() -> Examples {
    let sequence = |length: u32| Sequence {
        input_ids: (0..length).map(|token| 5 + (token * 7) % 40).collect(),
        token_type_ids: vec![0; length as usize],
    };
    Examples {
        sequences: (0..8).map(|row| sequence(3 + row % 5)).collect(),
        labels: (0..8).map(|row| Label::Class(row % 3)).collect(),
    }
}

/// The penalty after training, whether or not it took part.
fn train(regularization: bool) -> f32 {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        epochs: 6,
        batch_size: 2,
        gradient_accumulation: 2,
        learning_rate: 1e-2,
        ..TrainConfig::default()
    };
    let trainer = Trainer {
        config: &config,
        train: TrainingRows::Labelled(&examples()),
        development: None,
        metrics: &[Metric::Accuracy],
        primary_metric: Metric::Accuracy,
        folder: folder.path(),
        identity: "{}",
    };
    let before = model(regularization);
    let trained = trainer.run(before, false, &mut NoObserver).unwrap();
    let mut fusion = trained.model.method;
    fusion.regularization = true;
    fusion.penalty().unwrap().into_scalar()
}

#[test]
fn a_penalty_takes_part_in_every_step() {
    let (with, without) = (train(true), train(false));
    assert!(with < 0.9 * without, "{with} {without}");
}

#[test]
fn it_counts_once_however_many_parts_a_batch_is_cut_into() {
    let (model, examples) = (model(true), examples());
    let rows: Vec<usize> = (0..8).collect();
    let half = Objective {
        share: 0.5,
        ..Objective::default()
    };
    let of_parts = |parts| {
        let batch = Batch::in_parts(&examples, &rows, parts, &Device::flex());
        assert_eq!(batch.len(), parts);
        batch_gradients(&model, batch, &half, Pass::evaluate).unwrap()
    };
    let whole = of_parts(1);
    for parts in [2, 3, 8] {
        let found = of_parts(parts);
        assert!((found.loss - whole.loss).abs() < 1e-6, "{parts}");
        assert_eq!(found.gradients.len(), whole.gradients.len());
        for (id, whole) in &whole.gradients {
            let difference = (found.gradients[id].clone() - whole.clone()).abs().max();
            let size: f32 = whole.clone().abs().max().into_scalar();
            let difference: f32 = difference.into_scalar();
            assert!(difference <= 1e-6 + 1e-5 * size, "{difference} of {size}");
        }
    }
}
