//! A batch of token sequences without padding.

use crate::Packing;

/// One tokenised input, special tokens included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Vocabulary rows.
    pub input_ids: Vec<u32>,
    /// Segment of every token (0 or 1); as long as `input_ids`.
    pub token_type_ids: Vec<u32>,
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
        }
    }
}
