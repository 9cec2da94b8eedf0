//! Prints how long each operation takes forward and backward, in burn primitives and as a kernel, at the sizes of a
//! small encoder: 32 sequences of 64 tokens, width 384, 12 heads.
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use burn::module::Param;
use burn::tensor::{Device, Distribution, Tensor};
use pelt_hooks::{KeyValue, Packing};
use pelt_ops::{AttentionLayout, LayerNorm, Linear, attention, dropout, gelu, generic};

const ROUNDS: usize = 15;

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

/// The median over a few rounds, each with its own gradient of all inputs.
fn time(inputs: &[Tensor<2>], function: impl Fn(&[Tensor<2>]) -> Tensor<2>) -> [f64; 2] {
    let mut times: [Vec<Duration>; 2] = Default::default();
    for _ in 0..ROUNDS {
        let inputs: Vec<Tensor<2>> = inputs
            .iter()
            .map(|input| input.clone().autodiff().require_grad())
            .collect();
        let start = Instant::now();
        let output = function(&inputs);
        times[0].push(start.elapsed());
        let loss = output.sum();
        let start = Instant::now();
        let gradients = loss.backward();
        times[1].push(start.elapsed());
        assert!(inputs[0].grad(&gradients).is_some());
    }
    times.map(|mut times| {
        times.sort();
        times[ROUNDS / 2].as_secs_f64() * 1000.0
    })
}

fn report(
    name: &str,
    inputs: &[Tensor<2>],
    plain: impl Fn(&[Tensor<2>]) -> Tensor<2>,
    kernel: impl Fn(&[Tensor<2>]) -> Tensor<2>,
) {
    let [forward, backward] = time(inputs, plain);
    let [kernel_forward, kernel_backward] = time(inputs, kernel);
    println!(
        "{name:32} generic {forward:7.2} + {backward:7.2} ms   kernel {kernel_forward:7.2} + {kernel_backward:7.2} ms"
    );
}

fn main() {
    let tokens = 32 * 64;
    let hidden = random([tokens, 384]);
    let wide = random([tokens, 1536]);

    report(
        "gelu [2048, 1536]",
        std::slice::from_ref(&wide),
        |x| generic::gelu(x[0].clone()),
        |x| gelu(x[0].clone()),
    );

    let norm = LayerNorm {
        weight: Param::from_tensor(random([384])),
        bias: Param::from_tensor(random([384])),
        epsilon: 1e-12,
    };
    let (weight, bias) = (norm.weight.val(), norm.bias.val());
    report(
        "residual and norm [2048, 384]",
        &[hidden.clone(), random([tokens, 384])],
        |x| {
            generic::layer_norm(
                x[0].clone() + x[1].clone(),
                weight.clone(),
                bias.clone(),
                1e-12,
            )
        },
        |x| norm.forward_sum([x[0].clone(), x[1].clone()]),
    );

    for (name, input, sizes) in [
        ("linear 384 to 384", &hidden, [384, 384]),
        ("linear 384 to 1536", &hidden, [384, 1536]),
        ("linear 1536 to 384", &wide, [1536, 384]),
    ] {
        let linear = Linear {
            weight: Param::from_tensor(random(sizes)),
            bias: Param::from_tensor(random([sizes[1]])),
        };
        report(
            name,
            std::slice::from_ref(input),
            |x| generic::linear(x[0].clone(), linear.weight.val(), linear.bias.val()),
            |x| linear.forward(x[0].clone()),
        );
    }

    report(
        "dropout 0.1 [2048, 384]",
        std::slice::from_ref(&hidden),
        |x| generic::dropout(x[0].clone(), 0.1, Some(1)),
        |x| dropout(x[0].clone(), 0.1, Some(1)),
    );

    let rows = [
        random([tokens, 384]),
        random([tokens, 384]),
        random([tokens, 384]),
    ];
    let prefix = || KeyValue {
        key: random([10, 384]),
        value: random([10, 384]),
        key_gate: Some(random([32, 1])),
        value_gate: Some(random([32, 1])),
    };
    let mixed: Vec<usize> = (0..32).map(|number| 33 + 2 * number).collect();
    for (name, lengths, p, with_prefix) in [
        ("attention 32 x 64", vec![64; 32], 0.0, false),
        ("attention, dropout 0.1", vec![64; 32], 0.1, false),
        ("attention, prefix of 10", vec![64; 32], 0.1, true),
        ("attention, 4 x 512", vec![512; 4], 0.1, false),
        ("attention, lengths 33 to 95", mixed, 0.1, false),
    ] {
        let packing = Packing::new(lengths);
        let layout = AttentionLayout {
            keys: packing.clone(),
            queries: packing,
            heads: 12,
            dropout: p,
            dropout_key: Some(3),
        };
        let prefixes = || with_prefix.then(prefix).into_iter().collect();
        let [q, k, v] = rows
            .clone()
            .map(|rows| rows.slice([0..layout.keys.tokens(), 0..384]));
        report(
            name,
            &[q, k, v],
            |x| {
                generic::attention(
                    x[0].clone(),
                    x[1].clone(),
                    x[2].clone(),
                    prefixes(),
                    &layout,
                )
            },
            |x| {
                attention(
                    x[0].clone(),
                    x[1].clone(),
                    x[2].clone(),
                    prefixes(),
                    &layout,
                )
            },
        );
    }
}
