//! Operations on each row or number.

use burn::module::Param;
use divan::Bencher;
use pelt_ops::{LayerNorm, add, dropout, gelu};

use crate::cases::{Case, HIDDEN, INTERMEDIATE, LONG, SHORT, cases, random};

#[divan::bench(args = cases(&[LONG, SHORT]))]
fn gelu_1536(bencher: Bencher, case: Case) {
    let rows = case.batch.random(INTERMEDIATE);
    case.measure(bencher, || case.input(&rows), gelu);
}

#[divan::bench(args = cases(&[LONG, SHORT]))]
fn layer_norm_of_two(bencher: Bencher, case: Case) {
    layer_norm::<2>(bencher, case);
}

#[divan::bench(args = cases(&[LONG, SHORT]))]
fn layer_norm_of_three(bencher: Bencher, case: Case) {
    layer_norm::<3>(bencher, case);
}

/// The frozen norm of the sum of `K` tensors.
fn layer_norm<const K: usize>(bencher: Bencher, case: Case) {
    let summands = [(); K].map(|()| case.batch.random(HIDDEN));
    let norm = LayerNorm {
        weight: Param::from_tensor(random([HIDDEN])),
        bias: Param::from_tensor(random([HIDDEN])),
        epsilon: 1e-12,
    };
    let inputs = || summands.each_ref().map(|rows| case.input(rows));
    case.measure(bencher, inputs, |rows| norm.forward_sum(rows));
}

#[divan::bench(args = cases(&[LONG, SHORT]))]
fn dropout_384(bencher: Bencher, case: Case) {
    let rows = case.batch.random(HIDDEN);
    let operation = |rows| dropout(rows, 0.1, Some(1), 0);
    case.measure(bencher, || case.input(&rows), operation);
}

#[divan::bench(args = cases(&[LONG, SHORT]))]
fn add_384(bencher: Bencher, case: Case) {
    let summands = [(); 2].map(|()| case.batch.random(HIDDEN));
    let inputs = || summands.each_ref().map(|rows| case.input(rows));
    case.measure(bencher, inputs, |[a, b]| add(a, b));
}
