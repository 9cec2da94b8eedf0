//! The precision of an encoder's hidden states and frozen weights.

use std::fmt;
use std::str::FromStr;

use burn::tensor::{DType, Device, FloatDType, Tensor};
use serde::{Deserialize, Serialize};

/// A type of numbers. What is trained, norms, softmax and heads stay in `f32` whatever this is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with the exponents of `f32`.
    Bf16,
    /// 16 bits with few exponents: losses have to be scaled, so that small gradients do not vanish.
    F16,
}

impl Precision {
    /// A tensor in this precision.
    pub fn of<const D: usize>(self, tensor: Tensor<D>) -> Tensor<D> {
        match tensor.dtype() == DType::from(self.dtype()) {
            true => tensor,
            false => tensor.cast(self.dtype()),
        }
    }

    /// Whether a device can compute in it.
    pub fn is_supported(self, device: &Device) -> bool {
        device.supports_dtype(self.dtype())
    }

    fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
            Self::F16 => FloatDType::F16,
        }
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = [Self::F32, Self::Bf16, Self::F16];
        let found = all.into_iter().find(|one| one.to_string() == name);
        found.ok_or_else(|| "expected f32, bf16 or f16".to_string())
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}
