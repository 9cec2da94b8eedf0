//! The scalar gate of UniPELT.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation::sigmoid};

use crate::{Hidden, NamedParam, Pass, constant, normal, uniform};

/// How a gate's bias starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateBias {
    /// At zero (bottleneck adapters).
    Zero,
    /// Uniform in `±1/sqrt(d)` (LoRA and prefix tuning).
    Uniform,
}

/// A gate per sequence: `g = mean over the sequence of σ(x W + b)` (UniPELT, arXiv 2110.07577, section 3).
///
/// The sigmoid is applied to each row and then averaged, as in both public implementations. They average over padding
/// too; here there is none, so a gate depends on its own sequence alone. On batches without padding all three agree.
#[derive(Module, Debug)]
pub struct Gate {
    /// `[d, columns]`, trained.
    pub weight: Param<Tensor<2>>,
    /// `[columns]`, trained.
    pub bias: Param<Tensor<1>>,
}

impl Gate {
    /// A gate that reads rows of width `width`: weight N(0, 0.02²).
    pub fn new(width: usize, columns: usize, bias: GateBias, device: &Device) -> Self {
        let weight = normal([width, columns], 0.02, device);
        let bias = match bias {
            GateBias::Zero => constant([columns], 0.0, device),
            GateBias::Uniform => uniform([columns], 1.0 / (width as f64).sqrt(), device),
        };
        Self { weight, bias }
    }

    /// The gate of every sequence; a pass that [observes gates](Pass::observing_gates) keeps it under the weight's id.
    ///
    /// # Shapes
    /// `[tokens, d]` to `[sequences, columns]`.
    pub fn forward(&self, source: &Hidden, pass: &Pass) -> Tensor<2> {
        let scores = source.values.clone().matmul(self.weight.val()) + self.bias.val().unsqueeze();
        let gate = source.packing.mean(sigmoid(scores));
        pass.observe_gate(self.weight.id, &gate);
        gate
    }

    /// The two tensors under `path.weight` and `path.bias`.
    pub fn named_params(&self, path: &str) -> Vec<NamedParam> {
        vec![
            NamedParam::transposed(format!("{path}.weight"), &self.weight),
            NamedParam::new(format!("{path}.bias"), &self.bias),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Packing;

    #[test]
    fn the_sigmoid_comes_before_the_mean() {
        let device = Device::flex();
        let gate = Gate {
            weight: Param::from_tensor(Tensor::from_data([[1.0]], &device)),
            bias: Param::from_tensor(Tensor::from_data([0.0], &device)),
        };
        let source = Hidden {
            values: Tensor::from_data([[0.0], [4.0], [-2.0]], &device),
            packing: Packing::new([2, 1]),
        };
        let sigma = |x: f32| 1.0 / (1.0 + (-x).exp());
        let found: Vec<f32> = gate
            .forward(&source, &Pass::evaluate())
            .into_data()
            .try_to_vec()
            .unwrap();
        assert!((found[0] - (sigma(0.0) + sigma(4.0)) / 2.0).abs() < 1e-6);
        assert!((found[1] - sigma(-2.0)).abs() < 1e-6);
    }
}
