//! Products in which one side is only a few columns wide: what low-rank updates, bottlenecks and gates are made of.
//!
//! A general matrix product spends its time on packing such operands. Above [`NARROW`] columns it takes over.

use std::mem::MaybeUninit;
use std::ptr;

use super::buffer::{PARALLEL, dense, filled, for_chunks, for_parts, part, sizes};
use super::op::FlexTensor;
use super::product::{Matrix, product, product_onto, product_with_bias};
use super::vectorise::{Arithmetic, vectorised};

/// Columns up to which the loops of this file are used.
const NARROW: usize = 32;

/// Rows that one thread takes at a time.
const BLOCK: usize = 128;

/// Columns of the narrow side that are computed together.
const LANES: usize = 8;

/// Columns of the wide side that are computed together.
const STRIP: usize = 32;

/// `wide * matrix + start`: `[rows, width]` times `[width, columns]`, with `start` (`[columns]`) added to every row.
pub(crate) fn project(wide: &[f32], width: usize, matrix: &[f32], start: &[f32]) -> Vec<f32> {
    let columns = start.len();
    assert_eq!(matrix.len(), width * columns, "size of a projection");
    let rows = wide.len() / width.max(1);
    if columns > NARROW {
        let wide = Matrix::new(wide, rows, width, width);
        let matrix = Matrix::new(matrix, width, columns, columns);
        return product_with_bias(wide, matrix, Some(start));
    }
    let padded = columns.next_multiple_of(LANES);
    let mut lanes = vec![0.0; width * padded];
    if columns > 0 {
        for (lanes, row) in lanes
            .chunks_exact_mut(padded)
            .zip(matrix.chunks_exact(columns))
        {
            lanes[..columns].copy_from_slice(row);
        }
    }
    let mut found = vec![0.0; rows * columns];
    // The work is in the wide side, so its size decides whether other threads are worth waking.
    let worth_it = wide.len() >= PARALLEL;
    for_parts(
        [(&mut found, BLOCK * columns)],
        worth_it,
        |number, [found]| {
            project_block(found, part(wide, number, BLOCK * width), &lanes, start);
        },
    );
    found
}

/// `narrow * matrix`: `[rows, columns]` times `[columns, width]`.
#[allow(unsafe_code)]
pub(crate) fn expand(narrow: &[f32], columns: usize, matrix: &[f32], width: usize) -> Vec<f32> {
    assert_eq!(matrix.len(), columns * width, "size of an expansion");
    let rows = narrow.len() / columns.max(1);
    if columns > NARROW {
        let narrow = Matrix::new(narrow, rows, columns, columns);
        return product(narrow, Matrix::new(matrix, columns, width, width));
    }
    // SAFETY: the kernel writes every element of the rows it is given, and chunks are made of whole rows.
    unsafe {
        filled(rows * width, BLOCK * width, |number, space| {
            let narrow = &narrow[number * BLOCK * columns..][..space.len() / width * columns];
            expand_block(space, false, narrow, columns, matrix);
        })
    }
}

/// `output + narrow * matrix`, in the memory of `output` where nothing else needs it.
#[allow(unsafe_code)]
pub(crate) fn expand_onto(
    output: FlexTensor,
    narrow: &[f32],
    columns: usize,
    matrix: &[f32],
) -> FlexTensor {
    let (rows, width) = (sizes(&output)[0], sizes(&output)[1]);
    assert_eq!(matrix.len(), columns * width, "size of an expansion");
    assert_eq!(narrow.len(), rows * columns, "size of an expansion");
    if columns > NARROW {
        let narrow = Matrix::new(narrow, rows, columns, columns);
        return product_onto(output, narrow, Matrix::new(matrix, columns, width, width));
    }
    let mut output = dense(output);
    for_chunks(
        output.storage_mut::<f32>(),
        BLOCK * width,
        |number, chunk| {
            let narrow = &narrow[number * BLOCK * columns..][..chunk.len() / width * columns];
            // SAFETY: both types have the same layout, and the kernel leaves every element initialised.
            let chunk = unsafe { &mut *(ptr::from_mut(chunk) as *mut [MaybeUninit<f32>]) };
            expand_block(chunk, true, narrow, columns, matrix);
        },
    );
    output
}

