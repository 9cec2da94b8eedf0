//! A batch of token sequences without padding.

use burn::tensor::Tensor;

use crate::Packing;

/// One tokenised input, special tokens included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Vocabulary rows.
    pub input_ids: Vec<u32>,
    /// Segment of every token (0 or 1); as long as `input_ids`.
    pub token_type_ids: Vec<u32>,
}

/// Hidden states of a batch that an encoder has computed before.
#[derive(Debug, Clone)]
pub struct LeadingStates {
    /// How many leading layers have been run.
    pub layers: usize,
    /// What the last of them gave, `[tokens, d]`.
    pub values: Tensor<2>,
}

/// A batch of sequences laid end to end, on the host.
#[derive(Debug, Clone)]
pub struct PackedBatch {
    /// Vocabulary rows of all tokens.
    pub input_ids: Vec<u32>,
    /// Segment of every token.
    pub token_type_ids: Vec<u32>,
    /// Where each sequence lies.
    pub packing: Packing,
    /// What leading layers give for this batch, where that is known. An encoder then goes on from there.
    pub leading: Option<LeadingStates>,
}

impl PackedBatch {
    /// Packs the sequences in the given order.
    ///
    /// # Panics
    /// If a sequence is empty, or its two lists differ in length.
    pub fn new<'a>(sequences: impl IntoIterator<Item = &'a Sequence>) -> Self {
        let (mut input_ids, mut token_type_ids, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for sequence in sequences {
            assert!(!sequence.input_ids.is_empty(), "a sequence has no tokens");
            assert_eq!(sequence.input_ids.len(), sequence.token_type_ids.len());
            input_ids.extend_from_slice(&sequence.input_ids);
            token_type_ids.extend_from_slice(&sequence.token_type_ids);
            lengths.push(sequence.input_ids.len());
        }
        Self {
            input_ids,
            token_type_ids,
            packing: Packing::new(lengths),
            leading: None,
        }
    }
}
