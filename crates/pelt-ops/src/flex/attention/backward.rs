//! Gradients of packed attention.

use super::forward::{block_mask, compute_scores};
use super::softmax::{Rows, softmax_backward};
use super::{PREFIX, Problem, ROWS, Segment, Task};
use crate::flex::parallel::for_each_with;
use crate::flex::product::{Matrix, MatrixMut, Shared};
use crate::flex::reduce::add_rows;
use crate::flex::small::{Output, multiply, transpose_padded};
use crate::flex::vectorise::sum;

/// Into how many groups sequences are divided for the gradients that are summed over sequences. The number is fixed, so
/// that the order of additions is the same for any number of threads.
const GROUPS: usize = 8;

/// What forward gave, and the gradient of its output.
pub(super) struct Results<'a> {
    pub(super) gradient: &'a [f32],
    pub(super) output: &'a [f32],
    pub(super) normalisers: &'a [f32],
}

/// The gradient of every tracked input, in the order of the inputs.
pub(super) fn backward(
    problem: &Problem<'_>,
    results: &Results<'_>,
    tracked: &[bool],
) -> Vec<Option<Vec<f32>>> {
    let heads = problem.attention.heads;
    let sequences = problem.attention.keys.sequences();
    let prefix_tracked = tracked[ROWS..].contains(&true);
    let group = if prefix_tracked {
        sequences.div_ceil(GROUPS).max(1)
    } else {
        1
    };
    let groups = sequences.div_ceil(group);

    let space = |wanted: bool, count: usize| vec![0.0_f32; if wanted { count } else { 0 }];
    let mut query = space(tracked[0], problem.query.len());
    let mut key = space(tracked[1], problem.key.len());
    let mut value = space(tracked[2], problem.value.len());
    // Of each prefix: partial sums of every group for keys and values, partial sums of every head for the gates.
    let mut prefixes: Vec<[Vec<f32>; PREFIX]> = problem
        .prefixes
        .iter()
        .zip(tracked[ROWS..].chunks_exact(PREFIX))
        .map(|(prefix, tracked)| {
            [
                space(tracked[0], groups * prefix.key.len()),
                space(tracked[1], groups * prefix.value.len()),
                space(tracked[2], heads * sequences),
                space(tracked[3], heads * sequences),
            ]
        })
        .collect();

    let targets = Targets {
        problem,
        results,
        query: tracked[0].then(|| Shared::new(&mut query)),
        key: tracked[1].then(|| Shared::new(&mut key)),
        value: tracked[2].then(|| Shared::new(&mut value)),
        prefixes: prefixes
            .iter_mut()
            .zip(tracked[ROWS..].chunks_exact(PREFIX))
            .map(|(parts, tracked)| {
                let mut tracked = tracked.iter();
                parts.each_mut().map(|part| {
                    tracked
                        .next()
                        .is_some_and(|wanted| *wanted)
                        .then(|| Shared::new(part))
                })
            })
            .collect(),
    };
    for_each_with(groups * heads, Scratch::default, |scratch, number| {
        let (number, head) = (number / heads, number % heads);
        for sequence in number * group..sequences.min((number + 1) * group) {
            let place = Place {
                group: number,
                sequence,
                head,
            };
            targets.run(&problem.task(sequence, head), &place, scratch);
        }
    });
    drop(targets);

    let mut found = vec![Some(query), Some(key), Some(value)];
    for (parts, prefix) in prefixes.into_iter().zip(&problem.prefixes) {
        let lengths = [prefix.key.len(), prefix.value.len(), sequences, sequences];
        for (part, length) in parts.iter().zip(lengths) {
            let mut total = vec![0.0; length];
            add_rows(&mut total, part);
            found.push(Some(total));
        }
    }
    for (found, tracked) in found.iter_mut().zip(tracked) {
        if !tracked {
            *found = None;
        }
    }
    found
}

