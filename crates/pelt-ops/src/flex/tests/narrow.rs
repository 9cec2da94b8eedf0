//! Narrow networks and gates.

use pelt_hooks::{Hidden, Packing};
use proptest::prelude::*;

use super::*;
use crate::flex::{gate::Gate, run};
use crate::{Narrow, generic};

/// One kind of narrow network.
#[derive(Debug, Clone)]
struct Case {
    packing: Packing,
    biases: bool,
    relu: bool,
    gated: bool,
    kernel: bool,
}

/// Inputs: rows, A, B, then c and e, then the gates.
fn narrow(case: &Case, inputs: &[Tensor<2>]) -> Tensor<2> {
    let flat = |row: &Tensor<2>| row.clone().reshape([row.dims()[1]]);
    let network = Narrow {
        down: inputs[1].clone(),
        up: inputs[2].clone(),
        biases: case.biases.then(|| (flat(&inputs[3]), flat(&inputs[4]))),
        relu: case.relu,
        scale: 0.7,
        gate: case
            .gated
            .then(|| (inputs[inputs.len() - 1].clone(), &case.packing)),
    };
    match case.kernel {
        true => network.forward(inputs[0].clone()),
        false => generic::narrow(network, inputs[0].clone()),
    }
}

fn narrow_inputs(case: &Case, [width, r, outputs]: [usize; 3], seed: u64) -> Vec<Tensor<2>> {
    let mut inputs = vec![
        noise(case.packing.tokens(), width, seed),
        noise(width, r, seed + 1),
        noise(r, outputs, seed + 2),
    ];
    if case.biases {
        inputs.push(noise(1, r, seed + 3));
        inputs.push(noise(1, outputs, seed + 4));
    }
    if case.gated {
        inputs.push(noise(case.packing.sequences(), 1, seed + 5));
    }
    inputs
}

fn assert_narrow_same(case: &Case, sizes: [usize; 3], seed: u64, tracked: &[bool; 6]) {
    let inputs = narrow_inputs(case, sizes, seed);
    let generic = Case {
        kernel: false,
        ..case.clone()
    };
    assert_same(
        &|inputs| narrow(case, inputs),
        &|inputs| narrow(&generic, inputs),
        &inputs,
        &tracked[..inputs.len()],
    );
}

fn gate_kernel(packing: &Packing, inputs: &[Tensor<2>]) -> Tensor<2> {
    let bias = inputs[2].clone().reshape([inputs[2].dims()[1]]);
    let [x, weight] = [0, 1].map(|input| inputs[input].clone().into_dispatch());
    run(Gate(packing.clone()), [x, weight, bias.into_dispatch()])
}

fn gate_generic(packing: &Packing, inputs: &[Tensor<2>]) -> Tensor<2> {
    let bias = inputs[2].clone().reshape([inputs[2].dims()[1]]);
    let source = Hidden {
        values: inputs[0].clone(),
        packing: packing.clone(),
    };
    generic::gate(source, inputs[1].clone(), bias)
}

fn gate_inputs(packing: &Packing, width: usize, columns: usize) -> Vec<Tensor<2>> {
    vec![
        noise(packing.tokens(), width, 1),
        noise(width, columns, 2) * 0.3,
        noise(1, columns, 3),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn kernels_equal_the_generic_bodies(
        lengths in proptest::collection::vec(1_usize..30, 1..8),
        width in 1_usize..70,
        r in 1_usize..40,
        outputs in 1_usize..70,
        seed in 0_u64..1000,
        flags in proptest::array::uniform3(any::<bool>()),
        tracked in proptest::array::uniform6(any::<bool>()),
    ) {
        let packing = Packing::new(lengths);
        let [biases, relu, gated] = flags;
        let case = Case { packing: packing.clone(), biases, relu, gated, kernel: true };
        assert_narrow_same(&case, [width, r, outputs], seed, &tracked);
        let inputs = gate_inputs(&packing, width, 1 + r % 3);
        let kernel = |inputs: &[Tensor<2>]| gate_kernel(&packing, inputs);
        let expected = |inputs: &[Tensor<2>]| gate_generic(&packing, inputs);
        assert_same(&kernel, &expected, &inputs, &tracked[..3]);
        assert_slopes(&kernel, &inputs);
        let smooth = Case { relu: false, ..case };
        let inputs = narrow_inputs(&smooth, [width, r, outputs], seed);
        assert_slopes(&|inputs| narrow(&smooth, inputs), &inputs);
    }
}

fn case(lengths: &[usize], biases: bool, relu: bool, gated: bool) -> Case {
    Case {
        packing: Packing::new(lengths.iter().copied()),
        biases,
        relu,
        gated,
        kernel: true,
    }
}

#[test]
fn one_token_and_one_long_sequence_work() {
    for lengths in [&[1][..], &[512], &[1, 1, 1], &[200, 1, 99]] {
        for relu in [false, true] {
            let case = case(lengths, true, relu, true);
            assert_narrow_same(&case, [384, 24, 384], 5, &[true; 6]);
        }
        let smooth = case(lengths, true, false, true);
        let inputs = narrow_inputs(&smooth, [384, 24, 384], 5);
        assert_slopes(&|inputs| narrow(&smooth, inputs), &inputs);
        let packing = Packing::new(lengths.iter().copied());
        let inputs = gate_inputs(&packing, 384, 2);
        let kernel = |inputs: &[Tensor<2>]| gate_kernel(&packing, inputs);
        let expected = |inputs: &[Tensor<2>]| gate_generic(&packing, inputs);
        assert_same(&kernel, &expected, &inputs, &[true; 3]);
        assert_slopes(&kernel, &inputs);
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for (biases, gated) in [(false, false), (false, true), (true, false), (true, true)] {
        let case = case(&[2, 1], biases, false, gated);
        let inputs = narrow_inputs(&case, [4, 2, 3], 7);
        assert_gradient(&|inputs| narrow(&case, inputs), &inputs);
    }
    let packing = Packing::new([2, 3]);
    let inputs = gate_inputs(&packing, 4, 2);
    assert_gradient(&|inputs| gate_kernel(&packing, inputs), &inputs);
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    for r in [8, 24, 40] {
        let case = case(&[200, 101], true, true, true);
        let inputs = narrow_inputs(&case, [384, r, 300], 7);
        assert_threads_do_not_matter(&|inputs| narrow(&case, inputs), &inputs);
    }
    let packing = Packing::new([200, 101]);
    let inputs = gate_inputs(&packing, 384, 2);
    assert_threads_do_not_matter(&|inputs| gate_kernel(&packing, inputs), &inputs);
}
