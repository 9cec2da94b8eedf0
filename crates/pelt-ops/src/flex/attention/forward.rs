//! Output of packed attention.

use super::softmax::{BlockMask, softmax};
use super::{Problem, Task};
use crate::flex::parallel::for_each_with;
use crate::flex::product::{Matrix, MatrixMut, Shared};
use crate::flex::small::{Output, multiply, transpose_padded};
use crate::mask::Mask;

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
    let tasks = attention.keys.sequences() * attention.heads;
    for_each_with(tasks, Scratch::default, |scratch, number| {
        let task = problem.task(number / attention.heads, number % attention.heads);
        buffers.run(problem, &task, scratch);
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
    fn run(&self, problem: &Problem<'_>, task: &Task<'_>, scratch: &mut Scratch) {
        let columns = task.columns;
        // A query without any key gets zeros, which the output holds already.
        if columns == 0 {
            return;
        }
        let Scratch {
            scores,
            gated,
            transposed,
        } = scratch;
        let [keys, values] = task.gated(gated);
        let keys = transpose_padded(keys, transposed);
        for (start, count) in task.blocks() {
            let queries = task.queries.rows_from(start, count);
            compute_scores(scores, queries, keys, problem.scale);
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
            let weights = Matrix::new(scores, count, columns, keys.columns());
            multiply(&mut output, Output::Set, 1.0, weights, values);
        }
    }
}

/// Buffers of one thread.
#[derive(Default)]
struct Scratch {
    scores: Vec<f32>,
    /// Keys and values with their gates multiplied in.
    gated: [Vec<f32>; 2],
    /// The transpose of those keys.
    transposed: Vec<f32>,
}

/// `scale * queries * keys`, where `keys` holds one key in each of its columns, padded columns included.
pub(super) fn compute_scores(
    scores: &mut Vec<f32>,
    queries: Matrix<'_>,
    keys: Matrix<'_>,
    scale: f32,
) {
    let (rows, columns) = (queries.rows(), keys.columns());
    scores.resize(rows * columns, 0.0);
    let mut scores = MatrixMut::new(scores, rows, columns, columns);
    multiply(&mut scores, Output::Set, scale, queries, keys);
}

/// The mask of the block that begins at query `start` of a task.
pub(super) fn block_mask(mask: Option<Mask>, task: &Task<'_>, start: usize) -> Option<BlockMask> {
    mask.map(|mask| BlockMask {
        mask,
        first_row: task.mask_row + start as u64,
    })
}
