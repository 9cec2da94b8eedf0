//! Every kernel against the generic body, against finite differences, and on one thread against several.

mod attention;
mod narrow;
mod rows;

use burn::tensor::{Device, Tensor, TensorData};

/// Numbers that look random, between -1.5 and 1.5; the same for the same seed.
fn noise(rows: usize, columns: usize, seed: u64) -> Tensor<2> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 * 3.0 - 1.5
    };
    let values: Vec<f32> = (0..rows * columns).map(|_| next()).collect();
    let data = TensorData::new(values, [rows, columns]);
    Tensor::from_data(data, &Device::flex())
}

/// A computation on inputs of two dimensions.
type Function<'a> = &'a (dyn Fn(&[Tensor<2>]) -> Tensor<2> + Sync);

/// The output, and the gradients of the sum of its elements times fixed numbers; untracked inputs stay off autodiff.
fn evaluate(
    function: Function<'_>,
    inputs: &[Tensor<2>],
    tracked: &[bool],
) -> (Tensor<2>, Vec<Option<Tensor<2>>>) {
    let inputs: Vec<Tensor<2>> = inputs
        .iter()
        .zip(tracked)
        .map(|(input, tracked)| match tracked {
            true => input.clone().autodiff().require_grad(),
            false => input.clone(),
        })
        .collect();
    let output = function(&inputs);
    let plain = output.clone();
    if !tracked.contains(&true) {
        return (plain, inputs.iter().map(|_| None).collect());
    }
    let [rows, columns] = output.dims();
    let gradients = (output * noise(rows, columns, 99)).sum().backward();
    let gradients = inputs
        .iter()
        .zip(tracked)
        .map(|(input, tracked)| tracked.then(|| input.grad(&gradients)).flatten())
        .collect();
    (plain.inner(), gradients)
}

fn assert_close(found: &Tensor<2>, expected: &Tensor<2>, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    if found.shape().num_elements() == 0 {
        return;
    }
    let size: f32 = expected.clone().abs().max().into_scalar();
    let difference: f32 = (found.clone() - expected.clone()).abs().max().into_scalar();
    assert!(
        difference <= 2e-5 * (1.0 + size),
        "{what}: off by {difference}, largest {size}"
    );
}

/// Asserts that both give the same output and the same gradients.
fn assert_same(
    found: Function<'_>,
    expected: Function<'_>,
    inputs: &[Tensor<2>],
    tracked: &[bool],
) {
    let (found_output, found) = evaluate(found, inputs, tracked);
    let (expected_output, expected) = evaluate(expected, inputs, tracked);
    assert_close(&found_output, &expected_output, "output");
    for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let what = format!("gradient of input {number}");
        assert_eq!(found.is_some(), tracked[number], "{what}");
        if let (Some(found), Some(expected)) = (found, expected) {
            assert_close(found, expected, &what);
        }
    }
}

/// Asserts that moving each element of each input up and down changes the output as the gradient says.
fn assert_gradient(function: Function<'_>, inputs: &[Tensor<2>]) {
    let step = 1e-2_f32;
    let (_, gradients) = evaluate(function, inputs, &vec![true; inputs.len()]);
    for (number, gradient) in gradients.into_iter().enumerate() {
        let gradient = gradient.unwrap().into_data().try_to_vec::<f32>().unwrap();
        let shape = inputs[number].dims();
        for (element, gradient) in gradient.into_iter().enumerate() {
            let at = |step: f32| {
                let mut moved = inputs.to_vec();
                let mut values = moved[number].to_data().try_to_vec::<f32>().unwrap();
                values[element] += step;
                moved[number] = Tensor::from_data(TensorData::new(values, shape), &Device::flex());
                weighted_sum(&function(&moved)).0
            };
            let slope = (at(step) - at(-step)) / (2.0 * f64::from(step));
            let difference = (slope - f64::from(gradient)).abs();
            assert!(
                difference < 1e-3 * (1.0 + f64::from(gradient.abs())),
                "input {number}, element {element}: gradient {gradient}, slope {slope}"
            );
        }
    }
}

/// The sum of the elements times the fixed numbers of [`evaluate`], and the square root of the sum of the squares of its
/// terms, both in double precision.
fn weighted_sum(output: &Tensor<2>) -> (f64, f64) {
    let [rows, columns] = output.dims();
    let terms: Vec<f64> = products(output, &noise(rows, columns, 99));
    let squares: f64 = terms.iter().map(|term| term * term).sum();
    (terms.iter().sum(), squares.sqrt())
}

/// The products of the elements of two tensors, in double precision.
fn products(a: &Tensor<2>, b: &Tensor<2>) -> Vec<f64> {
    let values = |tensor: &Tensor<2>| tensor.to_data().try_to_vec::<f32>().unwrap();
    let pairs = values(a).into_iter().zip(values(b));
    pairs.map(|(a, b)| f64::from(a) * f64::from(b)).collect()
}

/// Asserts that moving each input as a whole, in a direction that looks random, changes the output as the gradient says:
/// at any size, where [`assert_gradient`] would take too long.
fn assert_slopes(function: Function<'_>, inputs: &[Tensor<2>]) {
    let step = 3e-3_f64;
    let (output, gradients) = evaluate(function, inputs, &vec![true; inputs.len()]);
    let (_, size) = weighted_sum(&output);
    for (number, gradient) in gradients.into_iter().enumerate() {
        let gradient = gradient.unwrap();
        let [rows, columns] = inputs[number].dims();
        let direction = noise(rows, columns, 77 + number as u64);
        let at = |step: f64| {
            let mut moved = inputs.to_vec();
            moved[number] = moved[number].clone() + direction.clone() * step;
            weighted_sum(&function(&moved)).0
        };
        let slope = (at(step) - at(-step)) / (2.0 * step);
        let terms = products(&gradient, &direction);
        let expected: f64 = terms.iter().sum();
        let along = terms.iter().map(|term| term * term).sum::<f64>().sqrt();
        // Rounding of the outputs, and what a step of this length adds to a slope.
        let allowed = 1e-4 * size + 2e-2 * along + 1e-4;
        let difference = (slope - expected).abs();
        assert!(
            difference < allowed,
            "input {number}: gradient {expected}, slope {slope}, allowed {allowed}"
        );
    }
}

/// Asserts that one thread and five give the same bits.
fn assert_threads_do_not_matter(function: Function<'_>, inputs: &[Tensor<2>]) {
    let run = |threads: usize| -> Vec<TensorData> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let (output, gradients) = evaluate(function, inputs, &vec![true; inputs.len()]);
            let gradients = gradients.into_iter().flatten();
            std::iter::once(output)
                .chain(gradients)
                .map(Tensor::into_data)
                .collect()
        })
    };
    for (one, many) in run(1).iter().zip(&run(5)) {
        one.assert_eq(many, true);
    }
}
