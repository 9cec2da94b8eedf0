//! The data of the next steps, prepared on a thread of its own while a step runs.

use std::ops::Range;
use std::sync::mpsc::sync_channel;
use std::thread;

use burn::tensor::{Device, Int, Tensor, TensorData};
use pelt_data::{Label, shuffled_order};
use pelt_hooks::{PackedBatch, Sequence};

use crate::{Examples, MaskedTexts, TrainConfig, TrainingRows};

/// Steps that are prepared ahead.
const AHEAD: usize = 2;

/// The data of one optimiser step.
pub(crate) struct StepData {
    /// Its batches, in order; one without gradient accumulation.
    pub batches: Vec<Batch>,
    /// Sequences in all of them.
    pub rows: usize,
    /// Tokens in all of them, without prompts.
    pub tokens: usize,
}

/// One batch.
pub(crate) struct Batch {
    pub packed: PackedBatch,
    pub labels: Labels,
}

/// The labels of a batch, on the device.
pub(crate) enum Labels {
    Classes(Tensor<1, Int>),
    Scores(Tensor<1>),
    Spans(Vec<[usize; 2]>),
    /// Tokens of the batch, and what should be predicted there.
    Tokens(Vec<usize>, Tensor<1, Int>),
}

impl Batch {
    /// How many predictions its loss is the mean of.
    pub fn weight(&self) -> usize {
        match &self.labels {
            Labels::Tokens(places, _) => places.len(),
            _ => self.packed.packing.sequences(),
        }
    }
}

/// Calls `consume` with the data of `steps`, one after another. What a step gets depends on its number, the settings
/// and the rows alone, never on how far ahead the thread is.
pub(crate) fn prefetched<R>(
    examples: TrainingRows<'_>,
    config: &TrainConfig,
    device: &Device,
    steps: Range<usize>,
    consume: impl FnOnce(&mut dyn Iterator<Item = StepData>) -> R,
) -> R {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        scope.spawn(move || {
            let mut order = (usize::MAX, Vec::new());
            let steps_per_epoch = config.steps_per_epoch(examples.count());
            for step in steps {
                let epoch = step / steps_per_epoch;
                if order.0 != epoch {
                    let rows = examples.count();
                    order = (epoch, shuffled_order(rows, config.seed, epoch as u64));
                }
                let batch = |rows: &[usize]| match examples {
                    TrainingRows::Labelled(examples) => labelled(examples, rows, device),
                    TrainingRows::Masked(texts) => {
                        masked(texts, rows, config.seed, epoch as u64, device)
                    }
                };
                let data = prepare(config, &order.1, step % steps_per_epoch, batch);
                // The receiver is gone once training has stopped early.
                if sender.send(data).is_err() {
                    return;
                }
            }
        });
        consume(&mut receiver.into_iter())
    })
}

fn prepare(
    config: &TrainConfig,
    order: &[usize],
    step_in_epoch: usize,
    batch: impl Fn(&[usize]) -> Batch,
) -> StepData {
    let batches: Vec<Batch> = order
        .chunks(config.batch_size)
        .skip(step_in_epoch * config.gradient_accumulation)
        .take(config.gradient_accumulation)
        .map(batch)
        .collect();
    let sum = |size: fn(&Batch) -> usize| batches.iter().map(size).sum();
    StepData {
        rows: sum(|batch| batch.packed.packing.sequences()),
        tokens: sum(|batch| batch.packed.packing.tokens()),
        batches,
    }
}

fn labelled(examples: &Examples, rows: &[usize], device: &Device) -> Batch {
    Batch {
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
) -> Batch {
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
    Batch {
        packed: PackedBatch::new(&sequences),
        labels: Labels::Tokens(places, tokens),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(rows: usize) -> Examples {
        let sequence = |row: usize| Sequence {
            input_ids: vec![row as u32; row + 1],
            token_type_ids: vec![0; row + 1],
        };
        Examples {
            sequences: (0..rows).map(sequence).collect(),
            labels: (0..rows).map(|row| Label::Class(row % 2)).collect(),
        }
    }

    fn first_tokens(examples: &Examples, steps: Range<usize>) -> Vec<Vec<u32>> {
        let config = TrainConfig {
            batch_size: 2,
            gradient_accumulation: 2,
            ..TrainConfig::default()
        };
        let rows = TrainingRows::Labelled(examples);
        prefetched(rows, &config, &Device::flex(), steps, |data| {
            data.map(|step| {
                let batches = step.batches.into_iter();
                batches.flat_map(|batch| batch.packed.input_ids).collect()
            })
            .collect()
        })
    }

    #[test]
    fn a_step_gets_the_same_rows_wherever_the_run_starts() {
        let examples = examples(7);
        let all = first_tokens(&examples, 0..6);
        assert_eq!(all.len(), 6);
        assert_eq!(first_tokens(&examples, 3..6), all[3..]);
        let mut epoch: Vec<u32> = all[..2].concat();
        epoch.sort_unstable();
        epoch.dedup();
        assert_eq!(epoch, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn stopping_early_ends_the_thread() {
        let examples = examples(7);
        let config = TrainConfig::default();
        let rows = prefetched(
            TrainingRows::Labelled(&examples),
            &config,
            &Device::flex(),
            0..1000,
            |data| data.next().map(|step| (step.rows, step.tokens)),
        );
        assert_eq!(rows, Some((7, 28)));
    }
}
