//! Every reference fixture: hidden states, pooler output, logits, loss, gates and gradients of `adapters`, PEFT and
//! transformers on tiny models.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Case, compare};

/// Compares every fixture on this thread, and returns the largest difference of an output.
fn compare_all() -> f64 {
    let mut failures = vec![];
    let cases = Case::all();
    assert!(cases.len() > 90, "only {} fixtures found", cases.len());
    let mut worst: f64 = 0.0;
    for case in &cases {
        compare(case, &mut failures, &mut worst);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    worst
}

#[test]
fn every_fixture_is_met_by_the_kernels() {
    let worst = compare_all();
    assert!(worst < 1e-5, "largest difference of an output: {worst:e}");
}

#[test]
fn every_fixture_is_met_by_the_generic_bodies_too() {
    let worst = pelt_ops::generic::force(compare_all);
    assert!(worst < 1e-5, "largest difference of an output: {worst:e}");
}
