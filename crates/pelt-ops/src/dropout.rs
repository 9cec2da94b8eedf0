//! Dropout whose mask is a function of a key.

use burn::tensor::Tensor;

use crate::generic;

/// Sets each entry to zero with probability `p` and divides the rest by `1 - p`; does nothing without a key.
///
/// The mask depends on the key and the shape alone, so the same pass gives the same mask.
pub fn dropout<const D: usize>(x: Tensor<D>, p: f64, key: Option<u64>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if crate::flex::serves(&x) {
        use crate::flex::{dropout::Dropout, mask::Mask, run};
        return match Mask::new(p, key) {
            Some(mask) => run(Dropout(mask), [x.into_dispatch()]),
            None => x,
        };
    }
    generic::dropout(x, p, key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn a_mask_repeats_with_its_key_and_keeps_the_mean() {
        let ones = || Tensor::<2>::ones([100, 100], &Device::flex());
        let first = dropout(ones(), 0.1, Some(7));
        first
            .clone()
            .into_data()
            .assert_eq(&dropout(ones(), 0.1, Some(7)).into_data(), true);
        let mean: f32 = first.mean().into_scalar();
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        let other = dropout(ones(), 0.1, Some(8));
        let changed: f32 = (other - dropout(ones(), 0.1, Some(7)))
            .abs()
            .sum()
            .into_scalar();
        assert!(changed > 0.0);
    }

    #[test]
    fn nothing_is_dropped_without_a_key() {
        let x = Tensor::<2>::ones([4, 4], &Device::flex());
        dropout(x.clone(), 0.5, None)
            .into_data()
            .assert_eq(&x.into_data(), true);
    }
}
