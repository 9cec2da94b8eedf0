//! The kernels that work row by row.

use burn::tensor::Tensor;
use proptest::prelude::*;

use super::*;
use crate::flex::linear::{Linear, LinearGelu};
use crate::flex::{gelu::Gelu, norm::LayerNorm, run};
use crate::{AdamWStep, Narrow, adamw, add, gelu, generic, sum_of_squares};

fn flat(row: &Tensor<2>) -> Tensor<1> {
    let [_, width] = row.dims();
    row.clone().reshape([width])
}

fn gelu_kernel(inputs: &[Tensor<2>]) -> Tensor<2> {
    run(Gelu, [inputs[0].clone().into_dispatch()])
}

fn gelu_generic(inputs: &[Tensor<2>]) -> Tensor<2> {
    generic::gelu(inputs[0].clone() * 1.0)
}

fn linear_kernel(inputs: &[Tensor<2>]) -> Tensor<2> {
    let [x, weight] = [0, 1].map(|input| inputs[input].clone().into_dispatch());
    run(Linear, [x, weight, flat(&inputs[2]).into_dispatch()])
}

fn linear_generic(inputs: &[Tensor<2>]) -> Tensor<2> {
    generic::linear(inputs[0].clone(), inputs[1].clone(), flat(&inputs[2]))
}

/// Inputs: rows, weight, bias.
fn linear_gelu_kernel(inputs: &[Tensor<2>]) -> Tensor<2> {
    let [x, weight] = [0, 1].map(|input| inputs[input].clone().into_dispatch());
    run(LinearGelu, [x, weight, flat(&inputs[2]).into_dispatch()])
}

fn linear_gelu_generic(inputs: &[Tensor<2>]) -> Tensor<2> {
    generic::gelu(linear_generic(inputs))
}

fn norm_kernel(inputs: &[Tensor<2>]) -> Tensor<2> {
    let [weight, bias] = [1, 2].map(|input| flat(&inputs[input]).into_dispatch());
    let op = LayerNorm { epsilon: 1e-5 };
    run(op, [inputs[0].clone().into_dispatch(), weight, bias])
}

fn norm_generic(inputs: &[Tensor<2>]) -> Tensor<2> {
    generic::layer_norm(inputs[0].clone(), flat(&inputs[1]), flat(&inputs[2]), 1e-5)
}

/// Inputs: rows, weight, bias, residual.
fn residual_kernel(inputs: &[Tensor<2>]) -> Tensor<2> {
    let [weight, bias] = [1, 2].map(|input| flat(&inputs[input]).into_dispatch());
    let [x, residual] = [0, 3].map(|input| inputs[input].clone().into_dispatch());
    run(LayerNorm { epsilon: 1e-5 }, [x, residual, weight, bias])
}

fn residual_generic(inputs: &[Tensor<2>]) -> Tensor<2> {
    let x = inputs[0].clone() + inputs[3].clone();
    generic::layer_norm(x, flat(&inputs[1]), flat(&inputs[2]), 1e-5)
}

/// Inputs: rows, weight, bias, residual, a contribution.
fn norm_of_three(inputs: &[Tensor<2>]) -> Tensor<2> {
    let norm = crate::LayerNorm {
        weight: burn::module::Param::initialized(burn::module::ParamId::new(), flat(&inputs[1])),
        bias: burn::module::Param::initialized(burn::module::ParamId::new(), flat(&inputs[2])),
        epsilon: 1e-5,
    };
    norm.forward_sum([0, 4, 3].map(|input| inputs[input].clone()))
}

fn norm_of_three_generic(inputs: &[Tensor<2>]) -> Tensor<2> {
    let x = inputs[0].clone() + inputs[4].clone() + inputs[3].clone();
    generic::layer_norm(x, flat(&inputs[1]), flat(&inputs[2]), 1e-5)
}

fn add_kernel(inputs: &[Tensor<2>]) -> Tensor<2> {
    crate::add(inputs[0].clone(), inputs[1].clone())
}

