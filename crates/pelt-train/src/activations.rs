//! What the layers below the method give for every training row, kept from epoch to epoch.

use std::collections::BTreeSet;

use burn::tensor::{Device, Tensor, TensorData};
use pelt_data::shuffled_order;
use pelt_hooks::{LeadingStates, Method, PackedBatch, Pass};
use pelt_ops::side_by_side;

use crate::batch::{Batch, cut};
use crate::evaluate::host_values;
use crate::{Examples, PeftModel, TrainConfig, TrainError};

impl Examples {
    /// Bytes of the hidden states of all rows after one layer, `f32` of width `hidden_size`: what
    /// [`TrainConfig::cache_activations`] keeps in the end.
    pub fn activation_bytes(&self, hidden_size: usize) -> usize {
        let tokens: usize = self.sequences.iter().map(|row| row.input_ids.len()).sum();
        tokens * hidden_size * size_of::<f32>()
    }
}

/// The hidden states of training rows behind the leading layers, each computed when it is first needed.
#[derive(Debug)]
pub(crate) struct Activations<'a> {
    examples: &'a Examples,
    layers: usize,
    width: usize,
    /// How many groups are worked on at the same time.
    at_once: usize,
    /// Rows that are computed together: the parts of the first epoch's batches. As products of other rows may be rounded
    /// otherwise, they stay together in a run that starts later, which so gets the same bytes.
    groups: Vec<Vec<usize>>,
    /// The group of every row.
    group_of: Vec<usize>,
    /// The states of one row after another, in memory that was reserved for all of them.
    values: Vec<f32>,
    /// Where the states of every row start; nothing where they are not computed yet.
    starts: Vec<Option<usize>>,
}

impl<'a> Activations<'a> {
    /// Room for the states of all rows behind `layers` layers of this width.
    pub fn new(
        examples: &'a Examples,
        config: &TrainConfig,
        layers: usize,
        width: usize,
    ) -> Result<Self, TrainError> {
        let rows = examples.sequences.len();
        let length = |row: usize| examples.sequences[row].input_ids.len();
        let order = shuffled_order(rows, config.seed, 0);
        let batches = order.chunks(config.batch_size);
        let groups: Vec<_> = batches
            .flat_map(|batch| cut(batch, config.parts, length))
            .collect();
        let mut group_of = vec![0; rows];
        for (number, group) in groups.iter().enumerate() {
            for row in group {
                group_of[*row] = number;
            }
        }
        let bytes = examples.activation_bytes(width);
        let mut values = Vec::new();
        let reserved = values.try_reserve_exact(bytes / size_of::<f32>());
        reserved.map_err(|_| {
            TrainError::Rows(format!(
                "there is no memory for the activations of all rows, which take {bytes} bytes"
            ))
        })?;
        Ok(Self {
            examples,
            layers,
            width,
            at_once: config.parts,
            groups,
            group_of,
            values,
            starts: vec![None; rows],
        })
    }

    /// Gives the parts of a batch their states, and computes those that are not there yet.
    pub fn give<M: Method>(
        &mut self,
        model: &PeftModel<M>,
        parts: &mut [Batch],
    ) -> Result<(), TrainError> {
        let rows = parts.iter().flat_map(|part| &part.rows);
        let missing = rows.filter(|row| self.starts[**row].is_none());
        let missing: BTreeSet<usize> = missing.map(|row| self.group_of[*row]).collect();
        let missing: Vec<usize> = missing.into_iter().collect();
        for groups in missing.chunks(self.at_once) {
            self.compute(model, groups)?;
        }
        let device = model.device();
        for part in parts {
            part.packed.leading = Some(self.states(part, &device));
        }
        Ok(())
    }

    fn compute<M: Method>(
        &mut self,
        model: &PeftModel<M>,
        groups: &[usize],
    ) -> Result<(), TrainError> {
        let (examples, layers) = (self.examples, self.layers);
        let work = groups.iter().map(|group| {
            let rows = self.groups[*group].iter();
            let batch = PackedBatch::new(rows.map(|row| &examples.sequences[*row]));
            (model.clone(), batch)
        });
        let found = side_by_side(
            work.collect(),
            |(model, batch): (PeftModel<M>, PackedBatch)| {
                let (encoder, pass) = (model.encoder(), Pass::evaluate());
                let hidden = encoder.leading(&batch, &model.method, layers, &pass)?;
                host_values(hidden.values)
            },
        );
        for (group, found) in groups.iter().zip(found) {
            let mut start = self.values.len();
            self.values.extend(found?);
            for row in &self.groups[*group] {
                self.starts[*row] = Some(start);
                start += self.row_values(*row);
            }
        }
        Ok(())
    }

