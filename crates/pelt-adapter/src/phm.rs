//! Linear layers whose matrix is a sum of Kronecker products.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use pelt_hooks::{NamedParam, constant, normal};
use pelt_ops::{Linear, like};

/// Standard deviation of a new rule.
const RULE_STD: f64 = 0.0001;

/// `x H + b` with `H = Σ_i kron(R_i, U_i V_i)` (Compacter, arXiv 2106.04647). The rule `R`, `[n, n, n]`, is not part of
/// the layer: all layers of an adapter share one.
#[derive(Module, Debug)]
pub struct PhmLinear {
    /// U, `[n, in / n, k]`, trained.
    pub left: Param<Tensor<3>>,
    /// V, `[n, k, out / n]`, trained.
    pub right: Param<Tensor<3>>,
    /// b, `[out]`, trained.
    pub bias: Param<Tensor<1>>,
}

/// A rule that layers share, drawn from N(0, 0.0001²).
pub(crate) fn new_rule(n: usize, device: &Device) -> Param<Tensor<3>> {
    normal([n, n, n], RULE_STD, device)
}

impl PhmLinear {
    /// `n` divides `inputs` and `outputs`, `k` is the rank. U and V are drawn slice by slice as Glorot and Bengio's
    /// normal initialiser does, b is zero.
    pub fn new([inputs, outputs]: [usize; 2], n: usize, k: usize, device: &Device) -> Self {
        let std = |rows: usize, columns: usize| (2.0 / (rows + columns) as f64).sqrt();
        let (rows, columns) = (inputs / n, outputs / n);
        Self {
            left: normal([n, rows, k], std(rows, k), device),
            right: normal([n, k, columns], std(k, columns), device),
            bias: constant([outputs], 0.0, device),
        }
    }

    /// H, `[in, out]`.
    pub fn weight(&self, rule: Tensor<3>) -> Tensor<2> {
        let [n, rows, _] = self.left.dims();
        let [_, _, columns] = self.right.dims();
        let slices = self.left.val().matmul(self.right.val());
        // Entry (a rows + p, b columns + q) of H is Σ_i R[i, a, b] slice_i[p, q].
        let rule = rule.reshape([n, n * n]).transpose();
        let blocks = rule.matmul(slices.reshape([n, rows * columns]));
        let blocks: Tensor<4> = blocks.reshape([n, n, rows, columns]);
        blocks
            .permute([0, 2, 1, 3])
            .reshape([n * rows, n * columns])
    }
}

/// One of the two projections of an adapter.
// Few are made, and they are not moved about.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum AdapterLinear {
    /// A whole matrix.
    Dense(Linear),
    /// A sum of Kronecker products with a shared rule.
    Phm(PhmLinear),
}

impl AdapterLinear {
    /// Matrix `[in, out]` and bias `[out]`.
    ///
    /// # Panics
    /// If the matrix is made with a rule and there is none.
    pub fn tensors(&self, rule: Option<&Tensor<3>>) -> (Tensor<2>, Tensor<1>) {
        match (self, rule) {
            (Self::Dense(linear), _) => (linear.weight.val(), linear.bias.val()),
            (Self::Phm(phm), Some(rule)) => (phm.weight(rule.clone()), phm.bias.val()),
            (Self::Phm(_), None) => panic!("the shared rule of an adapter is missing"),
        }
    }

    /// # Shapes
    /// `[rows, in]` to `[rows, out]`.
    ///
    /// # Panics
    /// As [`tensors`](Self::tensors).
    pub fn forward(&self, x: Tensor<2>, rule: Option<&Tensor<3>>) -> Tensor<2> {
        if let Self::Dense(linear) = self {
            return linear.forward(x);
        }
        let (weight, bias) = self.tensors(rule);
        let (weight, bias) = (like(weight, &x), like(bias, &x));
        x.matmul(weight) + bias.unsqueeze()
    }

    /// The same with the whole matrix, which does not need the rule any more.
    pub(crate) fn into_dense(self, rule: &Tensor<3>) -> Self {
        let (weight, bias) = self.tensors(Some(rule));
        Self::Dense(Linear {
            weight: Param::from_tensor(weight.detach()),
            bias: Param::from_tensor(bias.detach()),
        })
    }

    /// All tensors below `path`.
    pub(crate) fn named_params(&self, path: &str) -> Vec<NamedParam> {
        match self {
            Self::Dense(linear) => vec![
                NamedParam::transposed(format!("{path}.weight"), &linear.weight),
                NamedParam::new(format!("{path}.bias"), &linear.bias),
            ],
            Self::Phm(phm) => vec![
                NamedParam::new(format!("{path}.W_left"), &phm.left),
                NamedParam::new(format!("{path}.W_right"), &phm.right),
                NamedParam::new(format!("{path}.b"), &phm.bias),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    #[test]
    fn the_matrix_is_a_sum_of_kronecker_products() {
        let device = Device::flex();
        let phm = PhmLinear {
            // Two slices of one row and one column each: 3 and -1, times (1, 2) and (0, 5).
            left: Param::from_tensor(Tensor::from_data([[[3.0]], [[-1.0]]], &device)),
            right: Param::from_tensor(Tensor::from_data([[[1.0, 2.0]], [[0.0, 5.0]]], &device)),
            bias: Param::from_tensor(Tensor::from_data([0.0, 0.0, 0.0, 1.0], &device)),
        };
        let rule = [[[1.0, 2.0], [0.0, -1.0]], [[1.0, 0.0], [4.0, 1.0]]];
        let rule: Tensor<3> = Tensor::from_data(rule, &device);
        // kron([[1, 2], [0, -1]], [3, 6]) + kron([[1, 0], [4, 1]], [0, -5])
        let expected = TensorData::from([[3.0_f32, 1.0, 6.0, 12.0], [0.0, -20.0, -3.0, -11.0]]);
        let weight = phm.weight(rule.clone());
        weight.into_data().assert_eq(&expected, true);
        let x = || Tensor::from_data([[1.0, 1.0]], &device);
        let layer = AdapterLinear::Phm(phm);
        let out = layer.forward(x(), Some(&rule));
        let expected = TensorData::from([[3.0_f32, -19.0, 3.0, 2.0]]);
        out.into_data().assert_eq(&expected, true);
        let dense = layer.into_dense(&rule).forward(x(), None);
        dense.into_data().assert_eq(&expected, true);
    }
}
