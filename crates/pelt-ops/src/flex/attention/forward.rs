//! Output of packed attention.

use rayon::prelude::*;

use super::softmax::{BlockMask, softmax};
use super::{BLOCK, Problem, Segment, Task};
use crate::flex::mask::Mask;
use crate::flex::product::{Matrix, MatrixMut, Output, Shared, multiply};

/// The output, and the normaliser of every row of scores.
pub(super) fn forward(problem: &Problem<'_>) -> (Vec<f32>, Vec<f32>) {
    let attention = problem.attention;
    let mut output = vec![0.0; problem.query.len()];
    let mut normalisers = vec![0.0; attention.queries.tokens() * attention.heads];
    let buffers = Buffers {
        output: Shared::new(&mut output),
        normalisers: Shared::new(&mut normalisers),
        mask: attention.mask,
    };
    (0..attention.keys.sequences() * attention.heads)
        .into_par_iter()
        .for_each_init(Vec::new, |scores, number| {
            let task = problem.task(number / attention.heads, number % attention.heads);
            buffers.run(problem, &task, scores);
        });
    (output, normalisers)
}

struct Buffers<'a> {
    output: Shared<'a>,
    normalisers: Shared<'a>,
    mask: Option<Mask>,
}

impl Buffers<'_> {
    #[allow(unsafe_code)]
    fn run(&self, problem: &Problem<'_>, task: &Task<'_>, scores: &mut Vec<f32>) {
        let columns = task.columns;
        // A query without any key gets zeros, which the output holds already.
        if columns == 0 {
            return;
        }
        for start in (0..task.queries.rows()).step_by(BLOCK) {
            let count = BLOCK.min(task.queries.rows() - start);
            let queries = task.queries.rows_from(start, count);
            scores.resize(count * columns, 0.0);
            compute_scores(scores, columns, queries, &task.segments, problem.scale);
            // SAFETY: each query of each head has a normaliser of its own, and is in one block of one task.
            let normalisers = unsafe { self.normalisers.slice(task.normaliser + start, count) };
            let mask = block_mask(self.mask, task, start);
            softmax(scores, columns, normalisers, mask);

            let first = task.query_start + start * problem.width;
            // SAFETY: the columns of one head in the rows of one block of queries are written by this block alone.
            let mut output = unsafe {
                let (width, head_width) = (problem.width, problem.head_width);
                self.output.matrix(first, count, head_width, width)
            };
            let mut mode = Output::Set;
            for segment in &task.segments {
                let length = segment.keys.rows();
                if length > 0 {
                    let weights = Matrix::new(&scores[segment.column..], count, length, columns);
                    let gate = segment.value_gate;
                    multiply(&mut output, mode, gate, weights, segment.values);
                    mode = Output::Add;
                }
            }
        }
    }
}

/// `scale * gate * queries * keysᵀ`, segment after segment.
pub(super) fn compute_scores(
    scores: &mut [f32],
    columns: usize,
    queries: Matrix<'_>,
    segments: &[Segment<'_>],
    scale: f32,
) {
    for segment in segments {
        let length = segment.keys.rows();
        if length > 0 {
            let scores = &mut scores[segment.column..];
            let mut part = MatrixMut::new(scores, queries.rows(), length, columns);
            let scale = scale * segment.key_gate;
            let keys = segment.keys.transposed();
            multiply(&mut part, Output::Set, scale, queries, keys);
        }
    }
}

/// The mask of the block that begins at query `start` of a task.
pub(super) fn block_mask(mask: Option<Mask>, task: &Task<'_>, start: usize) -> Option<BlockMask> {
    mask.map(|mask| BlockMask {
        mask,
        first_row: task.mask_row + start as u64,
    })
}
