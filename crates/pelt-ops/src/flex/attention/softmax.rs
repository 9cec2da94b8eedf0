//! Softmax of the scores of a block of queries.

use crate::flex::math::exp;
use crate::flex::vectorise::{Arithmetic, LANES, sum, vectorised};
use crate::mask::Mask;

/// The dropout mask of a block of rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockMask {
    pub(super) mask: Mask,
    /// Number of the block's first row.
    pub(super) first_row: u64,
}

vectorised! {
    /// Turns the first `columns` scores of each of the rows into their softmax, and drops weights. There are as many rows
    /// as normalisers, of one length.
    fn softmax(
        scores: &mut [f32],
        columns: usize,
        normalisers: &mut [f32],
        mask: Option<BlockMask>,
    ) = softmax_body
}

#[inline(always)]
fn softmax_body<A: Arithmetic>(
    scores: &mut [f32],
    columns: usize,
    normalisers: &mut [f32],
    mask: Option<BlockMask>,
) {
    let length = scores.len() / normalisers.len().max(1);
    let rows = scores.chunks_exact_mut(length.max(1)).zip(normalisers);
    for (number, (row, normaliser)) in rows.enumerate() {
        let row = &mut row[..columns];
        let largest = maximum(row);
        for score in row.iter_mut() {
            *score = exp::<A>(*score - largest);
        }
        let total = sum(row, row, row, |weight, _, _| weight);
        *normaliser = largest + total.ln();
        let scale = 1.0 / total;
        match mask {
            None => {
                for weight in row.iter_mut() {
                    *weight *= scale;
                }
            }
            Some(BlockMask { mask, first_row }) => {
                let key = mask.row(first_row + number as u64);
                for (column, weight) in row.iter_mut().enumerate() {
                    *weight *= scale * mask.factor(key, column as u32);
                }
            }
        }
    }
}

#[inline(always)]
fn maximum(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], chunk[lane]);
        }
    }
    let all = lanes.into_iter().fold(f32::NEG_INFINITY, larger);
    rest.iter().copied().fold(all, larger)
}

/// What the gradient of a block of scores is made from, apart from the scores.
pub(super) struct Rows<'a> {
    /// `ln Σ exp(score)` of each row.
    pub(super) normalisers: &'a [f32],
    /// The product of output and output's gradient in each row.
    pub(super) products: &'a [f32],
    /// Scores that count in each row.
    pub(super) columns: usize,
    pub(super) mask: Option<BlockMask>,
}

vectorised! {
    /// From scores and the gradient of the dropped weights to the dropped weights and the gradient of the scores, each
    /// in its place.
    fn softmax_backward(scores: &mut [f32], gradient: &mut [f32], rows: &Rows<'_>) = backward_body
}

#[inline(always)]
fn backward_body<A: Arithmetic>(scores: &mut [f32], gradient: &mut [f32], rows: &Rows<'_>) {
    let length = (scores.len() / rows.products.len().max(1)).max(1);
    let blocks = scores
        .chunks_exact_mut(length)
        .zip(gradient.chunks_exact_mut(length));
    let values = rows.normalisers.iter().zip(rows.products);
    for (number, ((scores, gradient), values)) in blocks.zip(values).enumerate() {
        let (scores, gradient) = (&mut scores[..rows.columns], &mut gradient[..rows.columns]);
        // By value: a reference would be read again for every column, one column at a time.
        let (normaliser, product) = (*values.0, *values.1);
        match rows.mask {
            None => {
                for (score, gradient) in scores.iter_mut().zip(gradient) {
                    let weight = exp::<A>(*score - normaliser);
                    *gradient = weight * (*gradient - product);
                    *score = weight;
                }
            }
            Some(BlockMask { mask, first_row }) => {
                let key = mask.row(first_row + number as u64);
                let pairs = scores.iter_mut().zip(gradient);
                for (column, (score, gradient)) in pairs.enumerate() {
                    let factor = mask.factor(key, column as u32);
                    let weight = exp::<A>(*score - normaliser);
                    *gradient = weight * A::mul_add(factor, *gradient, -product);
                    *score = weight * factor;
                }
            }
        }
    }
}
