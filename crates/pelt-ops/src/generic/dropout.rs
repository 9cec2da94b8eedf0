//! Dropout, with masks that are made where there is more to compute with.

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};

use crate::mask::{MULTIPLIERS, Mask};
use crate::parts::is_processor;
use crate::precision::like;

/// What [`dropout`](crate::dropout) computes.
pub(crate) fn dropout<const D: usize>(x: Tensor<D>, mask: &Mask) -> Tensor<D> {
    let dims = x.dims();
    let rows: usize = dims[..D - 1].iter().product();
    masked(x, mask, 0..rows as u64)
}

/// Applies the rows of these numbers of a mask, in the order of the tensor's rows.
pub(super) fn masked<const D: usize>(
    x: Tensor<D>,
    mask: &Mask,
    rows: impl Iterator<Item = u64>,
) -> Tensor<D> {
    let dims = x.dims();
    let width = dims[D - 1];
    let device = x.device().inner();
    match is_processor(&device) {
        true => {
            let factors = like(factors(mask, rows, width, dims, &device), &x);
            x * factors
        }
        false => {
            let dropped = dropped(mask, rows, width, &device);
            x.mask_fill(dropped.reshape(dims), 0.0) * mask.scale
        }
    }
}

/// What the mask multiplies these rows of `width` entries by.
fn factors<const D: usize>(
    mask: &Mask,
    rows: impl Iterator<Item = u64>,
    width: usize,
    dims: [usize; D],
    device: &Device,
) -> Tensor<D> {
    let mut factors = Vec::with_capacity(dims.iter().product());
    for row in rows {
        let row = mask.row(row);
        factors.extend((0..width as u32).map(|column| mask.factor(row, column)));
    }
    Tensor::from_data(TensorData::new(factors, dims), device)
}

/// Which entries of these rows are dropped, `[rows, width]`: the bits of [`Mask::factor`], hashed on the device. The host
/// brings two numbers for every row. 32-bit products keep their lowest bits, and shifts of negative numbers their sign.
fn dropped(
    mask: &Mask,
    rows: impl Iterator<Item = u64>,
    width: usize,
    device: &Device,
) -> Tensor<2, Bool> {
    let [by_column, second, third] = MULTIPLIERS.map(|multiplier| multiplier as i32);
    let rows = rows.map(|row| mask.row(row));
    let (firsts, seconds): (Vec<i32>, Vec<i32>) = rows
        .map(|row| (row.first as i32, row.second as i32))
        .unzip();
    let shape = [firsts.len(), width];
    let int = |values: Vec<i32>, shape: [usize; 2]| {
        let data = TensorData::new(values, shape);
        Tensor::<2, Int>::from_data(data, (device, DType::I32))
    };
    let columns = (0..width as i32).map(|column| column.wrapping_mul(by_column));
    let columns = int(columns.collect(), [1, width]).expand(shape);
    let column = |values: Vec<i32>| int(values, [shape[0], 1]).expand(shape);

    let hash = columns + column(firsts);
    let hash = hash.clone().bitwise_xor(shifted(hash, 16)) * second;
    let mixed = shifted(hash.clone(), 15).bitwise_xor(column(seconds));
    let hash = hash.bitwise_xor(mixed) * third;
    let hash = hash.clone().bitwise_xor(shifted(hash, 16));
    shifted(hash, 8).lower_elem(mask.threshold as i32)
}

/// A shift to the right that fills up with zeros.
fn shifted(hash: Tensor<2, Int>, bits: u32) -> Tensor<2, Int> {
    let kept = (u32::MAX >> bits) as i32;
    hash.bitwise_right_shift_scalar(bits as i32)
        .bitwise_and_scalar(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_drops_what_the_host_drops() {
        let device = Device::flex();
        let rows = || [0, 3, 1 << 32, (7 << 32) + 5, u64::MAX].into_iter();
        for p in [0.1, 0.5, 1.0] {
            let mask = Mask::new(p, Some(11), 40).unwrap();
            let host: Tensor<2> = factors(&mask, rows(), 300, [5, 300], &device);
            let ones = Tensor::<2>::ones([5, 300], &device);
            let dropped = dropped(&mask, rows(), 300, &device);
            let found = ones.mask_fill(dropped, 0.0) * mask.scale;
            found.into_data().assert_eq(&host.into_data(), true);
        }
    }

    #[test]
    fn a_mask_made_on_a_device_also_masks_the_gradient() {
        let device = Device::flex().autodiff();
        let mask = Mask::new(0.3, Some(5), 0).unwrap();
        let x = Tensor::<2>::ones([4, 9], &device).require_grad();
        let dropped = dropped(&mask, 0..4, 9, &device.clone().inner());
        let y = x.clone().mask_fill(dropped, 0.0) * mask.scale;
        let gradient = x.grad(&y.clone().sum().backward()).unwrap();
        gradient.into_data().assert_eq(&y.inner().into_data(), true);
    }
}
