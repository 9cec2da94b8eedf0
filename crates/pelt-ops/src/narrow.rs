//! Two layers with a narrow space between them: LoRA's update, and bottleneck adapters.

use burn::tensor::Tensor;
use pelt_hooks::Packing;

use crate::generic;

/// `g s (φ(x A + c) B + e)`.
///
/// One operation, because with few columns in the middle the passes over wide rows between separate operations would
/// cost more than the arithmetic.
#[derive(Debug, Clone)]
pub struct Narrow<'a> {
    /// A, `[in, r]`.
    pub down: Tensor<2>,
    /// B, `[r, out]`.
    pub up: Tensor<2>,
    /// c, `[r]`, and e, `[out]`; zero without.
    pub biases: Option<(Tensor<1>, Tensor<1>)>,
    /// Whether φ is a ReLU; otherwise it does nothing.
    pub relu: bool,
    /// s.
    pub scale: f64,
    /// g, `[sequences, 1]`, and where the sequences lie in `x`; 1 without.
    pub gate: Option<(Tensor<2>, &'a Packing)>,
}

impl Narrow<'_> {
    /// # Shapes
    /// `[rows, in]` to `[rows, out]`.
    pub fn forward(self, x: Tensor<2>) -> Tensor<2> {
        #[cfg(feature = "flex")]
        if self.kernel_serves(&x) {
            return self.kernel(x);
        }
        generic::narrow(self, x)
    }

    #[cfg(feature = "flex")]
    fn kernel_serves(&self, x: &Tensor<2>) -> bool {
        use crate::flex::serves;
        let biases = self.biases.as_ref();
        [x, &self.down, &self.up].into_iter().all(serves)
            && biases.is_none_or(|(down, up)| serves(down) && serves(up))
            && self.gate.as_ref().is_none_or(|(gate, _)| serves(gate))
    }

    #[cfg(feature = "flex")]
    fn kernel(self, x: Tensor<2>) -> Tensor<2> {
        use crate::flex::{narrow, run};
        let op = narrow::Narrow {
            biases: self.biases.is_some(),
            relu: self.relu,
            scale: self.scale as f32,
            gate: self.gate.as_ref().map(|(_, packing)| (*packing).clone()),
        };
        let [x, down, up] = [x, self.down, self.up].map(Tensor::into_dispatch);
        let gate = self.gate.map(|(gate, _)| gate.into_dispatch());
        let biases = self
            .biases
            .map(|(down, up)| [down, up].map(Tensor::into_dispatch));
        match (biases, gate) {
            (None, None) => run(op, [x, down, up]),
            (None, Some(gate)) => run(op, [x, down, up, gate]),
            (Some([c, e]), None) => run(op, [x, down, up, c, e]),
            (Some([c, e]), Some(gate)) => run(op, [x, down, up, c, e, gate]),
        }
    }
}
