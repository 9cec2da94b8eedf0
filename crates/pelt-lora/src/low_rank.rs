//! The low-rank update itself.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use pelt_hooks::{NamedParam, Packing, constant, uniform};
use pelt_ops::Narrow;

/// `s (x A) B`: what LoRA adds to the output of a frozen linear layer `x W + b`.
///
/// It is computed from `x` instead of being folded into `W`, so that the frozen weight needs no gradient. The block
/// stands alone: any burn model can add [`forward`](Self::forward) to the output of one of its layers.
#[derive(Module, Debug)]
pub struct LowRank {
    /// A, `[in, r]`, trained.
    pub lora_a: Param<Tensor<2>>,
    /// B, `[r, out]`, trained.
    pub lora_b: Param<Tensor<2>>,
    /// `s`, usually `alpha / r`.
    pub scale: f64,
}

impl LowRank {
    /// A uniform in `±1/sqrt(inputs)` and B zero, so a new block gives zero.
    pub fn new(inputs: usize, outputs: usize, r: usize, scale: f64, device: &Device) -> Self {
        Self {
            lora_a: uniform([inputs, r], 1.0 / (inputs as f64).sqrt(), device),
            lora_b: constant([r, outputs], 0.0, device),
            scale,
        }
    }

    /// # Shapes
    /// `[rows, in]` to `[rows, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.forward_gated(x, None)
    }

    /// The same, times a number for each sequence.
    ///
    /// # Shapes
    /// `gate`: `[sequences, 1]`, and where the sequences lie in `x`.
    pub fn forward_gated(&self, x: Tensor<2>, gate: Option<(Tensor<2>, &Packing)>) -> Tensor<2> {
        let network = Narrow {
            down: self.lora_a.val(),
            up: self.lora_b.val(),
            biases: None,
            relu: false,
            scale: self.scale,
            gate,
        };
        network.forward(x)
    }

    /// `s A B`, which can be added to the frozen `[in, out]` weight in place of the block.
    pub fn delta_weight(&self) -> Tensor<2> {
        (self.lora_a.val() * self.scale).matmul(self.lora_b.val())
    }

    /// The two matrices under `path.lora_A` and `path.lora_B`.
    pub fn named_params(&self, path: &str) -> Vec<NamedParam> {
        vec![
            NamedParam::transposed(format!("{path}.lora_A"), &self.lora_a),
            NamedParam::transposed(format!("{path}.lora_B"), &self.lora_b),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    #[test]
    fn the_update_is_the_scaled_product_of_both_matrices() {
        let device = Device::flex();
        let block = LowRank {
            lora_a: Param::from_tensor(Tensor::from_data([[1.0], [2.0]], &device)),
            lora_b: Param::from_tensor(Tensor::from_data([[3.0, -1.0, 0.5]], &device)),
            scale: 2.0,
        };
        let x = Tensor::from_data([[1.0, 1.0], [0.0, -1.0]], &device);
        let expected = TensorData::from([[18.0_f32, -6.0, 3.0], [-12.0, 4.0, -2.0]]);
        let out = block.forward(Tensor::clone(&x)).into_data();
        out.assert_eq(&expected, true);
        let merged = x.matmul(block.delta_weight()).into_data();
        merged.assert_eq(&expected, true);
    }

    #[test]
    fn a_new_block_gives_zero() {
        let device = Device::flex();
        let block = LowRank::new(4, 3, 2, 1.0, &device);
        let out = block.forward(Tensor::ones([2, 4], &device));
        out.into_data()
            .assert_eq(&TensorData::from([[0.0_f32; 3]; 2]), true);
        let a: f32 = block.lora_a.val().abs().max().into_scalar();
        assert!(a > 0.0 && a <= 0.5, "{a}");
    }
}
