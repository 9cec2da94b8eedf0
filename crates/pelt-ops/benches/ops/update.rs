//! What ends a step: the loss, clipping and the update.

use std::fmt;

use burn::tensor::{Device, Int, Tensor, TensorData};
use divan::Bencher;
use divan::counter::ItemsCount;
use pelt_ops::{AdamWStep, adamw, cross_entropy, sum_of_squares};

use crate::cases::{Batch, Bodies, Case, Direction, copy, random};

/// One row for each of 32 sequences.
const ROWS: Batch = Batch::Even {
    sequences: 32,
    tokens: 1,
};

/// There is no kernel for it.
fn in_primitives() -> [Case; 2] {
    Direction::BOTH.map(|direction| Case {
        batch: ROWS,
        direction,
        bodies: Bodies::Generic,
    })
}

#[divan::bench(args = in_primitives())]
fn cross_entropy_of_2_classes(bencher: Bencher, case: Case) {
    loss(bencher, case, 2);
}

#[divan::bench(args = in_primitives())]
fn cross_entropy_of_30522_classes(bencher: Bencher, case: Case) {
    loss(bencher, case, 30522);
}

fn loss(bencher: Bencher, case: Case, classes: usize) {
    let logits = case.batch.random(classes);
    let rows = logits.dims()[0];
    let expected: Vec<i64> = (0..rows).map(|row| (row % classes) as i64).collect();
    let expected: Tensor<1, Int> =
        Tensor::from_data(TensorData::new(expected, [rows]), &Device::flex());
    let operation = |logits| cross_entropy(logits, expected.clone());
    case.measure(bencher, || case.input(&logits), operation);
}

/// Parameters that are updated at once.
#[derive(Debug, Clone, Copy)]
struct Parameters {
    entries: usize,
    bodies: Bodies,
}

impl fmt::Display for Parameters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, {}", self.entries, self.bodies)
    }
}

/// One matrix of LoRA, and one weight of a feed-forward layer.
fn parameters() -> Vec<Parameters> {
    let sizes = [384 * 8, 384 * 1536];
    let of_size = |entries| Bodies::BOTH.map(|bodies| Parameters { entries, bodies });
    sizes.into_iter().flat_map(of_size).collect()
}

#[divan::bench(args = parameters())]
fn adamw_update(bencher: Bencher, Parameters { entries, bodies }: Parameters) {
    let [value, gradient, first] = [(); 3].map(|()| random([entries]));
    let second = random([entries]).powi_scalar(2);
    let step = AdamWStep {
        gradient_scale: 0.5,
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-8,
        rate: 1e-3,
        correction_2: 0.01,
        decay: 0.999,
    };
    bencher
        .counter(ItemsCount::new(entries))
        .with_inputs(|| [&value, &gradient, &first, &second].map(copy))
        .bench_local_values(|[value, gradient, first, second]| {
            bodies.run(|| adamw(value, gradient, [first, second], &step))
        });
}

#[divan::bench(args = parameters())]
fn sum_of_squares_for_clipping(bencher: Bencher, Parameters { entries, bodies }: Parameters) {
    let gradient = random([entries]);
    bencher
        .counter(ItemsCount::new(entries))
        .with_inputs(|| copy(&gradient))
        .bench_local_values(|gradient| bodies.run(|| sum_of_squares(&gradient)));
}
