//! What a method adds to an encoder: LoRA, bottlenecks and gates, all trained.

use divan::Bencher;
use pelt_hooks::{Gate, Hidden, Pass};
use pelt_ops::{Narrow, gate};

use crate::cases::{Case, HIDDEN, LONG, SHORT, cases, random, random_weight};

const LORA: usize = 8;
const BOTTLENECK: usize = 24;

#[divan::bench(args = cases(&[LONG, SHORT]))]
fn lora_8(bencher: Bencher, case: Case) {
    let rows = case.batch.random(HIDDEN);
    let (down, up) = (random_weight([HIDDEN, LORA]), random_weight([LORA, HIDDEN]));
    let inputs = || {
        let network = Narrow {
            down: case.input(&down),
            up: case.input(&up),
            biases: None,
            relu: false,
            scale: 2.0,
            gate: None,
        };
        (network, case.input(&rows))
    };
    case.measure(bencher, inputs, |(network, rows)| network.forward(rows));
}

#[divan::bench(args = cases(&[LONG, SHORT]))]
fn gated_bottleneck_24(bencher: Bencher, case: Case) {
    let rows = case.batch.random(HIDDEN);
    let packing = case.batch.packing();
    let (down, up) = (
        random_weight([HIDDEN, BOTTLENECK]),
        random_weight([BOTTLENECK, HIDDEN]),
    );
    let (down_bias, up_bias) = (random([BOTTLENECK]), random([HIDDEN]));
    let gates = random([packing.sequences(), 1]);
    let inputs = || {
        let network = Narrow {
            down: case.input(&down),
            up: case.input(&up),
            biases: Some((case.input(&down_bias), case.input(&up_bias))),
            relu: true,
            scale: 1.0,
            gate: Some((case.input(&gates), &packing)),
        };
        (network, case.input(&rows))
    };
    case.measure(bencher, inputs, |(network, rows)| network.forward(rows));
}

#[divan::bench(args = cases(&[LONG, SHORT]))]
fn gate_384(bencher: Bencher, case: Case) {
    let rows = case.batch.random(HIDDEN);
    let packing = case.batch.packing();
    let (weight, bias) = (random_weight([HIDDEN, 1]), random([1]));
    let pass = Pass::evaluate();
    let inputs = || {
        let parameters = Gate {
            weight: case.trained(&weight),
            bias: case.trained(&bias),
        };
        let source = Hidden {
            values: case.input(&rows),
            packing: packing.clone(),
        };
        (parameters, source)
    };
    case.measure(bencher, inputs, |(parameters, source)| {
        gate(&parameters, &source, &pass)
    });
}
