//! Runs that are asked to end around an evaluation, and resumed.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use common::examples;
use pelt_encoder::{Checkpoint, HeadConfig, HeadKind};
use pelt_methods::{Adapter, AdapterConfig};
use pelt_metrics::Metric;
use pelt_testkit::fixture;
use pelt_train::{
    Development, EvaluationReport, Observer, Outcome, PeftModel, StepReport, TrainConfig,
    TrainError, Trainer, TrainingRows, predict,
};

const STEPS: usize = 9;

fn model() -> PeftModel<Adapter> {
    let checkpoint = Checkpoint::open(&fixture("models/bert/cls")).unwrap();
    let device = Device::flex().autodiff();
    let encoder = checkpoint.encoder(&Device::flex()).unwrap();
    let config = HeadConfig {
        kind: HeadKind::BertPooled,
        labels: 3,
        dropout: 0.1,
    };
    let head = checkpoint.head(config, &device).unwrap().unwrap();
    pelt_hooks::seed(2);
    let config = AdapterConfig::preset("lora").unwrap();
    let adapter = config.init(encoder.shape(), &device, &|_| None).unwrap();
    PeftModel::new(Arc::new(encoder), adapter, head)
}

/// Asks for an end after a step or in the evaluation after it, and notes what was told.
#[derive(Default)]
struct Asks {
    after_step: Option<usize>,
    in_evaluation: Option<usize>,
    asked: bool,
    checkpoints: Vec<usize>,
}

impl Observer for Asks {
    fn on_step(&mut self, report: &StepReport) {
        self.asked |= self.after_step == Some(report.step);
    }

    fn on_evaluation(&mut self, report: &EvaluationReport) {
        self.asked |= self.in_evaluation == Some(report.step);
    }

    fn on_checkpoint(&mut self, step: usize) {
        self.checkpoints.push(step);
    }

    fn is_interrupted(&self) -> bool {
        self.asked
    }
}

fn run(folder: &Path, resume: bool, asks: &mut Asks) -> Result<Outcome<Adapter>, TrainError> {
    let examples = examples();
    let config = TrainConfig {
        epochs: 3,
        batch_size: 2,
        learning_rate: 1e-2,
        checkpoint_every: Some(3),
        ..TrainConfig::default()
    };
    let trainer = Trainer {
        config: &config,
        train: TrainingRows::Labelled(&examples),
        development: Some(Development::Rows(&examples)),
        metrics: &[Metric::Accuracy],
        primary_metric: Metric::Accuracy,
        folder,
        identity: "{}",
    };
    trainer.run(model(), resume, asks)
}

/// The record without what the clock says.
fn record(folder: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("seconds");
        line
    });
    lines.collect()
}

#[test]
fn an_end_around_an_evaluation_changes_nothing() {
    let calm = tempfile::tempdir().unwrap();
    let expected = run(calm.path(), false, &mut Asks::default()).unwrap();
    let logits =
        |outcome: &Outcome<Adapter>| predict(&outcome.model, &examples().sequences, 4).unwrap();
    // The steps behind which an epoch ends, the last one of the run among them, and one in the middle.
    for (after_step, in_evaluation, saved) in [
        (Some(3), None, vec![3]),
        (Some(5), None, vec![3, 5]),
        (Some(STEPS), None, vec![3, 6, 9]),
        (None, Some(6), vec![3, 6, 6]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut asks = Asks {
            after_step,
            in_evaluation,
            ..Asks::default()
        };
        let ended = run(folder.path(), false, &mut asks);
        assert!(
            matches!(ended, Err(TrainError::Interrupted { .. })),
            "{ended:?}"
        );
        assert_eq!(asks.checkpoints, saved);
        let found = run(folder.path(), true, &mut Asks::default()).unwrap();
        assert_eq!(logits(&found), logits(&expected));
        assert_eq!(found.best_step, expected.best_step);
        assert_eq!(found.best_values, expected.best_values);
        assert_eq!(record(folder.path()), record(calm.path()));
    }
    // Nobody waits for more once everything is done.
    let folder = tempfile::tempdir().unwrap();
    let mut asks = Asks {
        in_evaluation: Some(STEPS),
        ..Asks::default()
    };
    assert_eq!(run(folder.path(), false, &mut asks).unwrap().steps, STEPS);
    // One killed after the last evaluation makes that once more.
    let again = run(folder.path(), true, &mut Asks::default()).unwrap();
    assert_eq!(again.best_values, expected.best_values);
    assert_eq!(record(folder.path()), record(calm.path()));
}
