//! Everything that was recorded, on the processor: with the kernels, and with the generic bodies that other devices run.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use burn::tensor::Device;
use pelt_encoder::Precision;
use pelt_parity::{Case, HALF, RUNS, Tolerance, ValueTolerance, compare, compare_steps, train};
use pelt_testkit::fixture;

const TOLERANCE: Tolerance = Tolerance {
    outputs: 1e-5,
    gradients: 1e-4,
};
const VALUES: ValueTolerance = ValueTolerance {
    most: 1e-4,
    all: 5e-4,
};

fn compare_cases() {
    let cases = Case::all(&fixture("")).unwrap();
    assert!(cases.len() > 90, "only {} fixtures found", cases.len());
    let mut problems = vec![];
    for case in &cases {
        problems.extend(compare(case, &Device::flex(), TOLERANCE).unwrap().problems);
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_fixture_is_met_by_the_kernels() {
    compare_cases();
}

#[test]
fn every_fixture_is_met_by_the_generic_bodies_too() {
    pelt_ops::generic::force(compare_cases);
}

/// Repeats a run with the kernels and with the generic bodies, which must end at the same values.
fn steps(run: &str) {
    assert!(RUNS.contains(&run));
    let repeat = || {
        let found = compare_steps(&fixture(""), run, &Device::flex(), VALUES);
        let (outcome, values) = found.unwrap();
        assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
        values
    };
    let kernels = repeat();
    let generic = pelt_ops::generic::force(repeat);
    let (mut entries, mut outside) = (0, 0);
    for (name, values) in &kernels {
        for (kernel, generic) in values.iter().zip(&generic[name]) {
            let difference = f64::from((kernel - generic).abs());
            entries += 1;
            outside += usize::from(difference > VALUES.most);
            assert!(difference < VALUES.all, "{name} differs by {difference:e}");
        }
    }
    assert!(outside * 20_000 <= entries, "{outside} of {entries}");
}

#[test]
fn lora_follows_pytorch() {
    steps("bert_cls_lora");
}

#[test]
fn unipelt_with_prompts_follows_pytorch() {
    steps("roberta_cls_unipelt_prompt");
}

#[test]
fn full_fine_tuning_follows_pytorch() {
    steps("bert_cls_full");
}

#[test]
fn training_takes_the_same_course_with_the_generic_bodies() {
    let run = || train(&fixture(""), &Device::flex(), Precision::F32).unwrap();
    let (kernels, generic) = (run(), pelt_ops::generic::force(run));
    assert_eq!(kernels.len(), 30);
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    assert!(
        mean(&kernels[20..]) < 0.95 * mean(&kernels[..5]),
        "{kernels:?}"
    );
    for (kernel, generic) in kernels.iter().zip(generic) {
        assert!((kernel - generic).abs() < 1e-4, "{kernel}, not {generic}");
    }
}

#[test]
fn half_precision_takes_nearly_the_same_course() {
    let run = |precision| train(&fixture(""), &Device::flex(), precision).unwrap();
    let full = run(Precision::F32);
    for (precision, tolerance) in HALF {
        let largest = full.iter().zip(run(precision)).map(|(a, b)| (a - b).abs());
        let largest = largest.fold(0.0, f64::max);
        assert!(
            largest > 0.0 && largest < tolerance,
            "{precision}: {largest:e}"
        );
    }
}

#[test]
fn a_difference_is_reported_with_its_case_and_size() {
    let cases = Case::all(&fixture("")).unwrap();
    let case = cases
        .iter()
        .find(|case| case.name == "base/bert_cls")
        .unwrap();
    let strict = Tolerance {
        outputs: 0.0,
        gradients: 0.0,
    };
    let outcome = compare(case, &Device::flex(), strict).unwrap();
    let first = outcome.problems.first().unwrap();
    assert!(
        first.starts_with("base/bert_cls: ") && first.contains(" differs by "),
        "{first}"
    );
}
