//! Two layers with a narrow space between them, and a gate for each sequence.

use pelt_hooks::Packing;

use super::buffer::{dense, elements, sizes, tensor};
use super::op::{FlexOp, FlexTensor};
use super::skinny::{expand, expand_onto, outer, project, transposed};

/// `g s (φ(x A + c) B + e)`. Inputs: `x`, `A`, `B`; then `c` and `e` with `biases`; then `g` with `gate`.
#[derive(Debug, Clone)]
pub(crate) struct Narrow {
    /// Whether there are `c` and `e`.
    pub(crate) biases: bool,
    /// Whether φ is a ReLU; otherwise it does nothing.
    pub(crate) relu: bool,
    /// `s`.
    pub(crate) scale: f32,
    /// Where the sequences lie, of which each has its `g`.
    pub(crate) gate: Option<Packing>,
}

/// What backward reads.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    x: FlexTensor,
    down: FlexTensor,
    /// `B`, and `e` as its last row.
    up: Vec<f32>,
    /// `φ(x A + c)`.
    inner: Vec<f32>,
    /// `g s` of every row.
    factors: Vec<f32>,
}

impl<const N: usize> FlexOp<N> for Narrow {
    type Saved = Saved;

    fn forward(&self, inputs: [FlexTensor; N], tracked: [bool; N]) -> (FlexTensor, Option<Saved>) {
        let inputs = inputs.map(dense);
        let (x, down) = (&inputs[0], &inputs[1]);
        let width = sizes(x)[1];
        let columns = sizes(down)[1];
        let [up_rows, outputs] = [sizes(&inputs[2])[0], sizes(&inputs[2])[1]];
        assert_eq!(
            [sizes(down)[0], up_rows],
            [width, columns],
            "sizes of a narrow network"
        );
        let rows = sizes(x)[0];
        let no_bias = vec![0.0; columns];
        let mut up = elements(&inputs[2]).to_vec();
        let start = match self.biases {
            true => {
                up.extend_from_slice(elements(&inputs[4]));
                elements(&inputs[3])
            }
            false => &no_bias,
        };
        let mut inner = project(elements(x), width, elements(down), start);
        if self.relu {
            for value in &mut inner {
                *value = value.max(0.0);
            }
        }
        let factors = self.factors(&inputs, rows);
        let coefficients = self.with_bias_column(&inner, &factors, columns);
        let output = expand(&coefficients, self.up_rows(columns), &up, outputs);
        let output = tensor(output, vec![rows, outputs]);
        if !tracked.contains(&true) {
            return (output, None);
        }
        let [x, down] = [x, down].map(FlexTensor::clone);
        let saved = Saved {
            x,
            down,
            up,
            inner,
            factors,
        };
        (output, Some(saved))
    }

