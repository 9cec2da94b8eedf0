//! The scalar gate of UniPELT.

use burn::tensor::Tensor;
use pelt_hooks::{Gate, Hidden, Pass};

use crate::generic;

/// The gate of every sequence: `mean over the sequence of σ(x W + b)` (UniPELT, arXiv 2110.07577, section 3).
///
/// The sigmoid is applied to each row and then averaged, as in both public implementations. They average over padding
/// too; here there is none, so a gate depends on its own sequence alone. On batches without padding all three agree.
/// A pass that [observes gates](Pass::observing_gates) keeps the result under the weight's id.
///
/// # Shapes
/// `[tokens, d]` to `[sequences, columns]`.
pub fn gate(gate: &Gate, source: &Hidden, pass: &Pass) -> Tensor<2> {
    let value = forward(gate, source);
    pass.observe_gate(gate.weight.id, &value);
    value
}

fn forward(gate: &Gate, source: &Hidden) -> Tensor<2> {
    let (weight, bias) = (gate.weight.val(), gate.bias.val());
    #[cfg(feature = "flex")]
    {
        use crate::flex::{gate::Gate, run, serves};
        if serves(&source.values) && serves(&weight) && serves(&bias) {
            let x = source.values.clone().into_dispatch();
            let inputs = [x, weight.into_dispatch(), bias.into_dispatch()];
            return run(Gate(source.packing.clone()), inputs);
        }
    }
    generic::gate(source.clone(), weight, bias)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;
    use burn::tensor::Device;
    use pelt_hooks::Packing;

    #[test]
    fn the_sigmoid_comes_before_the_mean() {
        let device = Device::flex();
        let parameters = Gate {
            weight: Param::from_tensor(Tensor::from_data([[1.0]], &device)),
            bias: Param::from_tensor(Tensor::from_data([0.0], &device)),
        };
        let source = Hidden {
            values: Tensor::from_data([[0.0], [4.0], [-2.0]], &device),
            packing: Packing::new([2, 1]),
        };
        let sigma = |x: f32| 1.0 / (1.0 + (-x).exp());
        let expected = [(sigma(0.0) + sigma(4.0)) / 2.0, sigma(-2.0)];
        let found = gate(&parameters, &source, &Pass::evaluate());
        for found in [
            found,
            generic::gate(source, parameters.weight.val(), parameters.bias.val()),
        ] {
            let found: Vec<f32> = found.into_data().try_to_vec().unwrap();
            assert!((found[0] - expected[0]).abs() < 1e-6);
            assert!((found[1] - expected[1]).abs() < 1e-6);
        }
    }
}
