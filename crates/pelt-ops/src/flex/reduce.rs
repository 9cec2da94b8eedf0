//! Sums over rows, in an order that does not depend on the number of threads.

use super::buffer::{PARALLEL, for_parts, part};

/// Rows whose sum one thread computes.
pub(crate) const BLOCK: usize = 64;

/// The sum of all rows of `width` elements.
pub(crate) fn column_sums(rows: &[f32], width: usize) -> Vec<f32> {
    if width == 0 {
        return Vec::new();
    }
    let block = BLOCK * width;
    let mut partial = vec![0.0; rows.len().div_ceil(block) * width];
    let worth_it = rows.len() >= PARALLEL;
    for_parts([(&mut partial, width)], worth_it, |number, [total]| {
        add_rows(total, part(rows, number, block));
    });
    let mut total = vec![0.0; width];
    add_rows(&mut total, &partial);
    total
}

/// Adds each of `rows`, one after another, to `total`.
pub(crate) fn add_rows(total: &mut [f32], rows: &[f32]) {
    if total.is_empty() {
        return;
    }
    for row in rows.chunks_exact(total.len()) {
        for (total, value) in total.iter_mut().zip(row) {
            *total += value;
        }
    }
}
