//! Multi-head attention over packed sequences.

use burn::tensor::{Device, Int, Tensor, TensorData, activation::softmax};
use pelt_hooks::{KeyValue, Packing};

use super::dropout::masked;
use crate::AttentionLayout;
use crate::attention::{mask, mask_row};
use crate::parts::tunes_for_shapes;
use crate::precision::{full, like};

/// What [`attention`](crate::attention) computes, over sequences padded to the longest.
///
/// # Panics
/// If the tensors do not fit the layout.
pub fn attention(
    query: Tensor<2>,
    key: Tensor<2>,
    value: Tensor<2>,
    prefixes: Vec<KeyValue>,
    layout: &AttentionLayout,
) -> Tensor<2> {
    let [_, width] = query.dims();
    let head_width = width / layout.heads;
    let sequences = layout.keys.sequences();

    let prefix_rows: usize = prefixes.iter().map(|prefix| prefix.key.dims()[0]).sum();
    let step = match tunes_for_shapes(&query.device()) {
        true => SHAPE_STEP,
        false => 1,
    };
    let padded_queries = Padded::new(&layout.queries, 0, step);
    let padded_keys = Padded::new(&layout.keys, prefix_rows, step);
    let query = padded_queries.split_heads(query, layout.heads);
    let mut keys = vec![];
    let mut values = vec![];
    for prefix in prefixes {
        let rows = |rows, gate| like(expand(rows, gate, sequences, layout.heads), &key);
        keys.push(rows(prefix.key, prefix.key_gate));
        values.push(rows(prefix.value, prefix.value_gate));
    }
    keys.push(padded_keys.split_heads(key, layout.heads));
    values.push(padded_keys.split_heads(value, layout.heads));
    let keys = Tensor::cat(keys, 2);
    let values = Tensor::cat(values, 2);

    let scores = query.matmul(keys.swap_dims(2, 3));
    let mut scores = full(scores) / (head_width as f64).sqrt();
    if let Some(mask) = padded_keys.mask(prefix_rows, &scores.device().inner()) {
        scores = scores + mask;
    }
    let mut weights = softmax(scores, 3);
    if let Some(mask) = mask(layout) {
        let [sequences, heads, queries, _] = weights.dims();
        let rows = (0..sequences * heads)
            .flat_map(|head| (0..queries).map(move |query| mask_row(head) + query as u64));
        weights = masked(weights, &mask, rows);
    }
    let weights = like(weights, &values);
    padded_queries.join_heads(weights.matmul(values))
}

/// A prefix for every sequence: `[prefix, d]` to `[sequences, heads, prefix, d_head]`.
fn expand(rows: Tensor<2>, gate: Option<Tensor<2>>, sequences: usize, heads: usize) -> Tensor<4> {
    let [length, width] = rows.dims();
    let rows = rows
        .reshape([1, length, heads, width / heads])
        .swap_dims(1, 2);
    match gate {
        Some(gate) => rows * gate.reshape([sequences, 1, 1, 1]),
        None => rows.repeat_dim(0, sequences),
    }
}

/// Where shapes should be few, padded lengths are multiples of this.
const SHAPE_STEP: usize = 16;

/// The padded view that attention alone needs.
struct Padded<'a> {
    packing: &'a Packing,
    /// Rows of every sequence, padding included.
    longest: usize,
    full: bool,
}

impl<'a> Padded<'a> {
    /// Sequences of equal length need no padding; others are padded so that with the rows in front of each there is a
    /// multiple of `step`.
    fn new(packing: &'a Packing, in_front: usize, step: usize) -> Self {
        let longest = packing.longest();
        let tokens = packing.tokens();
        // Rows behind the last sequence may make up for what shorter sequences lack.
        let full = longest * packing.sequences() == tokens && tokens == packing.all_rows();
        // A single row is a pooled one and stays so.
        let longest = match full || longest == 1 {
            true => longest,
            false => (in_front + longest).next_multiple_of(step) - in_front,
        };
        Self {
            packing,
            longest,
            full,
        }
    }

    /// `[all rows, d]` to `[sequences, heads, longest, d_head]`; rows past a sequence's end repeat its last row.
    fn split_heads(&self, rows: Tensor<2>, heads: usize) -> Tensor<4> {
        let [_, width] = rows.dims();
        let rows = match self.full {
            true => rows,
            false => {
                let offsets = self.packing.offsets();
                let index = offsets.windows(2).flat_map(|pair| {
                    (0..self.longest).map(|row| (pair[0] + row).min(pair[1] - 1) as i64)
                });
                let device = rows.device().inner();
                rows.select(0, int_tensor(index.collect(), &device))
            }
        };
        rows.reshape([self.packing.sequences(), self.longest, heads, width / heads])
            .swap_dims(1, 2)
    }

    /// The inverse: `[sequences, heads, longest, d_head]` to `[all rows, d]`; padded rows get those of some sequence.
    fn join_heads(&self, padded: Tensor<4>) -> Tensor<2> {
        let [sequences, heads, longest, head_width] = padded.dims();
        let rows = padded
            .swap_dims(1, 2)
            .reshape([sequences * longest, heads * head_width]);
        if self.full {
            return rows;
        }
        let index = self
            .packing
            .lengths()
            .enumerate()
            .flat_map(|(sequence, length)| {
                (0..length).map(move |row| (sequence * longest + row) as i64)
            });
        let padding = self.packing.all_rows() - self.packing.tokens();
        let index = index.chain(std::iter::repeat_n(0, padding));
        let device = rows.device().inner();
        rows.select(0, int_tensor(index.collect(), &device))
    }

    /// `[sequences, 1, 1, prefix + longest]`: 0 at keys that exist, a very negative number elsewhere.
    fn mask(&self, prefix: usize, device: &Device) -> Option<Tensor<4>> {
        if self.full {
            return None;
        }
        let columns = prefix + self.longest;
        let mut mask = vec![0.0_f32; self.packing.sequences() * columns];
        for (row, length) in mask.chunks_exact_mut(columns).zip(self.packing.lengths()) {
            row[prefix + length..].fill(-1.0e30);
        }
        let shape = [self.packing.sequences(), 1, 1, columns];
        Some(Tensor::from_data(TensorData::new(mask, shape), device))
    }
}

fn int_tensor(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_rounded_together_with_the_rows_in_front() {
        let longest = |lengths: &[usize], in_front, step| {
            let packing = Packing::new(lengths.iter().copied());
            Padded::new(&packing, in_front, step).longest
        };
        assert_eq!(longest(&[3, 5], 0, 1), 5);
        assert_eq!(longest(&[3, 5], 4, 16), 12);
        assert_eq!(longest(&[3, 20], 4, 16), 28);
        assert_eq!(longest(&[20, 20], 4, 16), 20);
        assert_eq!(longest(&[1, 1], 0, 16), 1);
        let filled_up = Packing::new([5, 3]).padded(2);
        assert!(!Padded::new(&filled_up, 0, 1).full);
        assert!(Padded::new(&Packing::new([5, 5]), 0, 1).full);
    }
}
