//! How a batch is cut changes nothing but rounding.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use burn::tensor::Device;
use pelt_data::Label;
use pelt_encoder::{Checkpoint, HeadConfig, HeadKind};
use pelt_hooks::{Pass, Sequence};
use pelt_methods::{Adapter, AdapterConfig};
use pelt_testkit::fixture;
use pelt_train::{Batch, BatchGradients, Examples, Objective, PeftModel, batch_gradients};

/// Dropout in the encoder, the head and every part of the method.
fn model() -> PeftModel<Adapter> {
    let checkpoint = Checkpoint::open(&fixture("models/bert/cls")).unwrap();
    let device = Device::flex().autodiff();
    let encoder = checkpoint.encoder(&Device::flex()).unwrap();
    let encoder = Arc::new(encoder.with_dropout(0.2, 0.2));
    let config = HeadConfig {
        kind: HeadKind::BertPooled,
        labels: 3,
        dropout: 0.2,
    };
    let head = checkpoint.head(config, &device).unwrap().unwrap();
    let mut config = AdapterConfig::preset("unipelt-prompt").unwrap();
    for setting in [
        "lora.dropout=0.2",
        "prefix.dropout=0.2",
        "bottleneck.dropout=0.2",
    ] {
        config.set(setting).unwrap();
    }
    let adapter = config.init(encoder.shape(), &device, &|_| None).unwrap();
    PeftModel::new(encoder, adapter, head)
}

/// The first sequence is the whole first part of two, so that the parts together have the rows in the same order.
fn examples() -> Examples {
    let sequence = |length: u32| Sequence {
        input_ids: (0..length).map(|token| 5 + token * 7 % 40).collect(),
        token_type_ids: vec![0; length as usize],
    };
    Examples {
        sequences: [20, 3, 4].map(sequence).into(),
        labels: [0, 2, 1].map(Label::Class).into(),
    }
}

fn run(model: &PeftModel<Adapter>, parts: usize, pass: fn() -> Pass) -> BatchGradients {
    let batch = Batch::in_parts(&examples(), &[0, 1, 2], parts, &Device::flex());
    assert_eq!(batch.len(), parts);
    batch_gradients(model, batch, &Objective::default(), pass).unwrap()
}

#[test]
fn parts_draw_the_dropout_masks_of_the_whole_batch() {
    let model = model();
    let train = || Pass::train(11);
    let (whole, parts) = (run(&model, 1, train), run(&model, 2, train));
    let without = run(&model, 1, Pass::evaluate);
    assert!((whole.loss - without.loss).abs() > 1e-3, "nothing dropped");
    let difference = (whole.loss - parts.loss).abs();
    assert!(difference < 1e-6, "losses differ by {difference}");
    assert_eq!(whole.gradients.len(), parts.gradients.len());
    for (id, gradient) in whole.gradients {
        let difference = (gradient - parts.gradients[&id].clone()).abs().max();
        let difference: f32 = difference.into_scalar();
        assert!(difference < 1e-5, "gradients differ by {difference}");
    }
}

#[test]
fn the_generic_bodies_draw_the_same_masks() {
    let model = model();
    let train = || Pass::train(11);
    let kernels = run(&model, 2, train);
    let generic = pelt_ops::generic::force(|| run(&model, 2, train));
    let difference = (kernels.loss - generic.loss).abs();
    assert!(difference < 1e-5, "losses differ by {difference}");
}
