//! Gradients of packed attention.

use rayon::prelude::*;

use super::forward::{block_mask, compute_scores};
use super::softmax::{Rows, softmax_backward};
use super::{BLOCK, PREFIX, Problem, ROWS, Segment, Task};
use crate::flex::product::{Matrix, MatrixMut, Output, Shared, multiply};
use crate::flex::reduce::add_rows;
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
    (0..groups * heads)
        .into_par_iter()
        .for_each_init(Scratch::default, |scratch, number| {
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

/// Buffers of one thread.
#[derive(Default)]
struct Scratch {
    scores: Vec<f32>,
    gradient: Vec<f32>,
    products: Vec<f32>,
    /// Of each prefix: the gradients of its gated keys and values, `[length, d_head]` each.
    prefixes: Vec<[Vec<f32>; 2]>,
}

impl<'a> Targets<'a> {
    fn run(&self, task: &Task<'_>, place: &Place, scratch: &mut Scratch) {
        // Without a key nothing has been computed, and without a query nothing depends on the keys.
        if task.columns == 0 || task.queries.rows() == 0 {
            return;
        }
        scratch
            .prefixes
            .resize_with(self.prefixes.len(), Default::default);
        for (parts, segment) in scratch.prefixes.iter_mut().zip(&task.segments) {
            for part in parts {
                part.resize(segment.keys.rows() * self.problem.head_width, 0.0);
            }
        }
        for start in (0..task.queries.rows()).step_by(BLOCK) {
            self.block(task, start, scratch);
        }
        for (number, parts) in scratch.prefixes.iter().enumerate() {
            self.finish_prefix(number, &task.segments[number], place, parts);
        }
    }

    #[allow(unsafe_code)]
    fn block(&self, task: &Task<'_>, start: usize, scratch: &mut Scratch) {
        let (problem, columns) = (self.problem, task.columns);
        let (width, head_width) = (problem.width, problem.head_width);
        let count = BLOCK.min(task.queries.rows() - start);
        let queries = task.queries.rows_from(start, count);
        let first = task.query_start + start * width;
        let output = Matrix::new(&self.results.output[first..], count, head_width, width);
        let gradient = Matrix::new(&self.results.gradient[first..], count, head_width, width);

        let Scratch {
            scores,
            gradient: score_gradient,
            products,
            prefixes,
        } = scratch;
        scores.resize(count * columns, 0.0);
        score_gradient.resize(count * columns, 0.0);
        compute_scores(scores, columns, queries, &task.segments, problem.scale);
        for segment in occupied(task) {
            let part = &mut score_gradient[segment.column..];
            let mut part = MatrixMut::new(part, count, segment.keys.rows(), columns);
            let values = segment.values.transposed();
            multiply(&mut part, Output::Set, segment.value_gate, gradient, values);
        }
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

        if let Some(query) = &self.query {
            // SAFETY: the columns of one head in the rows of one block of queries are written by this block alone.
            let mut query = unsafe { query.matrix(first, count, head_width, width) };
            let mut mode = Output::Set;
            for segment in occupied(task) {
                let part = &score_gradient[segment.column..];
                let part = Matrix::new(part, count, segment.keys.rows(), columns);
                let scale = problem.scale * segment.key_gate;
                multiply(&mut query, mode, scale, part, segment.keys);
                mode = Output::Add;
            }
        }
        let mode = if start == 0 { Output::Set } else { Output::Add };
        for (number, segment) in task.segments.iter().enumerate() {
            let length = segment.keys.rows();
            if length == 0 {
                continue;
            }
            let transposed = |rows: &[f32], output: &mut MatrixMut<'_>, scale, right| {
                let rows = Matrix::new(&rows[segment.column..], count, length, columns);
                multiply(output, mode, scale, rows.transposed(), right);
            };
            let (key, value) = match prefixes.get_mut(number) {
                Some([key, value]) => {
                    let [wants_key, wants_value, wants_key_gate, wants_value_gate] = self.prefixes
                        [number]
                        .each_ref()
                        .map(|target| target.is_some());
                    let matrix = |part| MatrixMut::new(part, length, head_width, head_width);
                    (
                        (wants_key || wants_key_gate).then(|| matrix(key)),
                        (wants_value || wants_value_gate).then(|| matrix(value)),
                    )
                }
                None => {
                    let own = |target: &Option<Shared<'a>>| -> Option<MatrixMut<'a>> {
                        let target = target.as_ref()?;
                        // SAFETY: the columns of one head in the rows of one sequence are written by this task alone.
                        Some(unsafe { target.matrix(task.key_start, length, head_width, width) })
                    };
                    (own(&self.key), own(&self.value))
                }
            };
            if let Some(mut key) = key {
                transposed(score_gradient, &mut key, problem.scale, queries);
            }
            if let Some(mut value) = value {
                transposed(scores, &mut value, 1.0, gradient);
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
        [key, value]: &[Vec<f32>; 2],
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

/// The segments that have rows.
fn occupied<'a>(task: &'a Task<'_>) -> impl Iterator<Item = &'a Segment<'a>> {
    task.segments
        .iter()
        .filter(|segment| segment.keys.rows() > 0)
}
