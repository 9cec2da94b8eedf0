//! Small products: those of the heads and sequences inside attention.
//!
//! A general product first copies its operands into an order of its own, which takes longer than such a product itself.
//! Here a tile of the output stays in registers, the right side is read as it lies, and elements of the left side are
//! picked one by one, so that the left side may be a transpose.

use pulp::{Arch, Simd, WithSimd};

use super::product::{Matrix, MatrixMut};
use super::vectorise::{Arithmetic, vectorised};

/// Columns of the right side are padded to a multiple of this where they can be chosen; the rest of a row is slow.
pub(crate) const STRIP: usize = 16;

/// What a product does with what its output holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Overwrites it.
    Set,
    /// Adds to it.
    Add,
}

/// `output (+)= scale * left * right` on the calling thread.
///
/// # Panics
/// If the sizes do not fit together, or the elements of a row of `right` do not follow one another.
pub(crate) fn multiply(
    output: &mut MatrixMut<'_>,
    mode: Output,
    scale: f32,
    left: Matrix<'_>,
    right: Matrix<'_>,
) {
    assert_eq!(
        [output.rows, left.columns, output.columns],
        [left.rows, right.rows, right.columns],
        "sizes of a product"
    );
    assert!(
        right.column_stride == 1 || right.columns <= 1,
        "rows of a product"
    );
    let product = Product {
        output,
        mode,
        scale,
        left,
        right,
    };
    Arch::new().dispatch(product);
}

/// Writes the transpose of `matrix` into `buffer`, each of its rows followed by zeros up to a multiple of [`STRIP`]: the
/// right side of a product with the transpose.
pub(crate) fn transpose_padded<'b>(matrix: Matrix<'_>, buffer: &'b mut Vec<f32>) -> Matrix<'b> {
    let (rows, columns) = (matrix.rows, matrix.columns);
    let padded = rows.next_multiple_of(STRIP);
    buffer.clear();
    buffer.resize(columns * padded, 0.0);
    if rows > 0 {
        transpose(buffer, padded, matrix.elements, rows, matrix.row_stride);
    }
    Matrix::new(buffer, columns, padded, padded)
}

vectorised! {
    /// Element `column` of each of the rows, one after another, at the start of row `column` of `output`.
    fn transpose(
        output: &mut [f32],
        length: usize,
        elements: &[f32],
        rows: usize,
        row_stride: usize,
    ) = transpose_body
}

#[inline(always)]
fn transpose_body<A: Arithmetic>(
    output: &mut [f32],
    length: usize,
    elements: &[f32],
    rows: usize,
    row_stride: usize,
) {
    let last = (rows - 1) * row_stride;
    for (column, output) in output.chunks_exact_mut(length).enumerate() {
        let elements = &elements[column..=column + last];
        for (row, place) in output[..rows].iter_mut().enumerate() {
            *place = elements[row * row_stride];
        }
    }
}

struct Product<'a, 'b> {
    output: &'a MatrixMut<'b>,
    mode: Output,
    scale: f32,
    left: Matrix<'a>,
    right: Matrix<'a>,
}

impl WithSimd for Product<'_, '_> {
    type Output = ();

    /// Tiles that fill half of the registers at most, so that none of them is moved to memory.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut column = 0;
        match S::F32_LANES {
            16 => {
                self.strips::<S, 8, 2>(simd, &mut column);
                self.strips::<S, 8, 1>(simd, &mut column);
            }
            8 => self.strips::<S, 4, 2>(simd, &mut column),
            4 => self.strips::<S, 4, 4>(simd, &mut column),
            _ => {}
        }
        self.rest(column);
    }
}

