//! Matrix products.

use std::marker::PhantomData;

use super::op::FlexTensor;
use super::parallel;

/// Multiplications from which on a product is spread over the threads.
const PARALLEL: usize = 192 * 192 * 192;

/// Rows or columns of a thread's piece of a product are a multiple of this, so that no register tile is cut.
const PIECE: usize = 48;

/// A matrix inside a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    elements: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
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
    start: *mut f32,
    rows: usize,
    columns: usize,
    row_stride: usize,
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

/// What a product does with what its output holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Overwrites it.
    Set,
    /// Adds to it.
    Add,
}

/// `output (+)= scale * left * right` on the calling thread.
#[allow(unsafe_code)]
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
    let (start, row_stride) = (output.start, output.row_stride);
    // SAFETY: the sizes have just been compared, and a `MatrixMut` stands for elements that may be read and written.
    unsafe { call(start, row_stride, mode, scale, [left, right]) };
}

/// `left * right` added to `output`, which holds the rows of the product one after another, on all threads.
#[allow(unsafe_code)]
pub(crate) fn add_product(output: &mut [f32], left: Matrix<'_>, right: Matrix<'_>) {
    assert_eq!(left.columns, right.rows, "sizes of a product");
    assert_eq!(output.len(), left.rows * right.columns, "size of a product");
    // SAFETY: the sizes have just been compared, and `output` is a slice of that many elements.
    unsafe { on_all_threads(output.as_mut_ptr(), Output::Add, left, right) };
}

/// `left * right`, row after row, on all threads.
#[allow(unsafe_code)]
pub(crate) fn product(left: Matrix<'_>, right: Matrix<'_>) -> Vec<f32> {
    assert_eq!(left.columns, right.rows, "sizes of a product");
    let count = left.rows * right.columns;
    let mut output = Vec::<f32>::with_capacity(count);
    // SAFETY: the sizes have just been compared, the capacity is that many elements, and setting an output writes every
    // element without reading any, so that all are initialised afterwards.
    unsafe {
        on_all_threads(output.as_mut_ptr(), Output::Set, left, right);
        output.set_len(count);
    }
    output
}

/// Cuts the product into one piece for each thread, along its longer side, and computes each piece on one thread. The
/// library's own division of labour has threads wait for each other inside a product.
///
/// # Safety
/// As for [`call`], with rows that follow one another without a gap.
#[allow(unsafe_code)]
unsafe fn on_all_threads(output: *mut f32, mode: Output, left: Matrix<'_>, right: Matrix<'_>) {
    let (rows, columns) = (left.rows, right.columns);
    let work = rows.saturating_mul(left.columns).saturating_mul(columns);
    let threads = match work < PARALLEL {
        true => 1,
        false => rayon::current_num_threads(),
    };
    let longer = rows.max(columns);
    let step = longer.div_ceil(threads).next_multiple_of(PIECE);
    let output = Place(output);
    let piece = |number: usize| {
        let output = &output;
        let start = number * step;
        let count = step.min(longer - start);
        // SAFETY: pieces do not overlap and lie inside the product, whose memory the caller answers for.
        unsafe {
            if rows >= columns {
                let place = output.0.add(start * columns);
                call(
                    place,
                    columns,
                    mode,
                    1.0,
                    [left.rows_from(start, count), right],
                );
            } else {
                let right = right.transposed().rows_from(start, count).transposed();
                call(output.0.add(start), columns, mode, 1.0, [left, right]);
            }
        }
    };
    parallel::for_each(longer.div_ceil(step.max(1)), piece);
}

/// The start of an output that several threads write at places which do not overlap.
struct Place(*mut f32);

// SAFETY: only `on_all_threads` uses the pointer, and its pieces do not overlap.
#[allow(unsafe_code)]
unsafe impl Sync for Place {}

/// # Safety
/// The columns of `left` must be as many as the rows of `right`, and `output` must be valid for writing `left.rows` rows
/// of `right.columns` elements, each `row_stride` after the one before; with [`Output::Add`] also for reading.
#[allow(unsafe_code)]
unsafe fn call(
    output: *mut f32,
    row_stride: usize,
    mode: Output,
    scale: f32,
    [left, right]: [Matrix<'_>; 2],
) {
    // SAFETY: the constructors of `Matrix` have checked that both inputs lie inside their slices, the caller promises the
    // rest, and strides fit an isize as those of slices do. Nothing is read from an output that is to be set.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            output,
            1,
            row_stride as isize,
            mode == Output::Add,
            left.elements.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.elements.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