fn add_generic(inputs: &[Tensor<2>]) -> Tensor<2> {
    inputs[0].clone() + inputs[1].clone()
}

fn dropout_kernel(inputs: &[Tensor<2>]) -> Tensor<2> {
    crate::dropout(inputs[0].clone(), 0.3, Some(77), 5)
}

fn dropout_generic(inputs: &[Tensor<2>]) -> Tensor<2> {
    generic::force(|| dropout_kernel(inputs))
}

/// Rows, weight, bias and residual. Neighbours in a row are on different sides of one: the norm of a few numbers that
/// happen to be close to each other magnifies rounding and bends too much for a step of finite length.
fn norm_inputs(rows: usize, width: usize, seed: u64) -> Vec<Tensor<2>> {
    let apart: Vec<f32> = (0..width).map(|column| [-5.0, 7.0][column % 2]).collect();
    let apart = Tensor::from_data(TensorData::new(apart, [1, width]), &Device::flex());
    vec![
        noise(rows, width, seed) + apart,
        noise(1, width, seed + 1),
        noise(1, width, seed + 2),
        noise(rows, width, seed + 3),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn row_kernels_equal_the_generic_bodies(
        rows in 1_usize..80,
        width in 2_usize..50,
        outputs in 1_usize..40,
        seed in 0_u64..1000,
        tracked in proptest::array::uniform4(any::<bool>()),
    ) {
        let inputs = norm_inputs(rows, width, seed);
        assert_same(&gelu_kernel, &gelu_generic, &inputs[..1], &tracked[..1]);
        assert_same(&dropout_kernel, &dropout_generic, &inputs[..1], &tracked[..1]);
        assert_same(&norm_kernel, &norm_generic, &inputs[..3], &tracked[..3]);
        assert_same(&residual_kernel, &residual_generic, &inputs, &tracked);
        let sums = [noise(rows, width, seed + 9), noise(rows, width, seed + 10)];
        assert_same(&add_kernel, &add_generic, &sums, &tracked[..2]);
        let mut three = inputs.clone();
        three.push(noise(rows, width, seed + 11));
        let tracked_five = [tracked[0], tracked[1], tracked[2], tracked[3], tracked[0]];
        assert_same(&norm_of_three, &norm_of_three_generic, &three, &tracked_five);
        let inputs = [noise(rows, width, seed), noise(width, outputs, seed), noise(1, outputs, seed)];
        assert_same(&linear_kernel, &linear_generic, &inputs, &tracked[..3]);
        assert_slopes(&linear_kernel, &inputs);
        assert_same(&linear_gelu_kernel, &linear_gelu_generic, &inputs, &tracked[..3]);
        assert_slopes(&linear_gelu_kernel, &inputs);
        assert_slopes(&gelu_kernel, &three[..1]);
        assert_slopes(&dropout_kernel, &three[..1]);
        assert_slopes(&residual_kernel, &three[..4]);
        assert_slopes(&norm_of_three, &three);
        assert_slopes(&add_kernel, &sums);
    }
}

/// Several operations that read the same tensor, which is not a leaf: each adds to the gradient that others found.
fn shared(inputs: &[Tensor<2>], kernel: bool) -> Tensor<2> {
    let linear = |x: Tensor<2>| match kernel {
        true => linear_kernel(&[x, inputs[1].clone(), inputs[2].clone()]),
        false => linear_generic(&[x, inputs[1].clone(), inputs[2].clone()]),
    };
    let low_rank = |x: Tensor<2>| {
        let network = Narrow {
            down: inputs[1].clone().slice([0..inputs[1].dims()[0], 0..2]),
            up: inputs[1].clone().slice([0..2, 0..inputs[1].dims()[1]]),
            biases: None,
            relu: false,
            scale: 0.5,
            gate: None,
        };
        match kernel {
            true => network.forward(x),
            false => generic::narrow(network, x),
        }
    };
    let x = linear(inputs[0].clone());
    let all = [
        linear(x.clone()),
        low_rank(x.clone()),
        x.clone() * 0.5,
        x.clone(),
    ];
    let sum = all.into_iter().fold(x.clone(), |sum, more| match kernel {
        true => add(sum, more),
        false => sum + more,
    });
    match kernel {
        true => residual_kernel(&[sum, flat_ones(&x), inputs[2].clone(), x]),
        false => residual_generic(&[sum, flat_ones(&x), inputs[2].clone(), x]),
    }
}

fn flat_ones(x: &Tensor<2>) -> Tensor<2> {
    Tensor::ones([1, x.dims()[1]], &Device::flex())
}

#[test]
fn gradients_of_one_tensor_from_several_operations_add_up() {
    for rows in [3, 400] {
        let inputs = [noise(rows, 48, 1), noise(48, 48, 2) * 0.2, noise(1, 48, 3)];
        let kernel = |inputs: &[Tensor<2>]| shared(inputs, true);
        assert_same(
            &kernel,
            &|inputs| shared(inputs, false),
            &inputs,
            &[true; 3],
        );
        assert_slopes(&kernel, &inputs);
    }
}

#[test]
fn large_inputs_take_the_parallel_paths_and_agree() {
    let inputs = norm_inputs(300, 384, 5);
    assert_same(&gelu_kernel, &gelu_generic, &inputs[..1], &[true]);
    assert_same(&dropout_kernel, &dropout_generic, &inputs[..1], &[true]);
    assert_same(&residual_kernel, &residual_generic, &inputs, &[true; 4]);
    // Many rows, and few.
    for rows in [300, 16, 3] {
        let inputs = [
            noise(rows, 384, 1),
            noise(384, 200, 2) * 0.05,
            noise(1, 200, 3),
        ];
        assert_same(&linear_kernel, &linear_generic, &inputs, &[true; 3]);
        let [kernel, generic] = [linear_gelu_kernel, linear_gelu_generic];
        assert_same(&kernel, &generic, &inputs, &[true; 3]);
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    let inputs = norm_inputs(3, 5, 11);
    assert_gradient(&gelu_kernel, &inputs[..1]);
    assert_gradient(&dropout_kernel, &inputs[..1]);
    assert_gradient(&residual_kernel, &inputs);
    let inputs = [noise(3, 4, 1), noise(4, 2, 2), noise(1, 2, 3)];
    assert_gradient(&linear_kernel, &inputs);
    assert_gradient(&linear_gelu_kernel, &inputs);
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let inputs = norm_inputs(300, 100, 5);
    assert_threads_do_not_matter(&gelu_kernel, &inputs[..1]);
    assert_threads_do_not_matter(&dropout_kernel, &inputs[..1]);
    assert_threads_do_not_matter(&residual_kernel, &inputs);
    for rows in [400, 16] {
        let inputs = [noise(rows, 384, 1), noise(384, 1500, 2), noise(1, 1500, 3)];
        assert_threads_do_not_matter(&linear_kernel, &inputs);
        assert_threads_do_not_matter(&linear_gelu_kernel, &inputs);
    }
}

#[test]
fn views_that_are_not_contiguous_work() {
    let transposed = |inputs: &[Tensor<2>]| -> Vec<Tensor<2>> {
        let [rows, width] = inputs[0].dims();
        let mut inputs = inputs.to_vec();
        inputs[0] = inputs[0].clone().transpose();
        // The first row and the first column are left out.
        inputs[0] = inputs[0].clone().slice([1..width, 1..rows]);
        inputs
    };
    let of_view = |function: fn(&[Tensor<2>]) -> Tensor<2>| {
        move |inputs: &[Tensor<2>]| function(&transposed(inputs))
    };
    let inputs = [noise(7, 9, 1), noise(1, 6, 2), noise(1, 6, 3)];
    assert_same(
        &of_view(gelu_kernel),
        &of_view(gelu_generic),
        &inputs[..1],
        &[true],
    );
    assert_same(
        &of_view(dropout_kernel),
        &of_view(dropout_generic),
        &inputs[..1],
        &[true],
    );
    assert_same(
        &of_view(norm_kernel),
        &of_view(norm_generic),
        &inputs,
        &[true; 3],
    );
    let inputs = [noise(7, 9, 1), noise(6, 4, 2), noise(1, 4, 3)];
    assert_same(
        &of_view(linear_kernel),
        &of_view(linear_generic),
        &inputs,
        &[true; 3],
    );
    // A weight that is stored transposed, and one that is flipped.
    let weight = noise(4, 6, 4).transpose();
    let inputs = [noise(8, 6, 1), weight.clone(), noise(1, 4, 3)];
    assert_same(&linear_kernel, &linear_generic, &inputs, &[true; 3]);
    let inputs = [noise(8, 6, 1), weight.flip([0]), noise(1, 4, 3)];
    assert_same(&linear_kernel, &linear_generic, &inputs, &[true; 3]);
}

#[test]
fn no_rows_give_no_rows() {
    let inputs = [
        noise(0, 6, 1),
        noise(1, 6, 2),
        noise(1, 6, 3),
        noise(0, 6, 4),
    ];
    for function in [gelu_kernel, dropout_kernel, norm_kernel, residual_kernel] {
        let (output, _) = evaluate(&function, &inputs, &[true; 4]);
        assert_eq!(output.dims(), [0, 6]);
    }
    let inputs = [noise(0, 6, 1), noise(6, 4, 2), noise(1, 4, 3)];
    let (output, _) = evaluate(&linear_gelu_kernel, &inputs, &[true; 3]);
    assert_eq!(output.dims(), [0, 4]);
    let (output, gradients) = evaluate(&linear_kernel, &inputs, &[true; 3]);
    assert_eq!(output.dims(), [0, 4]);
    assert_close(
        gradients[1].as_ref().unwrap(),
        &Tensor::zeros([6, 4], &Device::flex()),
        "weight",
    );
}

#[test]
fn other_types_than_f32_take_the_generic_body() {
    let x = noise(3, 4, 1).cast(burn::tensor::DType::F64);
    assert_eq!(gelu(x).dtype(), burn::tensor::DType::F64);
}

#[test]
fn an_input_that_is_used_again_is_left_as_it_was() {
    let x = noise(100, 300, 1);
    let before = x.to_data();
    for function in [gelu_kernel, dropout_kernel] {
        let _ = function(std::slice::from_ref(&x));
        x.to_data().assert_eq(&before, true);
    }
    let inputs = [
        x.clone(),
        noise(1, 300, 2),
        noise(1, 300, 3),
        noise(100, 300, 4),
    ];
    let _ = residual_kernel(&inputs);
    x.to_data().assert_eq(&before, true);
}

#[test]
fn the_update_of_adamw_is_the_generic_one() {
    for count in [1, 7, 40_000] {
        let part = |seed| noise(1, count, seed).reshape([count]);
        let start = || [part(3) * 0.01, part(4).powi_scalar(2) * 0.01];
        let step = AdamWStep {
            gradient_scale: 0.7,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            rate: 3e-3,
            correction_2: 0.02,
            decay: 0.99,
        };
        let (found, found_moments) = adamw(part(1), part(2), start(), &step);
        let (expected, expected_moments) = generic::adamw(part(1), part(2), start(), &step);
        let row = |tensor: Tensor<1>| tensor.reshape([1, count]);
        assert_close(&row(found), &row(expected), "value");
        for (found, expected) in found_moments.into_iter().zip(expected_moments) {
            assert_close(&row(found), &row(expected), "moment");
        }
        let squares = sum_of_squares(&part(5));
        let expected: f64 = part(5).into_data().iter::<f64>().map(|x| x * x).sum();
        assert!(
            (squares - expected).abs() <= 1e-9 * (1.0 + expected),
            "{squares} {expected}"
        );
    }
}
