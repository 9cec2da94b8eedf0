//! Running the layers, from the tokens or from what is known of a batch.

use std::ops::Range;

use burn::tensor::Tensor;
use pelt_hooks::{EncoderHooks, Hidden, NoHooks, PackedBatch, Pass};
use pelt_ops::tunes_for_shapes;

use crate::embeddings::Embeddings;
use crate::layer::{Layer, LayerContext};
use crate::{Encoder, EncoderConfig, EncoderError, RowsRead};

/// Where shapes should be few, the rows of a batch are a multiple of this.
const ROWS_STEP: usize = 64;

impl Encoder {
    /// The last hidden states of a batch. Where the batch brings what leading layers give, these layers are not run, and
    /// dropout behind them draws the masks that it would have drawn.
    ///
    /// # Shapes
    /// `[tokens, d]` with prompt rows included, or `[sequences, d]` for [`RowsRead::First`].
    ///
    /// # Errors
    /// If a sequence is too long, or a token is not in the vocabulary.
    ///
    /// # Panics
    /// If the batch brings states of layers that the hooks do not [leave alone](Self::layers_left_alone), or of other tokens.
    pub fn forward<H: EncoderHooks>(
        &self,
        batch: &PackedBatch,
        hooks: &H,
        rows: RowsRead,
        pass: &Pass,
    ) -> Result<Hidden, EncoderError> {
        let (hidden, done) = self.start(batch, hooks, pass)?;
        Ok(self.layers(hidden, done..self.layers.len(), hooks, rows, pass))
    }

    /// What the first layer that has to be run reads, and its number: the embeddings' output, or what the batch brings.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn start<H: EncoderHooks>(
        &self,
        batch: &PackedBatch,
        hooks: &H,
        pass: &Pass,
    ) -> Result<(Hidden, usize), EncoderError> {
        match &batch.leading {
            None => Ok((self.rounded(self.leading(batch, hooks, 0, pass)?), 0)),
            Some(states) => {
                assert!(states.layers <= self.layers_left_alone(hooks));
                assert_eq!(states.values.dims()[0], batch.packing.tokens());
                pass.pass_over(
                    Embeddings::DROPOUT_SITES + Layer::DROPOUT_SITES * states.layers as u64,
                );
                let hidden = Hidden {
                    values: self.precision.of(states.values.clone()),
                    packing: batch.packing.clone(),
                };
                Ok((self.rounded(hidden), states.layers))
            }
        }
    }

    /// Where kernels are tuned for shapes, hidden states with rows of zeros behind the last sequence, so that batches have few
    /// different numbers of rows. [`layers`](Self::layers) drops them behind the last layer.
    fn rounded(&self, hidden: Hidden) -> Hidden {
        let [rows, width] = hidden.values.dims();
        let padding = rows.next_multiple_of(ROWS_STEP) - rows;
        let device = hidden.values.device().inner();
        if padding == 0 || !tunes_for_shapes(&device) {
            return hidden;
        }
        let zeros = Tensor::zeros([padding, width], (&device, hidden.values.dtype()));
        Hidden {
            values: Tensor::cat(vec![hidden.values, zeros], 0),
            packing: hidden.packing.padded(padding),
        }
    }

    /// What the embeddings and the first `layers` layers give, prompt rows included.
    ///
    /// # Shapes
    /// `[tokens, d]`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    ///
    /// # Panics
    /// If the encoder has fewer layers.
    pub fn leading<H: EncoderHooks>(
        &self,
        batch: &PackedBatch,
        hooks: &H,
        layers: usize,
        pass: &Pass,
    ) -> Result<Hidden, EncoderError> {
        self.check_length(batch.packing.longest(), hooks)?;
        check_ids("token id", &batch.input_ids, self.config.shape.vocab_size)?;
        check_ids(
            "token type id",
            &batch.token_type_ids,
            self.config.type_vocab_size,
        )?;
        let hidden = self
            .embeddings
            .forward(batch, hooks, &self.config, self.precision, pass);
        Ok(self.layers(hidden, 0..layers, hooks, RowsRead::All, pass))
    }

    /// How many leading layers give the same with these hooks as without: none with a prompt or moved positions. The last
    /// layer is never among them, as what it gives depends on the rows that are read.
    pub fn layers_left_alone<H: EncoderHooks>(&self, hooks: &H) -> usize {
        if hooks.prompt().is_some() || hooks.position_shift() > 0 {
            return 0;
        }
        let below_the_last = 0..self.layers.len().saturating_sub(1);
        below_the_last
            .take_while(|layer| !hooks.changes_layer(*layer))
            .count()
    }

    /// What some layers make of hidden states. `rows` says which rows of the encoder's last layer are read.
    ///
    /// # Shapes
    /// `[tokens, d]` to `[tokens, d]`, or to `[sequences, d]` behind the last layer with [`RowsRead::First`].
    ///
    /// # Panics
    /// If the encoder has no such layers.
    pub fn layers<H: EncoderHooks>(
        &self,
        mut hidden: Hidden,
        layers: Range<usize>,
        hooks: &H,
        rows: RowsRead,
        pass: &Pass,
    ) -> Hidden {
        for (index, layer) in self.layers[layers.clone()].iter().enumerate() {
            let index = layers.start + index;
            let first_rows_only = rows == RowsRead::First && index + 1 == self.layers.len();
            let config = &self.config;
            hidden = match pass.skips(index) {
                true => {
                    let hooks = &NoHooks;
                    layer.forward(
                        hidden,
                        &context(index, hooks, config, pass, first_rows_only),
                    )
                }
                false => layer.forward(
                    hidden,
                    &context(index, hooks, config, pass, first_rows_only),
                ),
            };
        }
        let (tokens, all) = (hidden.packing.tokens(), hidden.packing.all_rows());
        if layers.end < self.layers.len() || tokens == all {
            return hidden;
        }
        Hidden {
            values: hidden.values.narrow(0, 0, tokens),
            packing: hidden.packing.padded(0),
        }
    }
}