    /// Numbers in the states of a row.
    fn row_values(&self, row: usize) -> usize {
        self.examples.sequences[row].input_ids.len() * self.width
    }

    /// The states of a part, all of which are there.
    fn states(&self, part: &Batch, device: &Device) -> LeadingStates {
        let tokens = part.packed.packing.tokens();
        let mut values = Vec::with_capacity(tokens * self.width);
        for row in &part.rows {
            if let Some(start) = self.starts[*row] {
                values.extend_from_slice(&self.values[start..start + self.row_values(*row)]);
            }
        }
        let values = TensorData::new(values, [tokens, self.width]);
        LeadingStates {
            layers: self.layers,
            values: Tensor::from_data(values, device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use pelt_data::Label;
    use pelt_encoder::{Checkpoint, HeadConfig, HeadKind};
    use pelt_hooks::{NoHooks, Sequence};

    fn examples() -> Examples {
        let sequence = |row: u32| Sequence {
            input_ids: (0..2 + row % 5).map(|token| 5 + row + token).collect(),
            token_type_ids: vec![0; (2 + row % 5) as usize],
        };
        Examples {
            sequences: (0..11).map(sequence).collect(),
            labels: (0..11).map(|row| Label::Class(row % 3)).collect(),
        }
    }

    fn model() -> PeftModel<NoHooks> {
        let checkpoint = Checkpoint::open(&pelt_testkit::fixture("models/bert/cls")).unwrap();
        let encoder = checkpoint.encoder(&Device::flex()).unwrap();
        let config = HeadConfig {
            kind: HeadKind::BertPooled,
            labels: 3,
            dropout: 0.0,
        };
        let head = checkpoint.head(config, &Device::flex()).unwrap().unwrap();
        PeftModel::new(Arc::new(encoder), NoHooks, head)
    }

    fn given(activations: &mut Activations<'_>, rows: &[usize]) -> Vec<f32> {
        let mut parts = Batch::in_parts(activations.examples, rows, 1, &Device::flex());
        activations.give(&model(), &mut parts).unwrap();
        let states = parts.remove(0).packed.leading.unwrap();
        assert_eq!(states.layers, 1);
        host_values(states.values).unwrap()
    }

    #[test]
    fn every_row_is_computed_once_and_the_memory_is_what_was_said() {
        let examples = examples();
        let config = TrainConfig {
            batch_size: 4,
            parts: 2,
            ..TrainConfig::default()
        };
        let new = || Activations::new(&examples, &config, 1, 32).unwrap();
        let mut activations = new();
        let bytes = 42 * 32 * 4;
        assert_eq!(examples.activation_bytes(32), bytes);
        let all: Vec<usize> = (0..11).collect();
        let before = given(&mut activations, &[6, 2]);
        assert!(activations.values.len() * 4 < bytes);
        let first = given(&mut activations, &all);
        assert_eq!(activations.values.len() * 4, bytes);
        assert_eq!(activations.values.capacity() * 4, bytes);

        // Whatever was asked for first, the bits are the same, and a row's states are found wherever it stands.
        assert_eq!(given(&mut new(), &all), first);
        let start = |row: usize| -> usize {
            let earlier = examples.sequences[..row].iter();
            earlier.map(|row| row.input_ids.len() * 32).sum()
        };
        let row = |row: usize| first[start(row)..start(row + 1)].to_vec();
        assert_eq!(before, [row(6), row(2)].concat());

        let batch = PackedBatch::new(&examples.sequences);
        let expected = model()
            .encoder()
            .leading(&batch, &NoHooks, 1, &Pass::evaluate());
        let expected = host_values(expected.unwrap().values).unwrap();
        for (found, expected) in first.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn rows_that_no_memory_holds_are_refused() {
        let examples = examples();
        let error = Activations::new(&examples, &TrainConfig::default(), 1, 1 << 52).unwrap_err();
        assert!(error.to_string().contains("no memory"), "{error}");
    }
}
