//! Dropout whose mask is a function of a key.

use burn::tensor::Tensor;

use crate::generic;
use crate::mask::Mask;

/// Sets each entry to zero with probability `p` and divides the rest by `1 - p`; does nothing without a key.
///
/// The mask of an entry depends on the key, the number of its row and its column alone, on every backend. Rows are those of
/// the last dimension, and are numbered from `first_row` on: see [`Packing::rows_before`](pelt_hooks::Packing::rows_before).
pub fn dropout<const D: usize>(
    x: Tensor<D>,
    p: f64,
    key: Option<u64>,
    first_row: usize,
) -> Tensor<D> {
    let Some(mask) = Mask::new(p, key, first_row as u64) else {
        return x;
    };
    #[cfg(feature = "flex")]
    if crate::flex::serves(&x) {
        use crate::flex::{dropout::Dropout, run};
        return run(Dropout(mask), [x.into_dispatch()]);
    }
    generic::dropout(x, &mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn a_mask_repeats_with_its_key_and_keeps_the_mean() {
        let ones = || Tensor::<2>::ones([100, 100], &Device::flex());
        let first = dropout(ones(), 0.1, Some(7), 0);
        first
            .clone()
            .into_data()
            .assert_eq(&dropout(ones(), 0.1, Some(7), 0).into_data(), true);
        let mean: f32 = first.clone().mean().into_scalar();
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        let other = dropout(ones(), 0.1, Some(8), 0);
        let changed: f32 = (other - first).abs().sum().into_scalar();
        assert!(changed > 0.0);
    }

    #[test]
    fn the_generic_body_draws_the_same_masks() {
        let x = || Tensor::<2>::ones([30, 40], &Device::flex());
        let kernel = dropout(x(), 0.3, Some(5), 17);
        let generic = generic::force(|| dropout(x(), 0.3, Some(5), 17));
        generic.into_data().assert_eq(&kernel.into_data(), true);
    }

    #[test]
    fn nothing_is_dropped_without_a_key() {
        let x = Tensor::<2>::ones([4, 4], &Device::flex());
        dropout(x.clone(), 0.5, None, 0)
            .into_data()
            .assert_eq(&x.into_data(), true);
    }
}
