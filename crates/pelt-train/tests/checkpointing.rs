//! Gradient checkpointing gives the gradients of one long tape.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use burn::tensor::Device;
use pelt_data::Label;
use pelt_encoder::{Checkpoint, HeadConfig, HeadKind, PromptLabels};
use pelt_hooks::{Pass, Sequence};
use pelt_methods::{Adapter, AdapterConfig, presets};
use pelt_testkit::fixture;
use pelt_train::{Batch, BatchGradients, Examples, Objective, PeftModel, batch_gradients};

/// Dropout wherever the encoder, the head and the method have it.
fn model(method: &str, kind: HeadKind) -> PeftModel<Adapter> {
    let checkpoint = Checkpoint::open(&fixture("models/bert/cls")).unwrap();
    let device = Device::flex().autodiff();
    let encoder = checkpoint.encoder(&Device::flex()).unwrap();
    let encoder = Arc::new(encoder.with_dropout(0.1, 0.1));
    pelt_hooks::seed(2);
    let mut config = match method {
        "full" | "bitfit" => AdapterConfig { parts: vec![] },
        preset => AdapterConfig::preset(preset).unwrap(),
    };
    if method.starts_with("compacter") {
        // The model is narrow.
        config.set("bottleneck.reduction_factor=8").unwrap();
    }
    for part in ["prefix", "lora"] {
        // Not every method has them.
        let _ = config.set(&format!("{part}.dropout=0.1"));
    }
    let adapter = config.init(encoder.shape(), &device, &|_| None);
    let adapter = adapter.unwrap_or_else(|error| panic!("{method}: {error}"));
    let head = HeadConfig {
        kind,
        labels: if kind.is_span() { 2 } else { 3 },
        dropout: 0.1,
    };
    let head = pelt_encoder::Head::new(head, encoder.shape().hidden_size, &device);
    let model = PeftModel::new(encoder, adapter, head);
    match method {
        "full" => model.with_tuned_encoder(|_| true),
        "bitfit" => model.with_tuned_encoder(|name| name.ends_with(".bias")),
        _ => model,
    }
}

fn examples(label: impl Fn(usize) -> Label) -> Examples {
    let sequence = |row: usize| Sequence {
        input_ids: (0..5 + row as u32)
            .map(|token| 5 + (token * 7 + row as u32) % 40)
            .collect(),
        token_type_ids: vec![0; 5 + row],
    };
    Examples {
        sequences: (0..6).map(sequence).collect(),
        labels: (0..6).map(label).collect(),
    }
}

fn run(model: &PeftModel<Adapter>, examples: &Examples, checkpointing: bool) -> BatchGradients {
    let batch = Batch::in_parts(examples, &[0, 1, 2, 3, 4, 5], 2, &Device::flex());
    let objective = Objective {
        share: 0.5,
        penalty: 0.5,
        checkpointing,
    };
    batch_gradients(model, batch, &objective, || Pass::train(3)).unwrap()
}

fn check(method: &str, kind: HeadKind, examples: &Examples) {
    let model = model(method, kind);
    let expected = run(&model, examples, false);
    let found = run(&model, examples, true);
    assert!((found.loss - expected.loss).abs() < 1e-6, "{method}");
    assert!(expected.gradients.len() > 2, "{method}");
    for param in model.named_params() {
        let [found, expected] = [&found, &expected].map(|run| run.gradients.get(&param.id));
        let (Some(found), Some(expected)) = (found, expected) else {
            assert_eq!(
                found.is_some(),
                expected.is_some(),
                "{method}: {}",
                param.name
            );
            continue;
        };
        let difference = (found.clone() - expected.clone()).abs().max();
        let (difference, size) = (
            difference.into_scalar::<f32>(),
            expected.clone().abs().max(),
        );
        let size = size.into_scalar::<f32>();
        assert!(
            difference <= 1e-5 * size + 1e-8,
            "{method}: {} differs by {difference:e} of {size:e}",
            param.name
        );
    }
}

#[test]
fn every_method_gets_the_gradients_of_one_long_tape() {
    let examples = examples(|row| Label::Class(row % 3));
    let methods = presets().iter().map(|preset| preset.name);
    for method in methods.chain(["full", "bitfit"]) {
        check(method, HeadKind::BertPooled, &examples);
    }
}

#[test]
fn other_heads_do_too() {
    let classes = examples(|row| Label::Class(row % 3));
    check("unipelt-prompt", HeadKind::Flexible, &classes);
    let spans = examples(|row| Label::Span([row % 4, row % 4 + 1]));
    for prompt_labels in [PromptLabels::Shifted, PromptLabels::Unshifted] {
        check("unipelt-prompt", HeadKind::Span { prompt_labels }, &spans);
    }
    check(
        "full",
        HeadKind::Span {
            prompt_labels: PromptLabels::Shifted,
        },
        &spans,
    );
}
