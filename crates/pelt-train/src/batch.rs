//! Batches, and how they are cut into parts that are worked on side by side.

use burn::tensor::{Device, Int, Tensor, TensorData};
use pelt_data::Label;
use pelt_encoder::RowsRead;
use pelt_hooks::{PackedBatch, Sequence};
use pelt_ops::parts;

use crate::{Examples, MaskedTexts, TrainingRows};

/// What a sequence costs beside its tokens, in tokens: its prompt, its prefixes and its row of the last layer.
const PER_SEQUENCE: usize = 8;

/// Rows and what a model should say of them.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Numbers of the rows among all that are trained on.
    pub(crate) rows: Vec<usize>,
    pub(crate) packed: PackedBatch,
    pub(crate) labels: Labels,
}

/// The labels of a batch, on the device.
#[derive(Debug, Clone)]
pub(crate) enum Labels {
    Classes(Tensor<1, Int>),
    Scores(Tensor<1>),
    Spans(Vec<[usize; 2]>),
    /// Tokens of the batch, and what should be predicted there.
    Tokens(Vec<usize>, Tensor<1, Int>),
}

impl Batch {
    /// Labelled rows, cut into `parts` that cost about the same, or fewer where there are fewer rows. Where
    /// [parts do not run side by side](parts), all of them are one.
    pub fn in_parts(
        examples: &Examples,
        rows: &[usize],
        parts: usize,
        device: &Device,
    ) -> Vec<Self> {
        let length = |row| TrainingRows::Labelled(examples).length(row);
        let parts = cut(rows, parts, length);
        Self::of_parts(parts, device, |rows| Self::labelled(examples, rows, device))
    }

    /// One batch after another of rows that have been [cut]. Dropout draws the same masks where the parts are joined.
    pub(crate) fn of_parts(
        mut cut: Vec<Vec<usize>>,
        device: &Device,
        batch: impl Fn(&[usize]) -> Self,
    ) -> Vec<Self> {
        if parts(device) == 1 {
            cut = vec![cut.concat()];
        }
        let mut batches: Vec<Self> = Vec::new();
        for rows in cut {
            let mut batch = batch(&rows);
            if let Some(before) = batches.last() {
                batch.packed.packing = batch.packed.packing.after(&before.packed.packing);
            }
            batches.push(batch);
        }
        batches
    }

    pub(crate) fn labelled(examples: &Examples, rows: &[usize], device: &Device) -> Self {
        Self {
            rows: rows.to_vec(),
            packed: PackedBatch::new(rows.iter().map(|row| &examples.sequences[*row])),
            labels: labels(rows.iter().map(|row| examples.labels[*row]), device),
        }
    }

    /// A batch in which the tokens that this epoch chooses are masked.
    pub(crate) fn masked(
        texts: &MaskedTexts,
        rows: &[usize],
        seed: u64,
        epoch: u64,
        device: &Device,
    ) -> Self {
        let (mut sequences, mut places, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for row in rows {
            let sequence = &texts.sequences[*row];
            let masked = texts
                .masking
                .mask(&sequence.input_ids, seed, epoch, *row as u64);
            for (place, token) in masked.targets {
                places.push(start + place);
                tokens.push(i64::from(token));
            }
            start += sequence.input_ids.len();
            sequences.push(Sequence {
                input_ids: masked.input_ids,
                token_type_ids: sequence.token_type_ids.clone(),
            });
        }
        let count = tokens.len();
        let tokens = Tensor::from_data(TensorData::new(tokens, [count]), device);
        Self {
            rows: rows.to_vec(),
            packed: PackedBatch::new(&sequences),
            labels: Labels::Tokens(places, tokens),
        }
    }

    /// Which rows of the last layer its loss depends on.
    pub(crate) fn rows_read(&self) -> RowsRead {
        match &self.labels {
            Labels::Classes(_) | Labels::Scores(_) => RowsRead::First,
            Labels::Spans(_) | Labels::Tokens(..) => RowsRead::All,
        }
    }

    /// How many predictions its loss is the mean of.
    pub(crate) fn weight(&self) -> usize {
        match &self.labels {
            Labels::Tokens(places, _) => places.len(),
            _ => self.packed.packing.sequences(),
        }
    }
}

fn labels(labels: impl Iterator<Item = Label>, device: &Device) -> Labels {
    let (mut classes, mut scores, mut spans) = (vec![], vec![], vec![]);
    for label in labels {
        match label {
            Label::Class(class) => classes.push(class as i64),
            Label::Score(score) => scores.push(score),
            Label::Span(tokens) => spans.push(tokens),
        }
    }
    if !spans.is_empty() {
        return Labels::Spans(spans);
    }
    let count = classes.len().max(scores.len());
    match scores.is_empty() {
        true => Labels::Classes(Tensor::from_data(TensorData::new(classes, [count]), device)),
        false => Labels::Scores(Tensor::from_data(TensorData::new(scores, [count]), device)),
    }
}

/// Cuts rows into `parts` of about the same cost, or fewer where there are fewer rows. Each row, from the longest on, goes
/// to the part that costs least so far; within a part rows stay in their order.
pub(crate) fn cut(
    rows: &[usize],
    parts: usize,
    length: impl Fn(usize) -> usize,
) -> Vec<Vec<usize>> {
    let count = parts.min(rows.len()).max(1);
    if count == 1 {
        return vec![rows.to_vec()];
    }
    let mut places: Vec<usize> = (0..rows.len()).collect();
    places.sort_by_key(|place| std::cmp::Reverse(length(rows[*place])));
    let mut parts = vec![(0, Vec::new()); count];
    for place in places {
        let lightest = parts.iter_mut().min_by_key(|(cost, _)| *cost);
        if let Some((cost, part)) = lightest {
            *cost += length(rows[place]) + PER_SEQUENCE;
            part.push(place);
        }
    }
    let parts = parts.into_iter().map(|(_, mut part)| {
        part.sort_unstable();
        part.into_iter().map(|place| rows[place]).collect()
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_every_row_once_and_cost_about_the_same() {
        let lengths = [9, 60, 12, 30, 7, 7, 41, 3];
        let rows = [7, 0, 3, 1, 6, 2, 5];
        for count in 1..10 {
            let parts = cut(&rows, count, |row| lengths[row]);
            assert_eq!(parts.len(), count.min(rows.len()));
            let mut all = parts.concat();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3, 5, 6, 7]);
            let place = |row: &usize| rows.iter().position(|other| other == row);
            for part in &parts {
                assert!(part.is_sorted_by_key(place), "{parts:?}");
            }
        }
        let parts = cut(&rows, 2, |row| lengths[row]);
        let costs: Vec<usize> = parts
            .iter()
            .map(|part| part.iter().map(|row| lengths[*row] + PER_SEQUENCE).sum())
            .collect();
        assert!(costs[0].abs_diff(costs[1]) <= 11, "{costs:?}");
    }
}