impl Product<'_, '_> {
    /// As many strips of `VECTORS` vectors as there is room for from `column` on, which is moved behind them.
    #[inline(always)]
    fn strips<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        column: &mut usize,
    ) {
        let rows = self.output.rows;
        while *column + VECTORS * S::F32_LANES <= self.output.columns {
            let mut row = 0;
            while row + ROWS <= rows {
                self.tile::<S, ROWS, VECTORS>(simd, row, *column);
                row += ROWS;
            }
            while row + 2 <= rows {
                self.tile::<S, 2, VECTORS>(simd, row, *column);
                row += 2;
            }
            if row < rows {
                self.tile::<S, 1, VECTORS>(simd, row, *column);
            }
            *column += VECTORS * S::F32_LANES;
        }
    }

    /// `ROWS` rows of a strip from `row` on, all of which are inside the output.
    // Loops over numbers, as the compiler keeps the sums in registers then.
    #[allow(unsafe_code, clippy::needless_range_loop)]
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        row: usize,
        column: usize,
    ) {
        let Self { left, right, .. } = *self;
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
        // SAFETY: rows and columns of the output are those of the left and the right side, which lie inside their slices,
        // as the constructors of `Matrix` have checked; the rows of the right side are contiguous. A `MatrixMut` stands
        // for elements that may be read and written. A vector is as many numbers as it has lanes.
        unsafe {
            let left_start = left.elements.as_ptr().wrapping_add(row * left.row_stride);
            let right_start = right.elements.as_ptr().wrapping_add(column);
            for k in 0..right.rows {
                let right_start = right_start.add(k * right.row_stride).cast::<S::f32s>();
                let mut right_row = [simd.splat_f32s(0.0); VECTORS];
                for vector in 0..VECTORS {
                    right_row[vector] = right_start.add(vector).read_unaligned();
                }
                for i in 0..ROWS {
                    let place = i * left.row_stride + k * left.column_stride;
                    let value = simd.splat_f32s(*left_start.add(place));
                    for vector in 0..VECTORS {
                        sums[i][vector] =
                            simd.mul_add_e_f32s(value, right_row[vector], sums[i][vector]);
                    }
                }
            }
            let scale = simd.splat_f32s(self.scale);
            let start = self.output.start.add(row * self.output.row_stride + column);
            for i in 0..ROWS {
                let output = start.add(i * self.output.row_stride).cast::<S::f32s>();
                for vector in 0..VECTORS {
                    let (output, sum) = (output.add(vector), sums[i][vector]);
                    output.write_unaligned(match self.mode {
                        Output::Set => simd.mul_f32s(scale, sum),
                        Output::Add => simd.mul_add_e_f32s(scale, sum, output.read_unaligned()),
                    });
                }
            }
        }
    }

    /// All columns from `column` on, one at a time.
    #[allow(unsafe_code)]
    #[inline(always)]
    fn rest(&self, column: usize) {
        let Self { left, right, .. } = *self;
        for row in 0..self.output.rows {
            for column in column..self.output.columns {
                let mut sum = 0.0;
                for k in 0..right.rows {
                    let value = left.elements[row * left.row_stride + k * left.column_stride];
                    sum += value * right.row(k)[column];
                }
                // SAFETY: a `MatrixMut` stands for elements that may be read and written, and this is one of them.
                let output =
                    unsafe { &mut *self.output.start.add(row * self.output.row_stride + column) };
                *output = match self.mode {
                    Output::Set => self.scale * sum,
                    Output::Add => self.scale * sum + *output,
                };
            }
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

    #[test]
    fn products_of_all_sizes_agree_with_plain_loops() {
        for (rows, inner, columns) in [(1, 1, 1), (3, 0, 2), (13, 32, 64), (64, 31, 48), (5, 7, 83)]
        {
            let (left, right) = (numbers(rows * inner, 1), numbers(inner * (columns + 3), 2));
            // The left side as it lies, and as the transpose of what lies there.
            for transposed in [false, true] {
                let left = match transposed {
                    false => Matrix::new(&left, rows, inner, inner),
                    true => Matrix::new(&left, inner, rows, rows).transposed(),
                };
                let right = Matrix::new(&right, inner, columns, columns + 3);
                for mode in [Output::Set, Output::Add] {
                    let before = numbers(rows * columns, 3);
                    let (mut found, mut plain) = (before.clone(), before.clone());
                    let matrix = |of| MatrixMut::new(of, rows, columns, columns);
                    multiply(&mut matrix(&mut found), mode, 0.5, left, right);
                    let output = &matrix(&mut plain);
                    let product = Product {
                        output,
                        mode,
                        scale: 0.5,
                        left,
                        right,
                    };
                    product.rest(0);
                    for row in 0..rows {
                        for column in 0..columns {
                            let at = row * columns + column;
                            let mut sum = 0.0_f64;
                            for k in 0..inner {
                                let [i, j] = [left.row_stride, left.column_stride];
                                let value = left.elements[row * i + k * j];
                                sum += f64::from(value) * f64::from(right.row(k)[column]);
                            }
                            let start = match mode {
                                Output::Set => 0.0,
                                Output::Add => f64::from(before[at]),
                            };
                            for found in [found[at], plain[at]] {
                                let expected = start + 0.5 * sum;
                                assert!((f64::from(found) - expected).abs() < 1e-4);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_padded_transpose_ends_its_rows_with_zeros() {
        let elements = numbers(3 * 5, 1);
        let mut buffer = vec![7.0; 100];
        let transposed = transpose_padded(Matrix::new(&elements, 3, 4, 5), &mut buffer);
        assert_eq!([transposed.rows, transposed.columns], [4, STRIP]);
        for column in 0..4 {
            let expected = [0, 1, 2].map(|row| elements[row * 5 + column]);
            assert_eq!(transposed.row(column)[..3], expected);
            assert!(
                transposed.row(column)[3..]
                    .iter()
                    .all(|value| *value == 0.0)
            );
        }
    }
}
