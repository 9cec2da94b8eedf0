//! Every entry of the metric fixtures, every field of each entry.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use pelt_metrics::{
    ClassCounts, Metric, Predictions, evaluate, exact_match, normalise_answer, token_f1,
};
use serde_json::Value;

const TOLERANCE: f64 = 1e-9;

fn entries(name: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pelt-testkit/fixtures/metrics");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item.as_f64().unwrap())
        .collect()
}

fn classes(value: &Value) -> Vec<usize> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item.as_u64().unwrap() as usize)
        .collect()
}

fn assert_near(found: f64, expected: f64, place: &str) {
    assert!(
        (found - expected).abs() < TOLERANCE,
        "{place}: {found} instead of {expected}"
    );
}

#[test]
fn classification_equals_the_references() {
    let entries = entries("classification.json");
    assert_eq!(entries.len(), 90);
    for (index, entry) in entries.iter().enumerate() {
        let predicted = classes(&entry["preds"]);
        let gold = classes(&entry["labels"]);
        let labels = entry["num_classes"].as_u64().unwrap() as usize;
        let predictions = Predictions::Classes {
            predicted: &predicted,
            gold: &gold,
            labels,
        };
        let value =
            |metric: Metric| evaluate(&[metric], &predictions).unwrap().values[metric.name()];
        for (field, expected) in entry.as_object().unwrap() {
            let place = format!("entry {index}, {field}");
            let found = match field.as_str() {
                "preds" | "labels" | "num_classes" => continue,
                "f1_per_class" => {
                    let found = ClassCounts::new(&predicted, &gold, labels).f1_per_class();
                    let expected = numbers(expected);
                    assert_eq!(found.len(), expected.len(), "{place}");
                    for (found, expected) in found.iter().zip(expected) {
                        assert_near(*found, expected, &place);
                    }
                    continue;
                }
                "accuracy" => value(Metric::Accuracy),
                "matthews" => value(Metric::MatthewsCorrelation),
                "micro_f1" => value(Metric::MicroF1),
                "macro_f1_present" => value(Metric::MacroF1Present),
                "macro_f1_all" => value(Metric::MacroF1),
                "weighted_f1" => value(Metric::WeightedF1),
                "f1_binary" => value(Metric::F1),
                "combined_acc_f1" => {
                    let both = evaluate(&[Metric::Accuracy, Metric::F1], &predictions).unwrap();
                    both.values["combined_score"]
                }
                other => panic!("entry {index} has the unknown field {other}"),
            };
            assert_near(found, expected.as_f64().unwrap(), &place);
        }
    }
}

#[test]
fn regression_equals_the_references() {
    let entries = entries("regression.json");
    assert_eq!(entries.len(), 40);
    for (index, entry) in entries.iter().enumerate() {
        let predicted = numbers(&entry["preds"]);
        let gold = numbers(&entry["labels"]);
        let predictions = Predictions::Scores {
            predicted: &predicted,
            gold: &gold,
        };
        let both = evaluate(
            &[Metric::Pearson, Metric::Spearmanr, Metric::Mse],
            &predictions,
        )
        .unwrap();
        for (field, expected) in entry.as_object().unwrap() {
            let name = match field.as_str() {
                "preds" | "labels" => continue,
                "pearson" => "pearson",
                "spearman" => "spearmanr",
                "combined" => "combined_score",
                "mse" => "mse",
                other => panic!("entry {index} has the unknown field {other}"),
            };
            let place = format!("entry {index}, {field}");
            match expected.as_f64() {
                // The squared error of the entry with large scores is large, so the tolerance is relative there.
                Some(expected) => assert_near(
                    both.values[name] / expected.abs().max(1.0),
                    expected / expected.abs().max(1.0),
                    &place,
                ),
                None => {
                    assert_eq!(both.values[name], 0.0, "{place}");
                    assert_eq!(both.warnings.len(), 2, "{place}");
                }
            }
        }
    }
}

#[test]
fn answers_are_compared_as_the_reference_does() {
    let entries = entries("squad.json");
    assert_eq!(entries.len(), 90);
    for entry in &entries {
        let prediction = entry["pred"].as_str().unwrap();
        let answers: Vec<&str> = entry["golds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|answer| answer.as_str().unwrap())
            .collect();
        let place = format!("{prediction:?} for {answers:?}");
        let normalised = entry["normalized_pred"].as_str().unwrap();
        assert_eq!(normalise_answer(prediction), normalised, "{place}");
        let exact = u64::from(exact_match(prediction, &answers));
        assert_eq!(Some(exact), entry["exact"].as_u64(), "{place}");
        // The field `f1_empty_aware` is the rule of SQuAD 2.0.
        let f1 = token_f1(prediction, &answers);
        assert_near(f1, entry["f1"].as_f64().unwrap(), &place);
    }
}