/// `narrowᵀ * wide`: the transpose of `[rows, columns]` times `[rows, width]`, added up in an order that does not depend
/// on the number of threads.
pub(crate) fn outer(narrow: &[f32], columns: usize, wide: &[f32], width: usize) -> Vec<f32> {
    let rows = wide.len() / width.max(1);
    assert_eq!(narrow.len(), rows * columns, "sizes of an outer product");
    if columns > NARROW {
        let narrow = Matrix::new(narrow, rows, columns, columns).transposed();
        return product(narrow, Matrix::new(wide, rows, width, width));
    }
    let size = columns * width;
    let mut partial = vec![0.0; size * rows.div_ceil(BLOCK)];
    if size == 0 || rows == 0 {
        return vec![0.0; size];
    }
    for_chunks(&mut partial, size, |number, total| {
        let start = number * BLOCK;
        let end = rows.min(start + BLOCK);
        let narrow = &narrow[start * columns..end * columns];
        outer_block(total, narrow, columns, &wide[start * width..end * width]);
    });
    let mut total = vec![0.0; size];
    super::reduce::add_rows(&mut total, &partial);
    total
}

/// The transpose of a matrix with rows of `columns` elements.
pub(crate) fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let rows = matrix.len() / columns.max(1);
    let element = |column: usize, row: usize| matrix[row * columns + column];
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| element(column, row)))
        .collect()
}

vectorised! {
    fn project_block(found: &mut [f32], wide: &[f32], lanes: &[f32], start: &[f32]) = project_body
}

#[inline(always)]
fn project_body<A: Arithmetic>(found: &mut [f32], wide: &[f32], lanes: &[f32], start: &[f32]) {
    const ROWS: usize = 8;
    let columns = start.len();
    if columns == 0 {
        return;
    }
    let rows = found.len() / columns;
    let width = wide.len() / rows;
    let padded = columns.next_multiple_of(LANES);
    for first in (0..rows).step_by(ROWS) {
        // Rows past the end are computed as copies of the last one and not stored.
        let inputs: [&[f32]; ROWS] =
            std::array::from_fn(|i| &wide[(first + i).min(rows - 1) * width..][..width]);
        for column in (0..columns).step_by(LANES) {
            let mut sums = [[0.0_f32; LANES]; ROWS];
            for (k, row) in lanes.chunks_exact(padded).take(width).enumerate() {
                let row: &[f32] = &row[column..column + LANES];
                for i in 0..ROWS {
                    let value = inputs[i][k];
                    for lane in 0..LANES {
                        sums[i][lane] = A::mul_add(value, row[lane], sums[i][lane]);
                    }
                }
            }
            let kept = LANES.min(columns - column);
            for (i, sums) in sums.iter().enumerate().take(rows - first) {
                let found = &mut found[(first + i) * columns + column..][..kept];
                for lane in 0..kept {
                    found[lane] = sums[lane] + start[column + lane];
                }
            }
        }
    }
}

vectorised! {
    /// Adds to `found` if `add` is set, which then must be initialised.
    fn expand_block(
        found: &mut [MaybeUninit<f32>],
        add: bool,
        narrow: &[f32],
        columns: usize,
        matrix: &[f32],
    ) = expand_body
}

#[inline(always)]
#[allow(unsafe_code)]
fn expand_body<A: Arithmetic>(
    found: &mut [MaybeUninit<f32>],
    add: bool,
    narrow: &[f32],
    columns: usize,
    matrix: &[f32],
) {
    let width = matrix.len() / columns;
    for (found, narrow) in found
        .chunks_exact_mut(width)
        .zip(narrow.chunks_exact(columns))
    {
        for (number, strip) in found.chunks_mut(STRIP).enumerate() {
            let column = number * STRIP;
            let mut sums = [0.0_f32; STRIP];
            if add {
                for (sum, found) in sums.iter_mut().zip(strip.iter()) {
                    // SAFETY: the caller promises that what is added to is initialised.
                    *sum = unsafe { found.assume_init() };
                }
            }
            if strip.len() == STRIP {
                for (value, row) in narrow.iter().zip(matrix.chunks_exact(width)) {
                    let row: &[f32] = &row[column..column + STRIP];
                    for i in 0..STRIP {
                        sums[i] = A::mul_add(*value, row[i], sums[i]);
                    }
                }
            } else {
                for (value, row) in narrow.iter().zip(matrix.chunks_exact(width)) {
                    for (sum, element) in sums.iter_mut().zip(&row[column..]) {
                        *sum = A::mul_add(*value, *element, *sum);
                    }
                }
            }
            for (place, sum) in strip.iter_mut().zip(sums) {
                place.write(sum);
            }
        }
    }
}

