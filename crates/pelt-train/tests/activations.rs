//! Training with what leading layers give kept from epoch to epoch.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use pelt_data::{Label, Masking, Tokenizer};
use pelt_encoder::{Checkpoint, HeadConfig, HeadKind, PromptLabels};
use pelt_hooks::{Sequence, draw, values};
use pelt_methods::{Adapter, AdapterConfig};
use pelt_metrics::Metric;
use pelt_testkit::fixture;
use pelt_train::{
    AdapterDrop, Development, Examples, MaskedTexts, NoObserver, PeftModel, TrainConfig,
    TrainError, Trainer, TrainingRows,
};

const ROWS: usize = 22;

/// LoRA with dropout of its own beside an adapter, in the second of two layers.
fn method() -> AdapterConfig {
    let mut config = AdapterConfig::preset("unipelt").unwrap();
    for setting in [
        "prefix.bottleneck_size=8",
        "prefix.leave_out=[0]",
        "bottleneck.leave_out=[0]",
        "lora.leave_out=[0]",
        "lora.dropout=0.3",
    ] {
        config.set(setting).unwrap();
    }
    config
}

fn model(method: &AdapterConfig, dropout: f64, kind: HeadKind) -> PeftModel<Adapter> {
    let checkpoint = Checkpoint::open(&fixture("models/bert/cls")).unwrap();
    let encoder = checkpoint.encoder(&Device::flex()).unwrap();
    let encoder = Arc::new(encoder.with_dropout(dropout, dropout));
    let device = Device::flex().autodiff();
    pelt_hooks::seed(3);
    let adapter = method.init(encoder.shape(), &device, &|_| None).unwrap();
    let head = HeadConfig {
        kind,
        labels: if kind.is_span() { 2 } else { 3 },
        dropout: 0.1,
    };
    let head = pelt_encoder::Head::new(head, encoder.shape().hidden_size, &device);
    draw(&head);
    PeftModel::new(encoder, adapter, head)
}

fn examples(label: impl Fn(usize) -> Label) -> Examples {
    let sequence = |row: usize| Sequence {
        input_ids: (0..3 + row % 6)
            .map(|token| 5 + ((row * 11 + token * 7) % 90) as u32)
            .collect(),
        token_type_ids: vec![0; 3 + row % 6],
    };
    Examples {
        sequences: (0..ROWS).map(sequence).collect(),
        labels: (0..ROWS).map(label).collect(),
    }
}

/// The loss of every step and the values of every parameter.
struct End {
    losses: Vec<f64>,
    values: BTreeMap<String, Vec<f32>>,
}

fn run(
    folder: &Path,
    model: PeftModel<Adapter>,
    examples: &Examples,
    config: &TrainConfig,
    resume: bool,
) -> End {
    let scored = matches!(examples.labels[0], Label::Class(_));
    let trainer = Trainer {
        config,
        train: TrainingRows::Labelled(examples),
        // Evaluations go on beside what is kept.
        development: scored.then_some(Development::Rows(examples)),
        metrics: &[Metric::Accuracy],
        primary_metric: Metric::Accuracy,
        folder,
        identity: "{}",
    };
    let model = trainer.run(model, resume, &mut NoObserver).unwrap().model;
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let lines = text.lines();
    let lines = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut all = values(&model);
    let params = model.named_params().into_iter();
    End {
        losses: lines
            .filter(|line| line["kind"] == "step")
            .map(|line| line["loss"].as_f64().unwrap())
            .collect(),
        values: params
            .map(|param| {
                let value = all.remove(&param.id).unwrap().into_data();
                (param.name, value.try_to_vec().unwrap())
            })
            .collect(),
    }
}

fn fresh(model: PeftModel<Adapter>, examples: &Examples, config: &TrainConfig) -> End {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), model, examples, config, false)
}

fn settings() -> TrainConfig {
    TrainConfig {
        epochs: 3,
        batch_size: 4,
        learning_rate: 1e-2,
        ..TrainConfig::default()
    }
}

fn assert_alike(kept: &End, plain: &End, what: &str) {
    assert_eq!(kept.losses.len(), plain.losses.len());
    for (step, (a, b)) in kept.losses.iter().zip(&plain.losses).enumerate() {
        assert!((a - b).abs() <= 1e-6, "{what}, step {step}: {a} {b}");
    }
    assert!(kept.values.keys().eq(plain.values.keys()));
    for (name, values) in &kept.values {
        for (a, b) in values.iter().zip(&plain.values[name]) {
            assert!((a - b).abs() <= 1e-6, "{what}, {name}: {a} {b}");
        }
    }
}

#[test]
fn without_dropout_below_the_method_a_run_ends_as_one_that_keeps_nothing() {
    let examples = examples(|row| Label::Class(row % 3));
    for (parts, gradient_accumulation, adapter_drop) in [
        (1, 1, AdapterDrop::Off),
        (2, 1, AdapterDrop::Off),
        (2, 2, AdapterDrop::Off),
        (1, 3, AdapterDrop::Robust),
    ] {
        let plain = TrainConfig {
            parts,
            gradient_accumulation,
            adapter_drop,
            ..settings()
        };
        let kept = TrainConfig {
            cache_activations: true,
            ..plain.clone()
        };
        let [kept, plain] = [kept, plain].map(|config| {
            let model = model(&method(), 0.0, HeadKind::BertPooled);
            fresh(model, &examples, &config)
        });
        let what = format!("{parts} parts, {gradient_accumulation} batches, {adapter_drop:?}");
        assert_alike(&kept, &plain, &what);
        // In the first epoch the same rows are computed together.
        let epoch = kept.losses.len() / 3;
        assert_eq!(kept.losses[..epoch], plain.losses[..epoch], "{what}");
    }
}

