//! Which rows are trained on, and in which order.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::DataError;

/// The rows `0..rows` in the order of one epoch.
///
/// The order depends on the arguments alone: not on the machine, the number of threads or the versions of libraries.
/// It is a Fisher-Yates shuffle driven by ChaCha8.
pub fn shuffled_order(rows: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut random = generator(seed, epoch);
    let mut order: Vec<usize> = (0..rows).collect();
    for last in (1..rows).rev() {
        // The upper half of the product is a number from 0 to `last`; its bias is below 2^-32 for any real data set.
        let product = u128::from(random.next_u64()) * (last as u128 + 1);
        order.swap(last, (product >> 64) as usize);
    }
    order
}

/// The first `count` rows of the shuffled rows `0..rows`, or all of them where there are fewer.
pub fn first_rows(rows: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut order = shuffled_order(rows, seed, 0);
    order.truncate(count);
    order
}

/// The first `train` of the shuffled rows `0..rows` of a data set, and the `held_out` rows after them.
///
/// # Errors
/// There are fewer rows than that; `name` is that of the data set.
pub(crate) fn hold_out(
    name: String,
    rows: usize,
    [train, held_out]: [usize; 2],
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>), DataError> {
    let wanted = train.saturating_add(held_out);
    if wanted > rows {
        return Err(DataError::TooFewRows { name, rows, wanted });
    }
    let mut chosen = first_rows(rows, wanted, seed);
    let rest = chosen.split_off(train);
    Ok((chosen, rest))
}

/// The name of the split that rows held out of `split` make up; a user's file has no split's name.
pub(crate) fn held_out_split(split: &str) -> String {
    format!("{split} (held out)").trim_start().to_owned()
}

/// A generator for one epoch: seed and epoch fill different parts of ChaCha's key, each through SplitMix64, so that
/// neighbouring numbers give unrelated orders.
fn generator(seed: u64, epoch: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    let words = [
        mix(seed),
        mix(seed ^ u64::MAX),
        mix(epoch),
        mix(epoch ^ u64::MAX),
    ];
    for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// The output function of SplitMix64.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_pinned() {
        // The values agree with an independent implementation. A changed one means that no run made
        // before can be repeated or resumed.
        assert_eq!(shuffled_order(10, 42, 0), [1, 9, 8, 0, 2, 6, 5, 7, 4, 3]);
        assert_eq!(shuffled_order(10, 42, 1), [4, 6, 8, 9, 5, 7, 3, 0, 1, 2]);
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn every_row_comes_once() {
        for rows in [0, 1, 2, 1000] {
            let mut order = shuffled_order(rows, 7, 3);
            order.sort_unstable();
            assert_eq!(order, (0..rows).collect::<Vec<_>>());
        }
    }

    #[test]
    fn seeds_and_epochs_give_different_orders() {
        let orders = [(0, 0), (0, 1), (1, 0), (1, 1), (u64::MAX, 0)];
        let orders = orders.map(|(seed, epoch)| shuffled_order(50, seed, epoch));
        for (index, order) in orders.iter().enumerate() {
            assert!(!orders[..index].contains(order), "order {index}");
        }
    }

    #[test]
    fn every_place_is_about_equally_likely() {
        let mut counts = [0_u32; 4];
        for epoch in 0..4000 {
            let order = shuffled_order(4, 1, epoch);
            counts[order.iter().position(|&row| row == 0).unwrap()] += 1;
        }
        assert!(
            counts.iter().all(|count| (900..1100).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn the_first_rows_of_a_seed_are_nested() {
        let all = first_rows(100, 1000, 5);
        assert_eq!(all.len(), 100);
        assert_eq!(first_rows(100, 10, 5), all[..10]);
    }
}
