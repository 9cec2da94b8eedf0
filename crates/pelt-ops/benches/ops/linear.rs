//! Linear layers, alone and with GELU.

use burn::module::Param;
use burn::tensor::Tensor;
use divan::Bencher;
use pelt_ops::Linear;

use crate::cases::{
    Case, HIDDEN, INTERMEDIATE, LONG, SHORT, backward_cases, cases, random, random_weight,
};

type Forward = fn(&Linear, Tensor<2>) -> Tensor<2>;

/// The gradient of the rows alone, as in a frozen encoder.
fn frozen(bencher: Bencher, case: Case, [inputs, outputs]: [usize; 2], forward: Forward) {
    let rows = case.batch.random(inputs);
    let layer = Linear {
        weight: Param::from_tensor(random_weight([inputs, outputs])),
        bias: Param::from_tensor(random([outputs])),
    };
    case.measure(bencher, || case.input(&rows), |rows| forward(&layer, rows));
}

/// The gradients of weight and bias too.
fn trained(bencher: Bencher, case: Case, [inputs, outputs]: [usize; 2], forward: Forward) {
    let rows = case.batch.random(inputs);
    let (weight, bias) = (random_weight([inputs, outputs]), random([outputs]));
    let inputs = || {
        let layer = Linear {
            weight: case.trained(&weight),
            bias: case.trained(&bias),
        };
        (layer, case.input(&rows))
    };
    case.measure(bencher, inputs, |(layer, rows)| forward(&layer, rows));
}

#[divan::bench(args = cases(&[LONG, SHORT]))]
fn frozen_384_to_384(bencher: Bencher, case: Case) {
    frozen(bencher, case, [HIDDEN, HIDDEN], Linear::forward);
}

#[divan::bench(args = cases(&[LONG, SHORT]))]
fn frozen_384_to_1536(bencher: Bencher, case: Case) {
    frozen(bencher, case, [HIDDEN, INTERMEDIATE], Linear::forward);
}

#[divan::bench(args = cases(&[LONG, SHORT]))]
fn frozen_384_to_1536_gelu(bencher: Bencher, case: Case) {
    frozen(bencher, case, [HIDDEN, INTERMEDIATE], Linear::forward_gelu);
}

#[divan::bench(args = cases(&[LONG, SHORT]))]
fn frozen_1536_to_384(bencher: Bencher, case: Case) {
    frozen(bencher, case, [INTERMEDIATE, HIDDEN], Linear::forward);
}

#[divan::bench(args = backward_cases(&[LONG, SHORT]))]
fn trained_384_to_384(bencher: Bencher, case: Case) {
    trained(bencher, case, [HIDDEN, HIDDEN], Linear::forward);
}

#[divan::bench(args = backward_cases(&[LONG, SHORT]))]
fn trained_384_to_1536(bencher: Bencher, case: Case) {
    trained(bencher, case, [HIDDEN, INTERMEDIATE], Linear::forward);
}

#[divan::bench(args = backward_cases(&[LONG, SHORT]))]
fn trained_384_to_1536_gelu(bencher: Bencher, case: Case) {
    trained(bencher, case, [HIDDEN, INTERMEDIATE], Linear::forward_gelu);
}

#[divan::bench(args = backward_cases(&[LONG, SHORT]))]
fn trained_1536_to_384(bencher: Bencher, case: Case) {
    trained(bencher, case, [INTERMEDIATE, HIDDEN], Linear::forward);
}