    fn backward(
        &self,
        saved: Saved,
        gradient: FlexTensor,
        tracked: [bool; N],
        before: &mut [Option<FlexTensor>; N],
    ) -> [Option<FlexTensor>; N] {
        let gradient = dense(gradient);
        let (x, down) = (elements(&saved.x), elements(&saved.down));
        let (width, columns) = (sizes(&saved.x)[1], sizes(&saved.down)[1]);
        let up_rows = self.up_rows(columns);
        let outputs = saved.up.len() / up_rows.max(1);
        let rows = elements(&gradient);
        // Of every row: the gradient times each row of B, then times e.
        let no_bias = vec![0.0; up_rows];
        let back = project(rows, outputs, &transposed(&saved.up, outputs), &no_bias);
        let inner = back_through(&saved, &back, columns, up_rows, self.relu);
        let for_x = tracked[0].then(|| {
            let down = transposed(down, columns);
            match before[0].take() {
                Some(before) => expand_onto(before, &inner, columns, &down),
                None => tensor(expand(&inner, columns, &down, width), sizes(&saved.x)),
            }
        });
        let for_down = tracked[1].then(|| {
            let gradient = outer(&inner, columns, x, width);
            tensor(transposed(&gradient, width), sizes(&saved.down))
        });
        let mut for_up = Vec::new();
        if tracked[2] || (self.biases && tracked[4]) {
            let coefficients = self.with_bias_column(&saved.inner, &saved.factors, columns);
            for_up = outer(&coefficients, up_rows, rows, outputs);
        }
        let mut found = vec![for_x, for_down];
        let (matrix, bias) = for_up.split_at(for_up.len().min(columns * outputs));
        found.push(tracked[2].then(|| tensor(matrix.to_vec(), vec![columns, outputs])));
        if self.biases {
            found.push(tracked[3].then(|| {
                let mut total = vec![0.0; columns];
                super::reduce::add_rows(&mut total, &inner);
                tensor(total, vec![columns])
            }));
            found.push(tracked[4].then(|| tensor(bias.to_vec(), vec![outputs])));
        }
        if let Some(packing) = self.gate.as_ref().filter(|_| tracked[N - 1]) {
            found.push(Some(self.gate_gradient(
                packing,
                &saved.inner,
                &back,
                columns,
            )));
        }
        let mut found = found.into_iter();
        std::array::from_fn(|_| found.next().flatten())
    }
}

impl Narrow {
    /// Rows of `B`, and one more for `e`.
    fn up_rows(&self, columns: usize) -> usize {
        columns + usize::from(self.biases)
    }

    /// `g s` of every row.
    fn factors<const N: usize>(&self, inputs: &[FlexTensor; N], rows: usize) -> Vec<f32> {
        let Some(packing) = &self.gate else {
            return vec![self.scale; rows];
        };
        let gates = elements(&inputs[N - 1]);
        assert_eq!(gates.len(), packing.sequences(), "gates of a batch");
        assert_eq!(rows, packing.tokens(), "rows of a gated batch");
        let lengths = packing.lengths();
        gates
            .iter()
            .zip(lengths)
            .flat_map(|(gate, length)| std::iter::repeat_n(gate * self.scale, length))
            .collect()
    }

    /// Every row of `inner` times its factor, and the factor itself as one more column for `e`.
    fn with_bias_column(&self, inner: &[f32], factors: &[f32], columns: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(factors.len() * self.up_rows(columns));
        for (row, factor) in factors.iter().enumerate() {
            out.extend(inner[row * columns..][..columns].iter().map(|u| u * factor));
            if self.biases {
                out.push(*factor);
            }
        }
        out
    }

    fn gate_gradient(
        &self,
        packing: &Packing,
        inner: &[f32],
        back: &[f32],
        columns: usize,
    ) -> FlexTensor {
        let up_rows = self.up_rows(columns);
        let of_sequence = |sequence: usize| {
            let mut total = 0.0;
            for row in packing.rows(sequence) {
                let (inner, back) = (&inner[row * columns..], &back[row * up_rows..][..up_rows]);
                total += inner
                    .iter()
                    .zip(&back[..columns])
                    .map(|(u, b)| u * b)
                    .sum::<f32>();
                total += back[columns..].iter().sum::<f32>();
            }
            total * self.scale
        };
        let gates: Vec<f32> = (0..packing.sequences()).map(of_sequence).collect();
        let count = gates.len();
        tensor(gates, vec![count, 1])
    }
}

/// The gradient of `x A + c`.
fn back_through(
    saved: &Saved,
    back: &[f32],
    columns: usize,
    up_rows: usize,
    relu: bool,
) -> Vec<f32> {
    let mut out = Vec::with_capacity(saved.inner.len());
    for (row, factor) in saved.factors.iter().enumerate() {
        let (inner, back) = (&saved.inner[row * columns..], &back[row * up_rows..]);
        out.extend(inner[..columns].iter().zip(back).map(|(inner, back)| {
            match relu && *inner <= 0.0 {
                true => 0.0,
                false => back * factor,
            }
        }));
    }
    out
}
