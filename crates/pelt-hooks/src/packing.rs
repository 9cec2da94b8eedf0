//! Where sequences lie in a packed tensor.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Tensor, TensorData};

/// Where the sequences of a batch lie in a `[tokens, width]` tensor: one after another, without padding.
///
/// Cheap to clone. The two small matrices that average rows per sequence and spread a value per sequence over its rows
/// are built on first use and shared by all clones.
#[derive(Clone, Debug)]
pub struct Packing {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Start of every sequence, and the total as last entry.
    offsets: Vec<usize>,
    /// Rows behind the last sequence that belong to none.
    padding: usize,
    before: Before,
    mean: OnceLock<Tensor<2>>,
    spread: OnceLock<Tensor<2>>,
}

/// What lies before a part in its batch.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    sequences: usize,
    rows: usize,
}

impl Packing {
    /// A packing of sequences of these lengths, in this order.
    pub fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        Self::placed(lengths, Before::default())
    }

    fn placed(lengths: impl IntoIterator<Item = usize>, before: Before) -> Self {
        let mut offsets = vec![0];
        let mut total = 0;
        for length in lengths {
            total += length;
            offsets.push(total);
        }
        Self {
            inner: Arc::new(Inner {
                offsets,
                padding: 0,
                before,
                mean: OnceLock::new(),
                spread: OnceLock::new(),
            }),
        }
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.inner.offsets.len() - 1
    }

    /// Number of rows of all sequences together.
    pub fn tokens(&self) -> usize {
        self.inner.offsets[self.sequences()]
    }

    /// Number of rows of a tensor in this packing: those of all sequences, and the [`padded`](Self::padded) ones.
    pub fn all_rows(&self) -> usize {
        self.tokens() + self.inner.padding
    }

    /// The packing with so many more rows behind the last sequence. They belong to no sequence, and nothing reads them: they
    /// are there for devices that are faster with few different shapes.
    pub fn padded(&self, rows: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                offsets: self.inner.offsets.clone(),
                padding: rows,
                before: self.inner.before,
                mean: OnceLock::new(),
                spread: OnceLock::new(),
            }),
        }
    }

    /// Start of every sequence, with the number of tokens as last entry: `sequences + 1` numbers.
    pub fn offsets(&self) -> &[usize] {
        &self.inner.offsets
    }

    /// The rows of one sequence.
    pub fn rows(&self, sequence: usize) -> Range<usize> {
        self.inner.offsets[sequence]..self.inner.offsets[sequence + 1]
    }

    /// The length of every sequence.
    pub fn lengths(&self) -> impl Iterator<Item = usize> + '_ {
        self.inner.offsets.windows(2).map(|pair| pair[1] - pair[0])
    }

    /// The length of the longest sequence, 0 without sequences.
    pub fn longest(&self) -> usize {
        self.lengths().max().unwrap_or(0)
    }

    /// The packing after `extra` rows have been added to every sequence.
    pub fn lengthened(&self, extra: usize) -> Self {
        if extra == 0 {
            return self.clone();
        }
        let before = Before {
            rows: self.rows_before() + extra * self.sequences_before(),
            ..self.inner.before
        };
        Self::placed(self.lengths().map(|length| length + extra), before)
    }

    /// The packing of one row per sequence, as left by [`first_rows`](Self::first_rows).
    pub fn one_row_each(&self) -> Self {
        let before = Before {
            rows: self.sequences_before(),
            ..self.inner.before
        };
        Self::placed(std::iter::repeat_n(1, self.sequences()), before)
    }

    /// The packing of a part of a batch that comes after the sequences of `others`. A row's dropout mask depends on its
    /// place in the batch, so that it is the same however the batch is cut.
    pub fn after(&self, others: &Self) -> Self {
        let before = Before {
            sequences: others.sequences_before() + others.sequences(),
            rows: others.rows_before() + others.tokens(),
        };
        Self::placed(self.lengths(), before)
    }

    /// How many sequences of the same batch lie in parts before this one.
    pub fn sequences_before(&self) -> usize {
        self.inner.before.sequences
    }

    /// How many rows of the same batch lie in parts before this one.
    pub fn rows_before(&self) -> usize {
        self.inner.before.rows
    }

    /// The index of every sequence's first row.
    pub fn first_rows(&self) -> Vec<i64> {
        self.inner.offsets[..self.sequences()]
            .iter()
            .map(|offset| *offset as i64)
            .collect()
    }

    /// The mean of every sequence's rows.
    ///
    /// # Shapes
    /// `[all rows, width]` to `[sequences, width]`.
    pub fn mean(&self, rows: Tensor<2>) -> Tensor<2> {
        let matrix = self
            .inner
            .mean
            .get_or_init(|| self.matrix(&rows.device().inner(), |length| 1.0 / length as f32));
        matrix.clone().matmul(rows)
    }

    /// Repeats a value per sequence for each of its rows.
    ///
    /// # Shapes
    /// `[sequences, width]` to `[all rows, width]`; padded rows get zeros.
    pub fn spread(&self, per_sequence: Tensor<2>) -> Tensor<2> {
        let matrix = self.inner.spread.get_or_init(|| {
            self.matrix(&per_sequence.device().inner(), |_| 1.0)
                .transpose()
        });
        matrix.clone().matmul(per_sequence)
    }

    /// `[sequences, all rows]` with `weight(length)` where the row belongs to the sequence.
    fn matrix(&self, device: &Device, weight: impl Fn(usize) -> f32) -> Tensor<2> {
        let (sequences, all) = (self.sequences(), self.all_rows());
        let mut values = vec![0.0_f32; sequences * all];
        for sequence in 0..sequences {
            let rows = self.rows(sequence);
            let weight = weight(rows.len());
            values[sequence * all..][rows].fill(weight);
        }
        Tensor::from_data(TensorData::new(values, [sequences, all]), device)
    }
}

