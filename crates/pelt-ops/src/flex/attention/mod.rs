//! Attention over packed sequences.
//!
//! One task is one head of one sequence. Scores live in a small buffer of the thread, a block of queries at a time;
//! backward computes them again from queries, keys and the logarithm of every row's normaliser.

mod backward;
mod forward;
mod softmax;

use std::sync::Arc;

use pelt_hooks::Packing;

use super::buffer::{dense, elements, sizes, tensor};
use super::op::{FlexOp, FlexTensor};
use super::product::Matrix;
use crate::attention::mask_row;
use crate::mask::Mask;

/// Inputs that every call has: query, key, value.
pub(crate) const ROWS: usize = 3;

/// Inputs for each prefix: keys, values, the gates of the keys, the gates of the values.
pub(crate) const PREFIX: usize = 4;

/// The most queries whose scores are in memory at a time.
const BLOCK: usize = 64;

/// Packed attention; its inputs are [`ROWS`] tensors and [`PREFIX`] more for each prefix.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub(crate) keys: Packing,
    pub(crate) queries: Packing,
    pub(crate) heads: usize,
    pub(crate) mask: Option<Mask>,
}

/// What backward reads.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    inputs: Vec<FlexTensor>,
    output: FlexTensor,
    /// `ln Σ exp(score)` of every query: for each sequence, its queries under the first head, the second, ...
    normalisers: Arc<[f32]>,
}

impl<const N: usize> FlexOp<N> for Attention {
    type Saved = Saved;

    fn forward(&self, inputs: [FlexTensor; N], tracked: [bool; N]) -> (FlexTensor, Option<Saved>) {
        let inputs: Vec<FlexTensor> = inputs.into_iter().map(dense).collect();
        let shape = sizes(&inputs[0]);
        let (output, normalisers) = forward::forward(&self.problem(&inputs));
        let output = tensor(output, shape);
        let saved = tracked.contains(&true).then(|| Saved {
            inputs,
            output: output.clone(),
            normalisers: normalisers.into(),
        });
        (output, saved)
    }

    fn backward(
        &self,
        saved: Saved,
        gradient: FlexTensor,
        tracked: [bool; N],
        _before: &mut [Option<FlexTensor>; N],
    ) -> [Option<FlexTensor>; N] {
        let gradient = dense(gradient);
        let found = backward::backward(
            &self.problem(&saved.inputs),
            &backward::Results {
                gradient: elements(&gradient),
                output: elements(&saved.output),
                normalisers: &saved.normalisers,
            },
            &tracked,
        );
        let mut tensors = found
            .into_iter()
            .zip(&saved.inputs)
            .map(|(found, input)| found.map(|found| tensor(found, sizes(input))));
        std::array::from_fn(|_| tensors.next().flatten())
    }
}

impl Attention {
    fn problem<'a>(&'a self, inputs: &'a [FlexTensor]) -> Problem<'a> {
        let width = sizes(&inputs[0])[1];
        let head_width = width / self.heads;
        Problem {
            attention: self,
            query: elements(&inputs[0]),
            key: elements(&inputs[1]),
            value: elements(&inputs[2]),
            prefixes: inputs[ROWS..]
                .chunks_exact(PREFIX)
                .map(|prefix| Prefix {
                    length: sizes(&prefix[0])[0],
                    key: elements(&prefix[0]),
                    value: elements(&prefix[1]),
                    key_gate: elements(&prefix[2]),
                    value_gate: elements(&prefix[3]),
                })
                .collect(),
            width,
            head_width,
            scale: 1.0 / (head_width as f32).sqrt(),
        }
    }
}

/// The inputs as slices.
struct Problem<'a> {
    attention: &'a Attention,
    query: &'a [f32],
    key: &'a [f32],
    value: &'a [f32],
    prefixes: Vec<Prefix<'a>>,
    width: usize,
    head_width: usize,
    scale: f32,
}

struct Prefix<'a> {
    length: usize,
    key: &'a [f32],
    value: &'a [f32],
    /// One number per sequence.
    key_gate: &'a [f32],
    /// One number per sequence.
    value_gate: &'a [f32],
}

/// A run of keys and values that the queries of one head and sequence see.
#[derive(Clone, Copy)]
struct Segment<'a> {
    /// Its first column among the scores.
    column: usize,
    keys: Matrix<'a>,
    values: Matrix<'a>,
    key_gate: f32,
    value_gate: f32,
}

/// One head of one sequence.
struct Task<'a> {
    /// Prefixes, then the sequence's own rows.
    segments: Vec<Segment<'a>>,
    queries: Matrix<'a>,
    /// Number of scores in a row.
    columns: usize,
    /// Index of the first query's first element, in the tensor of all queries and in the output.
    query_start: usize,
    /// Index of the first key's first element, in the tensor of all keys and in that of all values.
    key_start: usize,
    /// Index of the first query's normaliser.
    normaliser: usize,
    /// Number of the first row of scores for the dropout mask.
    mask_row: u64,
}

impl Task<'_> {
    /// The keys and values of all segments under one another, each times its gate. Without a prefix they are where they
    /// are; otherwise they are copied into `buffers`, because one product over all of them is faster than several.
    fn gated<'b>(&'b self, buffers: &'b mut [Vec<f32>; 2]) -> [Matrix<'b>; 2] {
        if let [own] = self.segments.as_slice() {
            return [own.keys, own.values];
        }
        let [keys, values] = buffers;
        keys.clear();
        values.clear();
        for segment in &self.segments {
            for row in 0..segment.keys.rows() {
                keys.extend(segment.keys.row(row).iter().map(|k| k * segment.key_gate));
                values.extend(
                    segment
                        .values
                        .row(row)
                        .iter()
                        .map(|v| v * segment.value_gate),
                );
            }
        }
        let width = self.queries.columns();
        [keys, values].map(|rows| Matrix::new(rows, self.columns, width, width))
    }

    /// Blocks of queries of about the same size, as `(first, count)`.
    fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let rows = self.queries.rows();
        let step = rows.div_ceil(rows.div_ceil(BLOCK).max(1)).max(1);
        (0..rows)
            .step_by(step)
            .map(move |start| (start, step.min(rows - start)))
    }
}

impl<'a> Problem<'a> {
    fn task(&self, sequence: usize, head: usize) -> Task<'a> {
        let (width, head_width) = (self.width, self.head_width);
        let first = head * head_width;
        let rows = |rows: &'a [f32], start: usize, count: usize| {
            let start = (start * width + first).min(rows.len());
            Matrix::new(&rows[start..], count, head_width, width)
        };
        let mut column = 0;
        let mut segments = Vec::with_capacity(self.prefixes.len() + 1);
        for prefix in &self.prefixes {
            segments.push(Segment {
                column,
                keys: rows(prefix.key, 0, prefix.length),
                values: rows(prefix.value, 0, prefix.length),
                key_gate: prefix.key_gate[sequence],
                value_gate: prefix.value_gate[sequence],
            });
            column += prefix.length;
        }
        let keys = self.attention.keys.rows(sequence);
        segments.push(Segment {
            column,
            keys: rows(self.key, keys.start, keys.len()),
            values: rows(self.value, keys.start, keys.len()),
            key_gate: 1.0,
            value_gate: 1.0,
        });
        let queries = self.attention.queries.rows(sequence);
        Task {
            segments,
            columns: column + keys.len(),
            queries: rows(self.query, queries.start, queries.len()),
            query_start: queries.start * width + first,
            key_start: keys.start * width + first,
            normaliser: queries.start * self.attention.heads + head * queries.len(),
            mask_row: mask_row(sequence * self.attention.heads + head),
        }
    }
}
