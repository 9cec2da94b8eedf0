//! LoRA alone: a low-rank update beside a layer of one's own burn model.
//!
//! The model is a user's own: two layers of `burn::nn`, trained before and now frozen. [`LowRank`] is added to the output of the
//! first one, and is all that is trained.
#![allow(clippy::print_stdout)] // It shows what it does.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Tensor};
use pelt_hooks::{ParamValues, gradients, load, values};
use pelt_lora::LowRank;

const INPUTS: usize = 8;
const HIDDEN: usize = 32;
const RANK: usize = 4;
const ALPHA: f64 = 8.0;
const RATE: f64 = 0.05;

/// A model of one's own.
#[derive(Module, Debug)]
struct Network {
    first: Linear,
    last: Linear,
}

impl Network {
    /// `[rows, INPUTS]` to `[rows, 1]`, with an update beside the first layer.
    fn forward(&self, x: Tensor<2>, update: &LowRank) -> Tensor<2> {
        let hidden = self.first.forward(x.clone()) + update.forward(x);
        self.last.forward(relu(hidden))
    }
}

/// The loss before and after some steps of gradient descent on the update alone.
fn train(steps: usize) -> (f32, f32) {
    let device = Device::flex();
    device.seed(7);
    // On the plain device: nothing of it is tracked, and nothing of it can change.
    let network = Network {
        first: LinearConfig::new(INPUTS, HIDDEN).init(&device),
        last: LinearConfig::new(HIDDEN, 1).init(&device),
    };
    let x = Tensor::<2>::random([256, INPUTS], Distribution::Normal(0.0, 1.0), &device);
    let target = x.clone().narrow(1, 0, 1) * x.clone().narrow(1, 1, 1);

    pelt_hooks::seed(1);
    let mut update = LowRank::new(
        INPUTS,
        HIDDEN,
        RANK,
        ALPHA / RANK as f64,
        &device.autodiff(),
    );
    let loss = |update: &LowRank| {
        let difference = network.forward(x.clone(), update) - target.clone();
        difference.powi_scalar(2).mean()
    };
    let before = loss(&update).into_scalar();
    for _ in 0..steps {
        let gradients = gradients(&update, &loss(&update).backward());
        let changed = values(&update).into_iter();
        let changed: ParamValues = changed
            .map(|(id, value)| (id, value - gradients[&id].clone() * RATE))
            .collect();
        update = load(update, changed);
    }
    (before, loss(&update).into_scalar())
}

fn main() {
    let (before, after) = train(200);
    println!("loss with a new update: {before:.4}, after 200 steps: {after:.4}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_update_learns_what_the_frozen_model_does_not_know() {
        let (before, after) = train(100);
        assert!(after < 0.9 * before, "{before} {after}");
    }
}
