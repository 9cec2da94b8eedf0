//! Products in which one side is only a few columns wide: what low-rank updates, bottlenecks and gates are made of.
//!
//! A general matrix product spends its time on packing such operands. Above [`NARROW`] columns it takes over.

use super::buffer::{PARALLEL, dense, filled, for_chunks, for_parts, part, sizes};
use super::op::FlexTensor;
use super::product::{Matrix, MatrixMut, product, product_onto, product_with_bias};
use super::small::{Output, STRIP, multiply};
use super::vectorise::{Arithmetic, sum, vectorised};

/// Columns up to which the loops of this file are used.
const NARROW: usize = 32;

/// Columns up to which every element of a projection is summed up by itself.
const VERY_NARROW: usize = 4;

/// Rows that one thread takes at a time.
const BLOCK: usize = 128;

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
    let mut found = vec![0.0; rows * columns];
    // The work is in the wide side, so its size decides whether other threads are worth waking.
    let worth_it = wide.len() >= PARALLEL;
    let parts = [(found.as_mut_slice(), BLOCK * columns)];
    if columns <= VERY_NARROW {
        let matrix = transposed(matrix, columns);
        for_parts(parts, worth_it, |number, [found]| {
            dots(found, part(wide, number, BLOCK * width), &matrix, start);
        });
        return found;
    }
    let padded = columns.next_multiple_of(STRIP);
    let mut matrix_padded = vec![0.0; width * padded];
    let rows_padded = matrix_padded.chunks_exact_mut(padded);
    for (place, row) in rows_padded.zip(matrix.chunks_exact(columns)) {
        place[..columns].copy_from_slice(row);
    }
    let matrix = Matrix::new(&matrix_padded, width, padded, padded);
    for_parts(parts, worth_it, |number, [found]| {
        let rows = found.len() / columns;
        let wide = Matrix::new(part(wide, number, BLOCK * width), rows, width, width);
        let mut space = [0.0; BLOCK * NARROW];
        let mut output = MatrixMut::new(&mut space, rows, padded, padded);
        multiply(&mut output, Output::Set, 1.0, wide, matrix);
        let space = space.chunks_exact(padded);
        for (found, space) in found.chunks_exact_mut(columns).zip(space) {
            for ((found, value), start) in found.iter_mut().zip(space).zip(start) {
                *found = value + start;
            }
        }
    });
    found
}

/// `narrow * matrix`: `[rows, columns]` times `[columns, width]`.
#[allow(unsafe_code)]
pub(crate) fn expand(narrow: &[f32], columns: usize, matrix: &[f32], width: usize) -> Vec<f32> {
    assert_eq!(matrix.len(), columns * width, "size of an expansion");
    let rows = narrow.len() / columns.max(1);
    let matrix = Matrix::new(matrix, columns, width, width);
    if columns > NARROW {
        return product(Matrix::new(narrow, rows, columns, columns), matrix);
    }
    // SAFETY: setting writes every element of the rows of the product, and chunks are made of whole rows.
    unsafe {
        filled(rows * width, BLOCK * width, |number, space| {
            let narrow = block(narrow, number, columns);
            let mut output = MatrixMut::unset(space, narrow.rows(), width, width);
            multiply(&mut output, Output::Set, 1.0, narrow, matrix);
        })
    }
}

/// `output + narrow * matrix`, in the memory of `output` where nothing else needs it.
pub(crate) fn expand_onto(
    output: FlexTensor,
    narrow: &[f32],
    columns: usize,
    matrix: &[f32],
) -> FlexTensor {
    let (rows, width) = (sizes(&output)[0], sizes(&output)[1]);
    assert_eq!(matrix.len(), columns * width, "size of an expansion");
    assert_eq!(narrow.len(), rows * columns, "size of an expansion");
    let matrix = Matrix::new(matrix, columns, width, width);
    if columns > NARROW {
        return product_onto(output, Matrix::new(narrow, rows, columns, columns), matrix);
    }
    let mut output = dense(output);
    for_chunks(
        output.storage_mut::<f32>(),
        BLOCK * width,
        |number, chunk| {
            let narrow = block(narrow, number, columns);
            let mut output = MatrixMut::new(chunk, narrow.rows(), width, width);
            multiply(&mut output, Output::Add, 1.0, narrow, matrix);
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
    let mut total = vec![0.0; size];
    if size == 0 || rows == 0 {
        return total;
    }
    let mut partial = vec![0.0; size * rows.div_ceil(BLOCK)];
    for_chunks(&mut partial, size, |number, partial| {
        let wide = block(wide, number, width);
        let narrow = block(narrow, number, columns).transposed();
        let mut output = MatrixMut::new(partial, columns, width, width);
        multiply(&mut output, Output::Set, 1.0, narrow, wide);
    });
    super::reduce::add_rows(&mut total, &partial);
    total
}

/// [`BLOCK`] rows of `columns` elements, or what is left of them.
fn block(rows: &[f32], number: usize, columns: usize) -> Matrix<'_> {
    let rows = part(rows, number, BLOCK * columns);
    Matrix::new(rows, rows.len() / columns, columns, columns)
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
    /// The product of each row of `wide` with each row of `matrix`, plus `start`.
    fn dots(found: &mut [f32], wide: &[f32], matrix: &[f32], start: &[f32]) = dots_body
}

#[inline(always)]
fn dots_body<A: Arithmetic>(found: &mut [f32], wide: &[f32], matrix: &[f32], start: &[f32]) {
    let columns = start.len();
    if columns == 0 {
        return;
    }
    let width = matrix.len() / columns;
    let rows = found.chunks_exact_mut(columns);
    for (found, row) in rows.zip(wide.chunks_exact(width.max(1))) {
        let columns = matrix.chunks_exact(width.max(1)).zip(start);
        for (found, (column, start)) in found.iter_mut().zip(columns) {
            *found = start + sum(row, column, column, |a, b, _| a * b);
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