impl PartialEq for Packing {
    fn eq(&self, other: &Self) -> bool {
        self.inner.offsets == other.inner.offsets && self.inner.padding == other.inner.padding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_sequences_follow_one_another() {
        let packing = Packing::new([3, 1, 2]);
        assert_eq!(packing.tokens(), 6);
        assert_eq!(packing.rows(1), 3..4);
        assert_eq!(packing.first_rows(), [0, 3, 4]);
        assert_eq!(packing.lengthened(2).offsets(), [0, 5, 8, 12]);
        assert_eq!(packing.longest(), 3);
    }

    #[test]
    fn padded_rows_belong_to_no_sequence() {
        let packing = Packing::new([2, 1]).padded(2);
        assert_eq!((packing.tokens(), packing.all_rows()), (3, 5));
        let device = Device::flex();
        let rows = Tensor::<2>::from_data([[1.0], [3.0], [5.0], [7.0], [9.0]], &device);
        let mean: Vec<f32> = packing.mean(rows).into_data().iter().collect();
        assert_eq!(mean, [2.0, 5.0]);
        let values = Tensor::<2>::from_data([[4.0], [6.0]], &device);
        let spread: Vec<f32> = packing.spread(values).into_data().iter().collect();
        assert_eq!(spread, [4.0, 4.0, 6.0, 0.0, 0.0]);
        assert_eq!(packing.one_row_each().all_rows(), 2);
    }

    #[test]
    fn a_part_knows_what_lies_before_it() {
        let first = Packing::new([3, 1, 2]);
        let second = Packing::new([4]).after(&first);
        let third = Packing::new([1, 1]).after(&second);
        let before = |packing: &Packing| (packing.sequences_before(), packing.rows_before());
        assert_eq!(before(&first), (0, 0));
        assert_eq!(before(&second), (3, 6));
        assert_eq!(before(&third), (4, 10));
        assert_eq!(before(&second.lengthened(5)), (3, 21));
        assert_eq!(before(&second.lengthened(5).one_row_each()), (3, 3));
        assert_eq!(second.offsets(), [0, 4]);
    }

    #[test]
    fn mean_and_spread_stay_inside_their_sequence() {
        let device = Device::flex();
        let packing = Packing::new([2, 1]);
        let rows = Tensor::<2>::from_data([[1.0, 10.0], [3.0, 20.0], [7.0, 70.0]], &device);
        let mean = packing.mean(rows);
        mean.clone()
            .into_data()
            .assert_eq(&TensorData::from([[2.0_f32, 15.0], [7.0, 70.0]]), true);
        packing.spread(mean).into_data().assert_eq(
            &TensorData::from([[2.0_f32, 15.0], [2.0, 15.0], [7.0, 70.0]]),
            true,
        );
    }
}
