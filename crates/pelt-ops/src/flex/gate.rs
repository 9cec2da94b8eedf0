//! Gates: a mean of sigmoids over every sequence.

use pelt_hooks::Packing;

use super::buffer::{dense, elements, sizes, tensor};
use super::math::exp;
use super::op::{FlexOp, FlexTensor};
use super::skinny::{expand, expand_onto, outer, project, transposed};
use super::vectorise::{Arithmetic, vectorised};

/// `mean over the sequence of σ(x W + b)`. Inputs: `x`, `W`, `b`.
#[derive(Debug, Clone)]
pub(crate) struct Gate(pub(crate) Packing);

/// What backward reads.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    x: FlexTensor,
    weight: FlexTensor,
    /// `σ(x W + b)`.
    sigmoids: Vec<f32>,
}

impl FlexOp<3> for Gate {
    type Saved = Saved;

    fn forward(&self, inputs: [FlexTensor; 3], tracked: [bool; 3]) -> (FlexTensor, Option<Saved>) {
        let [x, weight, bias] = inputs.map(dense);
        let (width, columns) = (sizes(&x)[1], sizes(&weight)[1]);
        assert_eq!(sizes(&x)[0], self.0.tokens(), "rows of a gated batch");
        assert_eq!(sizes(&weight)[0], width, "width of a gate");
        let mut sigmoids = project(elements(&x), width, elements(&weight), elements(&bias));
        sigmoid(&mut sigmoids);
        let mut means = vec![0.0; self.0.sequences() * columns];
        for (sequence, means) in means.chunks_exact_mut(columns).enumerate() {
            let rows = self.0.rows(sequence);
            let length = rows.len() as f32;
            super::reduce::add_rows(means, &sigmoids[rows.start * columns..rows.end * columns]);
            means.iter_mut().for_each(|mean| *mean /= length);
        }
        let output = tensor(means, vec![self.0.sequences(), columns]);
        let saved = tracked.contains(&true).then_some(Saved {
            x,
            weight,
            sigmoids,
        });
        (output, saved)
    }

    fn backward(
        &self,
        saved: Saved,
        gradient: FlexTensor,
        tracked: [bool; 3],
        before: &mut [Option<FlexTensor>; 3],
    ) -> [Option<FlexTensor>; 3] {
        let gradient = dense(gradient);
        let gradient = elements(&gradient);
        let (width, columns) = (sizes(&saved.x)[1], sizes(&saved.weight)[1]);
        let mut scores = saved.sigmoids;
        for sequence in 0..self.0.sequences() {
            let rows = self.0.rows(sequence);
            let length = rows.len() as f32;
            let gradient = &gradient[sequence * columns..][..columns];
            let scores = &mut scores[rows.start * columns..rows.end * columns];
            for scores in scores.chunks_exact_mut(columns) {
                for (score, gradient) in scores.iter_mut().zip(gradient) {
                    *score *= (1.0 - *score) * gradient / length;
                }
            }
        }
        let weight = elements(&saved.weight);
        [
            tracked[0].then(|| {
                let weight = transposed(weight, columns);
                match before[0].take() {
                    Some(before) => expand_onto(before, &scores, columns, &weight),
                    None => tensor(expand(&scores, columns, &weight, width), sizes(&saved.x)),
                }
            }),
            tracked[1].then(|| {
                let total = outer(&scores, columns, elements(&saved.x), width);
                tensor(transposed(&total, width), sizes(&saved.weight))
            }),
            tracked[2].then(|| {
                let mut total = vec![0.0; columns];
                super::reduce::add_rows(&mut total, &scores);
                tensor(total, vec![columns])
            }),
        ]
    }
}

vectorised! {
    fn sigmoid(values: &mut [f32]) = sigmoid_body
}

#[inline(always)]
fn sigmoid_body<A: Arithmetic>(values: &mut [f32]) {
    for value in values {
        *value = 1.0 / (1.0 + exp::<A>(-*value));
    }
}