/// Where the gradients go; `None` where one is not asked for.
struct Targets<'a> {
    problem: &'a Problem<'a>,
    results: &'a Results<'a>,
    query: Option<Shared<'a>>,
    key: Option<Shared<'a>>,
    value: Option<Shared<'a>>,
    prefixes: Vec<[Option<Shared<'a>>; PREFIX]>,
}

/// Which head and sequence a task is, and the group that its sums go to.
struct Place {
    group: usize,
    sequence: usize,
    head: usize,
}

/// A block of queries of a task, and all that they see.
struct Block<'a> {
    task: &'a Task<'a>,
    start: usize,
    count: usize,
    keys: Matrix<'a>,
    /// Keys and values, one in each column.
    transposed: [Matrix<'a>; 2],
}

/// Buffers of one thread.
#[derive(Default)]
struct Scratch {
    scores: Vec<f32>,
    gradient: Vec<f32>,
    products: Vec<f32>,
    /// Keys and values with their gates multiplied in.
    gated: [Vec<f32>; 2],
    /// The gradients of those, where there is a prefix.
    gated_gradients: [Vec<f32>; 2],
    /// The transposes of keys and values.
    transposed: [Vec<f32>; 2],
}

impl<'a> Targets<'a> {
    #[allow(unsafe_code)]
    fn run(&self, task: &Task<'_>, place: &Place, scratch: &mut Scratch) {
        // Without a key nothing has been computed, and without a query nothing depends on the keys.
        if task.columns == 0 || task.queries.rows() == 0 {
            return;
        }
        let Problem {
            width, head_width, ..
        } = *self.problem;
        let Scratch {
            scores,
            gradient,
            products,
            gated,
            gated_gradients,
            transposed: [keys_space, values_space],
        } = scratch;
        let [keys, values] = task.gated(gated);
        let transposed = [
            transpose_padded(keys, keys_space),
            transpose_padded(values, values_space),
        ];
        let own = |target: &Option<Shared<'a>>| {
            // SAFETY: the columns of one head in the rows of one sequence are written by this task alone.
            let matrix = |target: &Shared<'a>| unsafe {
                target.matrix(task.key_start, task.columns, head_width, width)
            };
            target.as_ref().map(matrix)
        };
        let [mut key, mut value] = match self.prefixes.is_empty() {
            true => [own(&self.key), own(&self.value)],
            false => gated_gradients.each_mut().map(|buffer| {
                buffer.resize(task.columns * head_width, 0.0);
                Some(MatrixMut::new(buffer, task.columns, head_width, head_width))
            }),
        };
        for (start, count) in task.blocks() {
            let block = Block {
                task,
                start,
                count,
                keys,
                transposed,
            };
            self.block(&block, [scores, gradient, products], [&mut key, &mut value]);
        }
        if !self.prefixes.is_empty() {
            self.finish(task, place, gated_gradients);
        }
    }

    #[allow(unsafe_code)]
    fn block(
        &self,
        block: &Block<'_>,
        [scores, score_gradient, products]: [&mut Vec<f32>; 3],
        [key, value]: [&mut Option<MatrixMut<'_>>; 2],
    ) {
        let Block {
            task,
            start,
            count,
            keys,
            transposed: [keys_transposed, values_transposed],
        } = *block;
        let (problem, columns) = (self.problem, task.columns);
        let (width, head_width) = (problem.width, problem.head_width);
        let queries = task.queries.rows_from(start, count);
        let first = task.query_start + start * width;
        let output = Matrix::new(&self.results.output[first..], count, head_width, width);
        let gradient = Matrix::new(&self.results.gradient[first..], count, head_width, width);

        compute_scores(scores, queries, keys_transposed, problem.scale);
        compute_scores(score_gradient, gradient, values_transposed, 1.0);
        products.clear();
        products.extend((0..count).map(|row| {
            let (output, gradient) = (output.row(row), gradient.row(row));
            sum(output, gradient, gradient, |output, gradient, _| {
                output * gradient
            })
        }));
        softmax_backward(
            scores,
            score_gradient,
            &Rows {
                normalisers: &self.results.normalisers[task.normaliser + start..][..count],
                products,
                columns,
                mask: block_mask(problem.attention.mask, task, start),
            },
        );

        let length = keys_transposed.columns();
        let scores = Matrix::new(scores, count, columns, length);
        let score_gradient = Matrix::new(score_gradient, count, columns, length);
        if let Some(query) = &self.query {
            // SAFETY: the columns of one head in the rows of one block of queries are written by this block alone.
            let mut query = unsafe { query.matrix(first, count, head_width, width) };
            multiply(&mut query, Output::Set, problem.scale, score_gradient, keys);
        }
        let mode = if start == 0 { Output::Set } else { Output::Add };
        if let Some(key) = key {
            let back = score_gradient.transposed();
            multiply(key, mode, problem.scale, back, queries);
        }
        if let Some(value) = value {
            multiply(value, mode, 1.0, scores.transposed(), gradient);
        }
    }

    /// From the gradients of all gated keys and values to those of the prefixes, their gates, and the sequence's own.
    #[allow(unsafe_code)]
    fn finish(&self, task: &Task<'_>, place: &Place, [key, value]: &[Vec<f32>; 2]) {
        let (width, head_width) = (self.problem.width, self.problem.head_width);
        for (number, segment) in task.segments.iter().enumerate() {
            let start = segment.column * head_width;
            let range = start..start + segment.keys.rows() * head_width;
            let (key, value) = (&key[range.clone()], &value[range]);
            if number < self.prefixes.len() {
                self.finish_prefix(number, segment, place, [key, value]);
                continue;
            }
            for (target, gradient) in [(&self.key, key), (&self.value, value)] {
                let Some(target) = target else { continue };
                for (row, gradient) in gradient.chunks_exact(head_width).enumerate() {
                    let start = task.key_start + row * width;
                    // SAFETY: the columns of one head in the rows of one sequence are written by this task alone.
                    unsafe { target.slice(start, head_width) }.copy_from_slice(gradient);
                }
            }
        }
    }

    /// From the gradient of a sequence's gated prefix to those of the prefix and of the gates.
    #[allow(unsafe_code)]
    fn finish_prefix(
        &self,
        number: usize,
        segment: &Segment<'_>,
        place: &Place,
        [key, value]: [&[f32]; 2],
    ) {
        let (width, head_width) = (self.problem.width, self.problem.head_width);
        let length = segment.keys.rows();
        let sequences = self.problem.attention.keys.sequences();
        let [key_target, value_target, key_gate, value_gate] = &self.prefixes[number];
        let pairs = [
            (key_target, key_gate, key, segment.keys, segment.key_gate),
            (
                value_target,
                value_gate,
                value,
                segment.values,
                segment.value_gate,
            ),
        ];
        for (target, gate_target, gradient, rows, gate) in pairs {
            if let Some(target) = target {
                for (row, gradient) in gradient.chunks_exact(head_width).enumerate() {
                    let start = (place.group * length + row) * width + place.head * head_width;
                    // SAFETY: the columns of one head in the partial sums of one group belong to the thread that
                    // works on that head and group.
                    let total = unsafe { target.slice(start, head_width) };
                    for (total, gradient) in total.iter_mut().zip(gradient) {
                        *total += gate * gradient;
                    }
                }
            }
            if let Some(target) = gate_target {
                let mut total = 0.0;
                for (row, gradient) in gradient.chunks_exact(head_width).enumerate() {
                    total += sum(rows.row(row), gradient, gradient, |row, g, _| row * g);
                }
                // SAFETY: there is one such number for each head and sequence, and this task is theirs.
                let place = unsafe { target.slice(place.head * sequences + place.sequence, 1) };
                place[0] = total;
            }
        }
    }
}