vectorised! {
    fn outer_block(total: &mut [f32], narrow: &[f32], columns: usize, wide: &[f32]) = outer_body
}

#[inline(always)]
fn outer_body<A: Arithmetic>(total: &mut [f32], narrow: &[f32], columns: usize, wide: &[f32]) {
    const TOGETHER: usize = 4;
    let width = total.len() / columns;
    let full = width / STRIP * STRIP;
    for column in (0..full).step_by(STRIP) {
        for first in (0..columns).step_by(TOGETHER) {
            // Columns past the end repeat the last one and are not stored.
            let chosen: [usize; TOGETHER] = std::array::from_fn(|i| (first + i).min(columns - 1));
            let mut sums = [[0.0_f32; STRIP]; TOGETHER];
            for (narrow, wide) in narrow.chunks_exact(columns).zip(wide.chunks_exact(width)) {
                let wide: &[f32] = &wide[column..column + STRIP];
                for i in 0..TOGETHER {
                    let value = narrow[chosen[i]];
                    for k in 0..STRIP {
                        sums[i][k] = A::mul_add(value, wide[k], sums[i][k]);
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate().take(columns - first) {
                total[(first + i) * width + column..][..STRIP].copy_from_slice(sums);
            }
        }
    }
    for column in full..width {
        for j in 0..columns {
            let rows = narrow.chunks_exact(columns).zip(wide.chunks_exact(width));
            let mut sum = 0.0;
            for (narrow, wide) in rows {
                sum = A::mul_add(narrow[j], wide[column], sum);
            }
            total[j * width + column] = sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 37 + seed * 101) % 89) as f32 / 40.0 - 1.1)
            .collect()
    }

    fn assert_close(found: &[f32], expected: impl Iterator<Item = f64>) {
        let mut count = 0;
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-3,
                "{found} and {expected}"
            );
            count += 1;
        }
        assert_eq!(count, found.len());
    }

    #[test]
    fn all_three_products_agree_with_plain_loops() {
        for (rows, width, columns) in [
            (1, 1, 1),
            (3, 40, 2),
            (300, 100, 9),
            (130, 64, 33),
            (7, 384, 25),
        ] {
            let (wide, narrow) = (numbers(rows * width, 1), numbers(rows * columns, 2));
            let (matrix, start) = (numbers(width * columns, 3), numbers(columns, 4));
            let dot = |count: usize, term: &dyn Fn(usize) -> f32| -> f64 {
                (0..count).map(|k| f64::from(term(k))).sum()
            };
            let each = |outer: usize, inner: usize| {
                (0..outer).flat_map(move |i| (0..inner).map(move |j| (i, j)))
            };
            let expected = each(rows, columns).map(|(t, j)| {
                let product = dot(width, &|k| wide[t * width + k] * matrix[k * columns + j]);
                product + f64::from(start[j])
            });
            assert_close(&project(&wide, width, &matrix, &start), expected);
            let expected = each(rows, width).map(|(t, k)| {
                dot(columns, &|j| {
                    narrow[t * columns + j] * matrix[j * width + k]
                })
            });
            assert_close(&expand(&narrow, columns, &matrix, width), expected);
            let expected = each(columns, width)
                .map(|(j, k)| dot(rows, &|t| narrow[t * columns + j] * wide[t * width + k]));
            assert_close(&outer(&narrow, columns, &wide, width), expected);
        }
        assert_eq!(
            transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3),
            [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]
        );
    }
}
