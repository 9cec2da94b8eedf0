//! Dropout masks that are a function of a key and a position.

/// One dropout site: which entries it drops, and what the others are multiplied by.
///
/// Nothing is stored: the entry at (row, column) is dropped if a hash of key, row and column falls below `p`, so the
/// backward pass, and any number of threads, see the same mask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mask {
    key: u64,
    /// The number of the first row.
    first: u64,
    /// `p` in units of 2^-24.
    pub(crate) threshold: u32,
    /// `1 / (1 - p)`.
    pub(crate) scale: f32,
}

/// The part of the hash that a row's entries share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaskRow {
    pub(crate) first: u32,
    pub(crate) second: u32,
}

/// The multipliers of the hash, which is also computed on devices.
pub(crate) const MULTIPLIERS: [u32; 3] = [0x9E37_79B9, 0x7FEB_352D, 0x846C_A68B];

impl Mask {
    /// The mask of rows that are numbered from `first` on; `None` where nothing is dropped.
    pub(crate) fn new(p: f64, key: Option<u64>, first: u64) -> Option<Self> {
        let key = key.filter(|_| p > 0.0)?;
        let p = p.min(1.0);
        Some(Self {
            key,
            first,
            threshold: (p * f64::from(1 << 24)).round() as u32,
            scale: if p < 1.0 {
                (1.0 / (1.0 - p)) as f32
            } else {
                0.0
            },
        })
    }

    /// The row that comes so many rows behind the first; numbers may use all 64 bits.
    #[inline(always)]
    pub(crate) fn row(&self, row: u64) -> MaskRow {
        let seed = scatter(self.key ^ scatter(self.first.wrapping_add(row)));
        MaskRow {
            first: seed as u32,
            second: (seed >> 32) as u32,
        }
    }

    /// What the entry is multiplied by: 0, or `1 / (1 - p)`.
    ///
    /// 32-bit operations only, so that a loop over columns compiles to vector instructions.
    #[inline(always)]
    pub(crate) fn factor(&self, row: MaskRow, column: u32) -> f32 {
        let [first, second, third] = MULTIPLIERS;
        let mut hash = column.wrapping_mul(first).wrapping_add(row.first);
        hash ^= hash >> 16;
        hash = hash.wrapping_mul(second);
        hash ^= row.second ^ (hash >> 15);
        hash = hash.wrapping_mul(third);
        hash ^= hash >> 16;
        let kept = (hash >> 8) as i32 >= self.threshold as i32;
        if kept { self.scale } else { 0.0 }
    }
}

/// A bijection of 64-bit numbers in which every bit of the input reaches every bit of the output.
#[inline(always)]
fn scatter(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    z = (z ^ (z >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    z ^ (z >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(mask: &Mask, row: u64, column: u32) -> f64 {
        f64::from(u8::from(mask.factor(mask.row(row), column) == 0.0))
    }

    #[test]
    fn a_tenth_is_dropped_and_neighbours_are_independent() {
        let (rows, columns) = (1000_u64, 384_u32);
        let next_key = Mask::new(0.1, Some(8), 0).unwrap();
        let mask = Mask::new(0.1, Some(7), 0).unwrap();
        let mut mean = 0.0;
        let mut pairs = [0.0; 5];
        for row in 0..rows {
            for column in 0..columns {
                let here = dropped(&mask, row, column);
                mean += here;
                pairs[0] += here * dropped(&mask, row, column + 1);
                pairs[1] += here * dropped(&mask, row, column + 8);
                pairs[2] += here * dropped(&mask, row + 1, column);
                pairs[3] += here * dropped(&mask, row + (1 << 32), column);
                pairs[4] += here * dropped(&next_key, row, column);
            }
        }
        // Five standard deviations of a mean of independent draws.
        let count = f64::from(columns) * rows as f64;
        assert!(
            (mean / count - 0.1).abs() < 5.0 * (0.09 / count).sqrt(),
            "{mean}"
        );
        for pair in pairs {
            assert!(
                (pair / count - 0.01).abs() < 5.0 * (0.0099 / count).sqrt(),
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn a_mask_that_starts_later_has_the_rows_from_there_on() {
        let (all, later) = (Mask::new(0.5, Some(9), 0), Mask::new(0.5, Some(9), 40));
        let (all, later) = (all.unwrap(), later.unwrap());
        for column in 0..100 {
            assert_eq!(dropped(&later, 2, column), dropped(&all, 42, column));
        }
    }

    #[test]
    fn every_row_and_every_column_drops_its_share() {
        let mask = Mask::new(0.1, Some(3), 0).unwrap();
        let bound = 6.0 * (0.09_f64 / 1000.0).sqrt();
        for fixed in 0..200 {
            let row: f64 = (0..1000).map(|column| dropped(&mask, fixed, column)).sum();
            let column: f64 = (0..1000).map(|row| dropped(&mask, row, fixed as u32)).sum();
            assert!((row / 1000.0 - 0.1).abs() < bound, "row {fixed}: {row}");
            assert!(
                (column / 1000.0 - 0.1).abs() < bound,
                "column {fixed}: {column}"
            );
        }
    }

    #[test]
    fn a_probability_of_one_drops_everything_and_zero_makes_no_mask() {
        let all = Mask::new(1.0, Some(1), 0).unwrap();
        assert!((0..100).all(|column| all.factor(all.row(0), column) == 0.0));
        assert!(Mask::new(0.0, Some(1), 0).is_none());
        assert!(Mask::new(0.5, None, 0).is_none());
    }
}
