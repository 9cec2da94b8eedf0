//! Word, position and token type embeddings of packed sequences.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use pelt_hooks::{EncoderHooks, Hidden, PackedBatch, Packing, Pass, Prompt, PromptPlace};
use pelt_ops::{LayerNorm, dropout, like};

use crate::{Architecture, EncoderConfig, Precision};

/// The embedding block.
#[derive(Module, Debug)]
pub struct Embeddings {
    /// `[vocab_size, d]`.
    pub words: Param<Tensor<2>>,
    /// `[position rows, d]`.
    pub positions: Param<Tensor<2>>,
    /// `[type_vocab_size, d]`.
    pub token_types: Param<Tensor<2>>,
    /// Norm of the sum.
    pub norm: LayerNorm,
}

impl Embeddings {
    /// Dropout keys that a forward pass draws.
    pub const DROPOUT_SITES: u64 = 1;

    /// The hidden states that the first layer reads, prompts included.
    pub fn forward<H: EncoderHooks>(
        &self,
        batch: &PackedBatch,
        hooks: &H,
        config: &EncoderConfig,
        precision: Precision,
        pass: &Pass,
    ) -> Hidden {
        let device = self.words.device().inner();
        let prompt = hooks.prompt();
        let words = lookup(&self.words, &batch.input_ids, config.pad_token_id, &device);
        let (words, packing, types, positions) = match &prompt {
            Some(prompt) if prompt.place == PromptPlace::BeforeWordEmbeddings => {
                let length = prompt.embeddings.dims()[0];
                let packing = batch.packing.lengthened(length);
                let words = insert(words, &batch.packing, prompt);
                let types = interleave(&batch.token_type_ids, &batch.packing, length);
                let start = match config.architecture {
                    Architecture::Bert => 0,
                    Architecture::Roberta => config.pad_token_id + 1,
                };
                let positions = packing
                    .lengths()
                    .flat_map(|length| start..start + length as u32)
                    .collect();
                (words, packing, types, positions)
            }
            _ => (
                words,
                batch.packing.clone(),
                batch.token_type_ids.clone(),
                positions(batch, config, hooks.position_shift() as u32),
            ),
        };
        let position_padding = match config.architecture {
            Architecture::Bert => u32::MAX,
            Architecture::Roberta => config.pad_token_id,
        };
        let sum = words
            + lookup(&self.token_types, &types, u32::MAX, &device)
            + lookup(&self.positions, &positions, position_padding, &device);
        let values = dropout(
            precision.of(self.norm.forward(sum)),
            config.hidden_dropout,
            pass.dropout_key(),
            packing.rows_before(),
        );
        match prompt {
            Some(prompt) if prompt.place != PromptPlace::BeforeWordEmbeddings => Hidden {
                packing: packing.lengthened(prompt.embeddings.dims()[0]),
                values: insert(values, &packing, &prompt),
            },
            _ => Hidden { values, packing },
        }
    }
}

/// Position of every token: from 0 for BERT; counted over tokens that are not padding, from behind the padding row, for
/// RoBERTa.
fn positions(batch: &PackedBatch, config: &EncoderConfig, shift: u32) -> Vec<u32> {
    let mut out = Vec::with_capacity(batch.input_ids.len());
    for sequence in 0..batch.packing.sequences() {
        let ids = &batch.input_ids[batch.packing.rows(sequence)];
        match config.architecture {
            Architecture::Bert => out.extend((0..ids.len() as u32).map(|p| p + shift)),
            Architecture::Roberta => {
                let pad = config.pad_token_id;
                let mut seen = 0;
                out.extend(ids.iter().map(|id| {
                    if *id == pad {
                        return pad;
                    }
                    seen += 1;
                    pad + seen + shift
                }));
            }
        }
    }
    out
}

/// Rows of a table. The `padding` row passes no gradient on, as upstream (a rare token inside a text).
fn lookup(table: &Param<Tensor<2>>, ids: &[u32], padding: u32, device: &Device) -> Tensor<2> {
    let index: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
    let rows = table.val().select(0, int_tensor(index, device));
    if !rows.is_tracked() || !ids.contains(&padding) {
        return rows;
    }
    let keep: Vec<f32> = ids
        .iter()
        .map(|id| f32::from(u8::from(*id != padding)))
        .collect();
    let keep = Tensor::<2>::from_data(TensorData::new(keep, [ids.len(), 1]), device);
    rows.clone() * keep.clone() + rows.detach() * (keep.neg() + 1.0)
}

/// Puts the prompt's rows into every sequence.
fn insert(rows: Tensor<2>, packing: &Packing, prompt: &Prompt) -> Tensor<2> {
    let length = prompt.embeddings.dims()[0];
    let before = match prompt.place {
        PromptPlace::AfterFirstToken => 1,
        PromptPlace::BeforeSequence | PromptPlace::BeforeWordEmbeddings => 0,
    };
    let mut index = Vec::with_capacity(packing.tokens() + packing.sequences() * length);
    for sequence in 0..packing.sequences() {
        let rows = packing.rows(sequence);
        let text = |range: std::ops::Range<usize>| range.map(|row| (length + row) as i64);
        index.extend(text(rows.start..rows.start + before));
        index.extend(0..length as i64);
        index.extend(text(rows.start + before..rows.end));
    }
    let index = int_tensor(index, &rows.device().inner());
    let prompt = like(prompt.embeddings.clone(), &rows);
    Tensor::cat(vec![prompt, rows], 0).select(0, index)
}

/// Token types with `extra` zeros in front of every sequence.
fn interleave(types: &[u32], packing: &Packing, extra: usize) -> Vec<u32> {
    let mut out = Vec::new();
    for sequence in 0..packing.sequences() {
        out.extend(std::iter::repeat_n(0, extra));
        out.extend_from_slice(&types[packing.rows(sequence)]);
    }
    out
}

pub(crate) fn int_tensor(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}
