//! Matrix products.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;

use super::buffer::{dense, sizes};
use super::op::FlexTensor;
use super::parallel;

/// Multiplications from which on a product is spread over the threads.
const PARALLEL: usize = 192 * 192 * 192;

/// Rows or columns of a thread's piece of a product are a multiple of this, so that no register tile is cut.
const PIECE: usize = 48;

/// A matrix inside a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(super) elements: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `columns` elements, each `row_stride` after the one before, from the start of `elements`.
    ///
    /// # Panics
    /// If the matrix reaches past the end of `elements`.
    pub(crate) fn new(elements: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self::strided(elements, [rows, columns], [row_stride, 1])
    }

    fn strided(elements: &'a [f32], [rows, columns]: [usize; 2], strides: [usize; 2]) -> Self {
        let [row_stride, column_stride] = strides;
        if rows > 0 && columns > 0 {
            let last = (rows - 1) * row_stride + (columns - 1) * column_stride;
            assert!(last < elements.len(), "a matrix outside its slice");
        }
        Self {
            elements,
            rows,
            columns,
            row_stride,
            column_stride,
        }
    }

    /// The matrix in a tensor of two dimensions, without making it dense.
    ///
    /// # Panics
    /// If a stride is negative.
    pub(crate) fn of(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        let shape = layout.shape();
        let strides = layout.strides();
        assert!(strides[0] >= 0 && strides[1] >= 0, "a flipped matrix");
        let elements = tensor.storage::<f32>();
        Self::strided(
            &elements[layout.start_offset().min(elements.len())..],
            [shape[0], shape[1]],
            [strides[0] as usize, strides[1] as usize],
        )
    }

    /// The transpose, without moving anything.
    pub(crate) fn transposed(self) -> Self {
        Self {
            elements: self.elements,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// One row of a matrix whose rows are contiguous.
    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        debug_assert_eq!(self.column_stride, 1);
        &self.elements[row * self.row_stride..][..self.columns]
    }

    /// `count` rows from `start` on.
    pub(crate) fn rows_from(self, start: usize, count: usize) -> Self {
        assert!(start + count <= self.rows, "rows outside a matrix");
        Self {
            elements: &self.elements[(start * self.row_stride).min(self.elements.len())..],
            rows: count,
            ..self
        }
    }
}

/// A matrix that can be written.
#[derive(Debug)]
pub(crate) struct MatrixMut<'a> {
    pub(super) start: *mut f32,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

impl<'a> MatrixMut<'a> {
    /// Rows of `columns` elements, each `row_stride` after the one before, from the start of `elements`.
    ///
    /// # Panics
    /// If the matrix reaches past the end of `elements`.
    pub(crate) fn new(
        elements: &'a mut [f32],
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        let matrix = Matrix::new(elements, rows, columns, row_stride);
        assert!(matrix.columns <= row_stride || rows <= 1, "rows overlap");
        Self {
            start: elements.as_mut_ptr(),
            rows,
            columns,
            row_stride,
            lifetime: PhantomData,
        }
    }
}

impl<'a> MatrixMut<'a> {
    /// As [`new`](Self::new), of memory that has to be written before it is read.
    ///
    /// # Panics
    /// If the matrix reaches past the end of `elements`.
    pub(crate) fn unset(
        elements: &'a mut [MaybeUninit<f32>],
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        if rows > 0 && columns > 0 {
            let last = (rows - 1) * row_stride + columns - 1;
            assert!(last < elements.len(), "a matrix outside its slice");
        }
        assert!(columns <= row_stride || rows <= 1, "rows overlap");
        Self {
            start: elements.as_mut_ptr().cast(),
            rows,
            columns,
            row_stride,
            lifetime: PhantomData,
        }
    }
}

/// Elements that several threads write at places which do not overlap.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    start: *mut f32,
    length: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: the pointer is used through the two functions below only, whose callers promise that no two uses overlap.
#[allow(unsafe_code)]
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// Shares a slice for as long as it is borrowed.
    pub(crate) fn new(elements: &'a mut [f32]) -> Self {
        Self {
            start: elements.as_mut_ptr(),
            length: elements.len(),
            lifetime: PhantomData,
        }
    }

    /// The matrix that starts at element `start`.
    ///
    /// # Safety
    /// While the result lives, nothing else may read or write the elements of this matrix.
    ///
    /// # Panics
    /// If the matrix reaches past the end.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn matrix(
        &self,
        start: usize,
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> MatrixMut<'a> {
        if rows > 0 && columns > 0 {
            let last = start + (rows - 1) * row_stride + columns - 1;
            assert!(last < self.length, "a matrix outside its buffer");
        }
        MatrixMut {
            // SAFETY: `start` is inside the buffer, or the matrix is empty and its pointer is never used.
            start: unsafe { self.start.add(start.min(self.length)) },
            rows,
            columns,
            row_stride,
            lifetime: PhantomData,
        }
    }

    /// `length` elements from `start` on.
    ///
    /// # Safety
    /// While the result lives, nothing else may read or write these elements.
    ///
    /// # Panics
    /// If they reach past the end.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn slice(&self, start: usize, length: usize) -> &'a mut [f32] {
        assert!(start + length <= self.length, "a slice outside its buffer");
        // SAFETY: the range was just checked, and the caller promises that it is used here alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), length) }
    }
}

