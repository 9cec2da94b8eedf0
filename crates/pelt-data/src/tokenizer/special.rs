//! Special tokens of a tokenizer, and texts without them.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::{Tokenizer, failed, guarded};
use crate::error::DataError;

/// The tokens that a tokenizer puts around a single text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) leading: Vec<u32>,
    pub(crate) trailing: Vec<u32>,
}

impl Tokenizer {
    /// The ids of all special tokens.
    pub fn special_ids(&self) -> BTreeSet<u32> {
        let added = self.inner.get_added_tokens_decoder();
        let special = added.into_iter().filter(|(_, token)| token.special);
        special.map(|(id, _)| id).collect()
    }

    /// The token that stands for a hidden one: `[MASK]` or `<mask>`.
    pub fn mask_id(&self) -> Option<u32> {
        let special = self.special_ids();
        ["[MASK]", "<mask>"]
            .iter()
            .filter_map(|name| self.token_to_id(name))
            .find(|id| special.contains(id))
    }

    /// What [`Tokenizer::encode_batch`] puts around a text.
    pub(crate) fn frame(&self) -> Result<Frame, DataError> {
        guarded(1, || {
            let encoding = self.inner.encode_fast("a", true);
            let encoding = encoding.map_err(|error| failed(1, &error))?;
            let (ids, sequences) = (encoding.get_ids(), encoding.get_sequence_ids());
            let text = |sequence: &Option<usize>| sequence.is_some();
            let start = sequences.iter().position(text).unwrap_or(ids.len());
            let end = sequences.iter().rposition(text).map_or(start, |at| at + 1);
            Ok(Frame {
                leading: ids[..start].to_vec(),
                trailing: ids[end..].to_vec(),
            })
        })
    }

    /// Tokenises texts of any length in parallel, without special tokens around them.
    pub(crate) fn encode_bare(&self, texts: &[String]) -> Result<Vec<Vec<u32>>, DataError> {
        let encoded: Vec<Result<Vec<u32>, DataError>> = texts
            .par_iter()
            .enumerate()
            .map(|(index, text)| {
                let row = index + 1;
                guarded(row, || {
                    let encoding = self.inner.encode_fast(text.as_str(), false);
                    let encoding = encoding.map_err(|error| failed(row, &error))?;
                    Ok(encoding.get_ids().to_vec())
                })
            })
            .collect();
        encoded.into_iter().collect()
    }
}