fn context<'a, H>(
    index: usize,
    hooks: &'a H,
    config: &'a EncoderConfig,
    pass: &'a Pass,
    first_rows_only: bool,
) -> LayerContext<'a, H> {
    LayerContext {
        index,
        hooks,
        config,
        pass,
        first_rows_only,
    }
}

fn check_ids(table: &'static str, ids: &[u32], rows: usize) -> Result<(), EncoderError> {
    match ids.iter().find(|id| **id as usize >= rows) {
        Some(id) => Err(EncoderError::UnknownToken {
            table,
            id: *id,
            rows,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Checkpoint;
    use burn::tensor::Device;
    use pelt_hooks::{LeadingStates, Sequence};

    fn encoder(model: &str, dropout: f64) -> Encoder {
        let checkpoint = Checkpoint::open(&pelt_testkit::fixture(model)).unwrap();
        let encoder = checkpoint.encoder(&Device::flex()).unwrap();
        encoder.with_dropout(dropout, dropout)
    }

    fn batch() -> PackedBatch {
        let sequence = |length: u32| Sequence {
            input_ids: (0..length).map(|token| 5 + (token * 7) % 40).collect(),
            token_type_ids: vec![0; length as usize],
        };
        PackedBatch::new(&[sequence(7), sequence(3), sequence(12)])
    }

    fn bits(hidden: Hidden) -> Vec<u32> {
        let values = hidden.values.into_data().try_to_vec::<f32>().unwrap();
        values.into_iter().map(f32::to_bits).collect()
    }

    #[test]
    fn a_batch_with_known_states_gives_the_same_bits_and_keeps_the_masks_behind_them() {
        for model in ["models/bert/base", "models/roberta/base"] {
            let encoder = encoder(model, 0.2);
            let whole = batch();
            assert_eq!(encoder.layers_left_alone(&NoHooks), 1);
            for layers in 0..2 {
                let mut known = batch();
                let train = || Pass::train(7);
                let states = encoder.leading(&whole, &NoHooks, layers, &train());
                known.leading = Some(LeadingStates {
                    layers,
                    values: states.unwrap().values,
                });
                for rows in [RowsRead::All, RowsRead::First] {
                    let [expected, found] = [&whole, &known].map(|batch| {
                        bits(encoder.forward(batch, &NoHooks, rows, &train()).unwrap())
                    });
                    assert_eq!(found, expected, "{model}, {layers} layers, {rows:?}");
                }
            }
        }
    }

    #[test]
    fn states_that_are_known_are_not_computed_again() {
        let encoder = encoder("models/bert/base", 0.0);
        let mut known = batch();
        let pass = Pass::evaluate();
        let states = encoder.leading(&known, &NoHooks, 1, &pass).unwrap();
        known.leading = Some(LeadingStates {
            layers: 1,
            values: states.values * 2.0,
        });
        let [with, without] = [known, batch()].map(|batch| {
            let hidden = encoder.forward(&batch, &NoHooks, RowsRead::All, &pass);
            bits(hidden.unwrap())
        });
        assert_ne!(with, without);
    }

    #[test]
    fn rows_behind_the_last_sequence_change_nothing() {
        let encoder = encoder("models/bert/base", 0.2);
        let train = || Pass::train(7);
        for rows in [RowsRead::All, RowsRead::First] {
            // With 14 more there are as many rows as in three sequences of the longest one's length.
            let [expected, found, filled_up] = [0, 5, 14].map(|padding| {
                pelt_ops::generic::force(|| {
                    let pass = train();
                    let (mut hidden, _) = encoder.start(&batch(), &NoHooks, &pass).unwrap();
                    if padding > 0 {
                        let rest = hidden.values.clone().narrow(0, 0, padding) * 9.0;
                        hidden.values = Tensor::cat(vec![hidden.values, rest], 0);
                        hidden.packing = hidden.packing.padded(padding);
                    }
                    let layers = encoder.shape().layers;
                    encoder.layers(hidden, 0..layers, &NoHooks, rows, &pass)
                })
            });
            for found in [found, filled_up] {
                assert_eq!(found.packing, expected.packing, "{rows:?}");
                assert_eq!(found.values.dims(), expected.values.dims(), "{rows:?}");
                let difference = (found.values - expected.values.clone()).abs().max();
                assert!(difference.into_scalar::<f32>() < 1e-5, "{rows:?}");
            }
        }
    }
}