/// `left * right`, row after row, on all threads.
pub(crate) fn product(left: Matrix<'_>, right: Matrix<'_>) -> Vec<f32> {
    product_with_bias(left, right, None)
}

/// `left * right`, row after row, with `bias` added to every row, on all threads.
///
/// # Panics
/// If the sizes do not fit together.
#[allow(unsafe_code)]
pub(crate) fn product_with_bias(
    left: Matrix<'_>,
    right: Matrix<'_>,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    assert_eq!(left.columns, right.rows, "sizes of a product");
    let start = match bias {
        None => Start::Nothing,
        Some(bias) => {
            assert_eq!(bias.len(), right.columns, "width of a bias");
            Start::Bias(bias)
        }
    };
    let count = left.rows * right.columns;
    let mut output = Vec::<f32>::with_capacity(count);
    // SAFETY: the sizes have just been compared, and the capacity is that many elements, all of which are written.
    unsafe {
        on_all_threads(output.as_mut_ptr(), start, left, right);
        output.set_len(count);
    }
    output
}

/// `output + left * right`, in the memory of `output` where nothing else needs it, on all threads.
///
/// # Panics
/// If the sizes do not fit together.
#[allow(unsafe_code)]
pub(crate) fn product_onto(output: FlexTensor, left: Matrix<'_>, right: Matrix<'_>) -> FlexTensor {
    let mut output = dense(output);
    assert_eq!(left.columns, right.rows, "sizes of a product");
    assert_eq!(sizes(&output), [left.rows, right.columns], "size of a sum");
    let start = output.storage_mut::<f32>().as_mut_ptr();
    // SAFETY: the sizes have just been compared, and a dense tensor holds its rows one after another.
    unsafe { on_all_threads(start, Start::Present, left, right) };
    output
}

/// What a product is added to.
#[derive(Debug, Clone, Copy)]
enum Start<'a> {
    Nothing,
    /// A row that is added to every row.
    Bias(&'a [f32]),
    /// What the output holds.
    Present,
}

/// Cuts the product into one piece for each thread, along its longer side, and computes each piece on one thread. The
/// library's own division of labour has threads wait for each other inside a product.
///
/// # Safety
/// The columns of `left` must be as many as the rows of `right`, a bias as long as a row of the product, and `output` valid
/// for writing the rows of the product one after another, and for reading with [`Start::Present`]. All of them are written.
#[allow(unsafe_code)]
unsafe fn on_all_threads(output: *mut f32, start: Start<'_>, left: Matrix<'_>, right: Matrix<'_>) {
    let (rows, columns) = (left.rows, right.columns);
    let work = rows.saturating_mul(left.columns).saturating_mul(columns);
    let threads = match work < PARALLEL {
        true => 1,
        false => parallel::threads(),
    };
    let longer = rows.max(columns);
    let step = longer.div_ceil(threads).next_multiple_of(PIECE);
    let output = Place(output);
    let piece = |number: usize| {
        let output = &output;
        let first = number * step;
        let count = step.min(longer - first);
        // SAFETY: pieces do not overlap and lie inside the product, whose memory the caller answers for.
        unsafe {
            if rows >= columns {
                let place = output.0.add(first * columns);
                let left = left.rows_from(first, count);
                whole_piece(place, columns, start, [left, right]);
            } else {
                let right = right.transposed().rows_from(first, count).transposed();
                let start = match start {
                    Start::Bias(bias) => Start::Bias(&bias[first..first + count]),
                    other => other,
                };
                whole_piece(output.0.add(first), columns, start, [left, right]);
            }
        }
    };
    parallel::for_each(longer.div_ceil(step.max(1)), piece);
}

/// One piece on the calling thread. A bias is written first, by the thread that then adds the product to it, so that it
/// still is in that thread's cache.
///
/// # Safety
/// As for [`call`], which adds with [`Start::Present`], and a bias must be as long as a row of the product.
#[allow(unsafe_code)]
unsafe fn whole_piece(
    output: *mut f32,
    row_stride: usize,
    start: Start<'_>,
    [left, right]: [Matrix<'_>; 2],
) {
    // SAFETY: rows of the product lie `row_stride` apart in memory that the caller answers for.
    unsafe {
        if let Start::Bias(bias) = start {
            for row in 0..left.rows {
                let row = output.add(row * row_stride);
                ptr::copy_nonoverlapping(bias.as_ptr(), row, bias.len());
            }
        }
        let add = !matches!(start, Start::Nothing);
        call(output, row_stride, add, [left, right]);
    }
}

/// The start of an output that several threads write at places which do not overlap.
struct Place(*mut f32);

// SAFETY: only `on_all_threads` uses the pointer, and its pieces do not overlap.
#[allow(unsafe_code)]
unsafe impl Sync for Place {}

/// # Safety
/// The columns of `left` must be as many as the rows of `right`, and `output` must be valid for writing `left.rows` rows
/// of `right.columns` elements, each `row_stride` after the one before; with `add`, also for reading.
#[allow(unsafe_code)]
unsafe fn call(output: *mut f32, row_stride: usize, add: bool, [left, right]: [Matrix<'_>; 2]) {
    // SAFETY: the constructors of `Matrix` have checked that both inputs lie inside their slices, the caller promises the
    // rest, and strides fit an isize as those of slices do. Without `add` nothing is read from the output.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            output,
            1,
            row_stride as isize,
            add,
            left.elements.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.elements.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
