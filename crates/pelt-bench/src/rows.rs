//! Token sequences: rows of a task, or made up.

use std::path::Path;
use std::time::Instant;

use pelt_data::{Card, Label, Tokenizer, read_split};
use pelt_hooks::Sequence;
use pelt_train::Examples;

use crate::BenchError;

/// Ids below this one are special tokens in every usual vocabulary.
const FIRST_WORD: usize = 5;

/// A real task.
#[derive(Debug, Clone, Copy)]
pub struct TaskData<'a> {
    /// Its name, such as `mrpc`.
    pub task: &'a str,
    /// Folder of data sets in the Hub's Parquet layout.
    pub folder: &'a Path,
    /// Longest sequence in tokens.
    pub max_length: usize,
}

/// Which rows of a task are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Train,
    Validation,
}

/// Tokenised rows.
pub(crate) struct Tokenised {
    pub examples: Examples,
    pub card: Card,
    /// Seconds that tokenisation took.
    pub seconds: f64,
}

impl TaskData<'_> {
    pub(crate) fn read(&self, part: Part, tokenizer: &Tokenizer) -> Result<Tokenised, BenchError> {
        let card = Card::require_builtin(self.task)?;
        let split = match part {
            Part::Train => card.train_split.as_ref(),
            Part::Validation => card.evaluation_splits.first(),
        };
        let Some(split) = split else {
            return Err(BenchError::Rows(format!(
                "the task {} has no {} rows",
                self.task,
                match part {
                    Part::Train => "training",
                    Part::Validation => "labelled validation",
                }
            )));
        };
        let dataset = read_split(self.folder, &card, split)?;
        let labels: Option<Vec<Label>> = dataset.rows.iter().map(|row| row.label).collect();
        let Some(labels) = labels else {
            return Err(BenchError::Rows(format!(
                "{} {split}: {} of {} rows have no label",
                self.task,
                dataset.rows.len() - dataset.labelled_rows(),
                dataset.rows.len()
            )));
        };
        let started = Instant::now();
        let encoded = tokenizer.encode_batch(&dataset.rows, self.max_length)?;
        let sequences = encoded.into_iter().map(|row| Sequence {
            input_ids: row.input_ids,
            token_type_ids: row.token_type_ids,
        });
        let sequences = sequences.collect();
        Ok(Tokenised {
            examples: Examples { sequences, labels },
            card,
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}

/// Made-up sequences of equal length, without special tokens.
pub(crate) fn made_up(
    sequences: usize,
    length: usize,
    vocabulary: usize,
    seed: u64,
) -> Vec<Sequence> {
    let first = FIRST_WORD.min(vocabulary.saturating_sub(1));
    let one = |number: usize| {
        let words = pelt_data::first_rows(vocabulary - first, length, seed + number as u64);
        let ids = words.iter().cycle().take(length);
        Sequence {
            input_ids: ids.map(|word| (word + first) as u32).collect(),
            token_type_ids: vec![0; length],
        }
    };
    (0..sequences).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_sequences_have_the_length_and_stay_in_the_vocabulary() {
        let sequences = made_up(3, 20, 12, 1);
        assert_eq!(sequences.len(), 3);
        for sequence in &sequences {
            assert_eq!(sequence.input_ids.len(), 20);
            assert!(sequence.input_ids.iter().all(|id| (5..12).contains(id)));
        }
        assert_ne!(sequences[0], sequences[1]);
    }
}