#[test]
fn every_method_with_a_layer_left_out_trains_alike() {
    let examples = examples(|row| Label::Class(row % 3));
    for (preset, part) in [
        ("seq_bn", "bottleneck"),
        ("ia3", "ia3"),
        ("prefix", "prefix"),
        ("compacter", "bottleneck"),
    ] {
        let mut method = AdapterConfig::preset(preset).unwrap();
        method.set(&format!("{part}.leave_out=[0]")).unwrap();
        // Only methods with such a part take it.
        let _ = method.set("bottleneck.reduction_factor=4");
        let [kept, plain] = [true, false].map(|cache_activations| {
            let config = TrainConfig {
                cache_activations,
                parts: 2,
                ..settings()
            };
            let model = model(&method, 0.0, HeadKind::BertPooled);
            fresh(model, &examples, &config)
        });
        assert_alike(&kept, &plain, preset);
    }
}

#[test]
fn spans_are_trained_alike() {
    let examples = examples(|row| Label::Span([row % 2, 2]));
    let kind = HeadKind::Span {
        prompt_labels: PromptLabels::Shifted,
    };
    let [kept, plain] = [true, false].map(|cache_activations| {
        let config = TrainConfig {
            cache_activations,
            ..settings()
        };
        fresh(model(&method(), 0.0, kind), &examples, &config)
    });
    assert_alike(&kept, &plain, "spans");
}

#[test]
fn dropout_below_the_method_is_left_out() {
    let examples = examples(|row| Label::Class(row % 3));
    let config = TrainConfig {
        cache_activations: true,
        ..settings()
    };
    let [kept, plain] = [config, settings()].map(|config| {
        let model = model(&method(), 0.3, HeadKind::BertPooled);
        fresh(model, &examples, &config)
    });
    assert_ne!(kept.losses[0], plain.losses[0]);
}

#[test]
fn a_resumed_run_has_the_same_bytes() {
    let examples = examples(|row| Label::Class(row % 3));
    for parts in [1, 2] {
        let config = TrainConfig {
            cache_activations: true,
            parts,
            // The last checkpoint is from the middle of the second epoch.
            checkpoint_every: Some(10),
            ..settings()
        };
        let model = || model(&method(), 0.1, HeadKind::BertPooled);
        let folder = tempfile::tempdir().unwrap();
        let whole = run(folder.path(), model(), &examples, &config, false);
        assert_eq!(whole.losses.len(), 18);
        let resumed = run(folder.path(), model(), &examples, &config, true);
        assert_eq!(resumed.losses, whole.losses);
        assert_eq!(resumed.values, whole.values);
    }
}

fn refusal(model: PeftModel<Adapter>, rows: TrainingRows<'_>, config: &TrainConfig) -> String {
    let folder = tempfile::tempdir().unwrap();
    let trainer = Trainer {
        config,
        train: rows,
        development: None,
        metrics: &[Metric::Accuracy],
        primary_metric: Metric::Accuracy,
        folder: folder.path(),
        identity: "{}",
    };
    let error = trainer.run(model, false, &mut NoObserver).unwrap_err();
    assert!(matches!(error, TrainError::Setting { .. }));
    error.to_string()
}

#[test]
fn what_keeps_nothing_is_refused() {
    let examples = examples(|row| Label::Class(row % 3));
    let config = TrainConfig {
        cache_activations: true,
        ..settings()
    };
    let new = |method: &AdapterConfig| model(method, 0.0, HeadKind::BertPooled);
    let lora = AdapterConfig::preset("lora").unwrap();
    let mut prompt = method();
    let more = AdapterConfig::preset("prompt").unwrap();
    prompt.parts.extend(more.parts);
    let none = AdapterConfig { parts: vec![] };
    let rows = TrainingRows::Labelled(&examples);
    for model in [
        new(&lora),
        new(&prompt),
        new(&none).with_tuned_encoder(|_| true),
    ] {
        let message = refusal(model, rows, &config);
        assert!(message.contains("cache_activations must be false"));
    }
    let tokenizer = Tokenizer::load(&fixture("tokenizers/wordpiece")).unwrap();
    let masking = Masking::new(&tokenizer, 120).unwrap();
    let texts = MaskedTexts::new(vec![vec![50, 60, 70]], masking);
    let message = refusal(new(&method()), TrainingRows::Masked(&texts), &config);
    assert!(message.contains("masked texts"), "{message}");
    let once = TrainConfig {
        epochs: 1,
        ..config
    };
    let message = refusal(new(&method()), rows, &once);
    assert_eq!(
        message,
        "epochs must be at least 2 with cache_activations, but is 1"
    );
}
