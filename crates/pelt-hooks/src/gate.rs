//! The scalar gate of UniPELT.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::{NamedParam, constant, normal, uniform};

/// How a gate's bias starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateBias {
    /// At zero (bottleneck adapters).
    Zero,
    /// Uniform in `±1/sqrt(d)` (LoRA and prefix tuning).
    Uniform,
}

/// The parameters of gates: `g = mean over the sequence of σ(x W + b)` (UniPELT, arXiv 2110.07577, section 3).
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

    /// The two tensors under `path.weight` and `path.bias`.
    pub fn named_params(&self, path: &str) -> Vec<NamedParam> {
        vec![
            NamedParam::transposed(format!("{path}.weight"), &self.weight),
            NamedParam::new(format!("{path}.bias"), &self.bias),
        ]
    }
}
