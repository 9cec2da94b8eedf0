//! The data of the next steps, prepared on a thread of its own while a step runs.

use std::ops::Range;
use std::sync::mpsc::sync_channel;
use std::thread;

use burn::tensor::Device;
use pelt_data::shuffled_order;

use crate::batch::{Batch, cut};
use crate::{TrainConfig, TrainingRows};

/// Steps that are prepared ahead.
const AHEAD: usize = 2;

/// The data of one optimiser step.
pub(crate) struct StepData {
    /// The parts of its batches, in order; one batch without gradient accumulation.
    pub batches: Vec<Vec<Batch>>,
    /// Sequences in all of them.
    pub rows: usize,
    /// Tokens in all of them, without prompts.
    pub tokens: usize,
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
                let part = |rows: &[usize]| match examples {
                    TrainingRows::Labelled(examples) => Batch::labelled(examples, rows, device),
                    TrainingRows::Masked(texts) => {
                        Batch::masked(texts, rows, config.seed, epoch as u64, device)
                    }
                };
                let batch = |rows: &[usize]| {
                    let parts = cut(rows, config.parts, |row| examples.length(row));
                    Batch::of_parts(parts, device, part)
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
    batch: impl Fn(&[usize]) -> Vec<Batch>,
) -> StepData {
    let batches: Vec<Vec<Batch>> = order
        .chunks(config.batch_size)
        .skip(step_in_epoch * config.gradient_accumulation)
        .take(config.gradient_accumulation)
        .map(batch)
        .collect();
    let sum = |size: fn(&Batch) -> usize| batches.iter().flatten().map(size).sum();
    StepData {
        rows: sum(|batch| batch.packed.packing.sequences()),
        tokens: sum(|batch| batch.packed.packing.tokens()),
        batches,
    }
}

#[cfg(test)]
mod tests {
    use pelt_data::Label;
    use pelt_hooks::Sequence;

    use super::*;
    use crate::Examples;

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
                batches
                    .flatten()
                    .flat_map(|part| part.packed.input_ids)
                    .collect()
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
