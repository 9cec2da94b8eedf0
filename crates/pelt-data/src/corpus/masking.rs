//! Which tokens of a row a masked-language model has to predict.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::Tokenizer;
use crate::batches::mix;
use crate::error::DataError;

/// Share of a row's tokens that are to be predicted.
const SHARE: f64 = 0.15;

/// The rule of BERT (arXiv 1810.04805): 15 % of a row's tokens are to be predicted, of which 80 % are replaced by the
/// mask, 10 % by another token, and 10 % stay. Special tokens are neither predicted nor put in.
#[derive(Debug, Clone)]
pub struct Masking {
    mask: u32,
    special: BTreeSet<u32>,
    /// All tokens that may be put in the place of another.
    ordinary: Vec<u32>,
}

/// A row as a model reads it, and what it should predict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskedRow {
    /// The tokens of the row, some of them replaced.
    pub input_ids: Vec<u32>,
    /// Places in the row, from 0 and in order, and the token that stood there.
    pub targets: Vec<(usize, u32)>,
}

impl Masking {
    /// The rule for a tokenizer and a model with `vocabulary` tokens.
    ///
    /// # Errors
    /// The tokenizer has no mask, or the vocabulary no ordinary token.
    pub fn new(tokenizer: &Tokenizer, vocabulary: usize) -> Result<Self, DataError> {
        let mask = tokenizer.mask_id().ok_or(DataError::NoMask)?;
        let special = tokenizer.special_ids();
        let known = tokenizer.vocab_size().min(vocabulary) as u32;
        let ordinary: Vec<u32> = (0..known).filter(|id| !special.contains(id)).collect();
        if ordinary.is_empty() {
            return Err(DataError::NoMask);
        }
        Ok(Self {
            mask,
            special,
            ordinary,
        })
    }

    /// Masks a row. The result depends on the arguments alone: `row` is the row's number, and another `epoch` masks other
    /// tokens. A row with any ordinary token has at least one target.
    pub fn mask(&self, ids: &[u32], seed: u64, epoch: u64, row: u64) -> MaskedRow {
        let mut random = generator(seed, epoch, row);
        let mut below = |limit: usize| {
            let product = u128::from(random.next_u64()) * limit as u128;
            (product >> 64) as usize
        };
        let mut places: Vec<usize> = (0..ids.len())
            .filter(|place| !self.special.contains(&ids[*place]))
            .collect();
        let count = (SHARE * places.len() as f64).round() as usize;
        let count = count.max(1).min(places.len());
        for chosen in 0..count {
            let other = chosen + below(places.len() - chosen);
            places.swap(chosen, other);
        }
        places.truncate(count);
        places.sort_unstable();
        let mut input_ids = ids.to_vec();
        for place in &places {
            match below(10) {
                0 => input_ids[*place] = self.ordinary[below(self.ordinary.len())],
                1 => {}
                _ => input_ids[*place] = self.mask,
            }
        }
        MaskedRow {
            input_ids,
            targets: places
                .into_iter()
                .map(|place| (place, ids[place]))
                .collect(),
        }
    }
}

/// A generator for one row of one epoch: each number fills a part of ChaCha's key, through SplitMix64.
fn generator(seed: u64, epoch: u64, row: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    // The last word keeps these numbers apart from those of the order of rows.
    let words = [mix(seed), mix(epoch), mix(row), mix(0x6d61_736b)];
    for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens 0 to 4 are special, 4 is the mask.
    fn masking() -> Masking {
        Masking {
            mask: 4,
            special: (0..5).collect(),
            ordinary: (5..1000).collect(),
        }
    }

    fn row() -> Vec<u32> {
        let text = (0..200).map(|at| 5 + at * 7 % 900);
        [2].into_iter().chain(text).chain([3]).collect()
    }

    #[test]
    fn fifteen_in_a_hundred_are_predicted_and_mostly_masked() {
        let (masking, row) = (masking(), row());
        let [mut masked, mut kept, mut replaced] = [0, 0, 0];
        for epoch in 0..200 {
            let found = masking.mask(&row, 1, epoch, 0);
            assert_eq!(found.targets.len(), 30);
            let mut expected = row.clone();
            for (place, original) in &found.targets {
                assert_eq!(row[*place], *original);
                assert!(*original > 4, "a special token is to be predicted");
                match found.input_ids[*place] {
                    4 => masked += 1,
                    id if id == *original => kept += 1,
                    id => {
                        assert!(id > 4, "a special token was put in");
                        replaced += 1;
                    }
                }
                expected[*place] = found.input_ids[*place];
            }
            assert_eq!(found.input_ids, expected, "another token was changed");
        }
        assert!((4650..4950).contains(&masked), "{masked}");
        assert!((500..700).contains(&kept), "{kept}");
        assert!((500..700).contains(&replaced), "{replaced}");
    }

    #[test]
    fn seed_epoch_and_row_decide_and_nothing_else() {
        let (masking, row) = (masking(), row());
        let first = masking.mask(&row, 1, 2, 3);
        assert_eq!(first, masking.mask(&row, 1, 2, 3));
        for [seed, epoch, number] in [[2, 2, 3], [1, 3, 3], [1, 2, 4], [2, 1, 3]] {
            assert_ne!(
                first.targets,
                masking.mask(&row, seed, epoch, number).targets
            );
        }
        // The values agree with an independent implementation; changed ones mean that no run made before can be resumed.
        let places: Vec<usize> = first
            .targets
            .iter()
            .take(4)
            .map(|target| target.0)
            .collect();
        assert_eq!(places, [7, 21, 30, 32]);
    }

    #[test]
    fn short_rows_have_one_target_and_special_ones_none() {
        let masking = masking();
        assert_eq!(masking.mask(&[2, 9, 3], 1, 0, 0).targets, [(1, 9)]);
        assert_eq!(masking.mask(&[2, 3], 1, 0, 0).targets, []);
    }
}
