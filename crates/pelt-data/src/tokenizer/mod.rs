//! Texts to token ids.

mod check;
mod load;
mod special;
mod truncation;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rayon::prelude::*;
use tokenizers::{EncodeInput, Encoding};

pub use truncation::Truncation;

use crate::error::{DataError, first_line};
use crate::text_dataset::TextRow;
use truncation::{Lengths, window_starts};

/// A WordPiece or byte-level BPE tokenizer of a Hugging Face model folder.
///
/// Lengths are decided by the caller alone: truncation and padding that the files ask for are ignored.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

/// Token ids of one row, special tokens included, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub input_ids: Vec<u32>,
    /// Token type ids: 1 for the second text where the tokenizer tells them apart.
    pub token_type_ids: Vec<u32>,
    /// Whether tokens were left out to keep to the maximum length.
    pub truncated: bool,
}

/// One token and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Token id.
    pub id: u32,
    /// Token type id.
    pub type_id: u32,
    /// The token as it stands in the vocabulary.
    pub token: String,
    /// The characters of the text it covers, counted in Unicode scalar values; (0, 0) for a special token.
    pub offsets: (usize, usize),
    /// 0 for the first text, 1 for the second, `None` for a token that the tokenizer added.
    pub sequence: Option<usize>,
    /// The word of the text it belongs to.
    pub word: Option<u32>,
}

/// A row or a part of it, as a model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The tokens, special ones included, without padding.
    pub pieces: Vec<Piece>,
}

impl Tokenizer {
    /// Loads `tokenizer.json`, or else `vocab.txt` (WordPiece), or else `vocab.json` with `merges.txt` (byte-level BPE).
    ///
    /// The last two take their options from `tokenizer_config.json`, where it is there.
    ///
    /// # Errors
    /// None of the files is there, or one is not valid.
    pub fn load(model_dir: &Path) -> Result<Self, DataError> {
        let inner = load::load(model_dir)?;
        Ok(Self { inner })
    }

    /// Number of tokens, those added to the vocabulary included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a token as it stands in the vocabulary.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Tokenises rows in parallel, keeping their order. A pair that is too long loses tokens from its longer text.
    ///
    /// An empty second text counts as none, as in transformers.
    ///
    /// # Errors
    /// `max_length` leaves no room for text beside the special tokens, or a text cannot be tokenised.
    pub fn encode_batch(
        &self,
        rows: &[TextRow],
        max_length: usize,
    ) -> Result<Vec<Encoded>, DataError> {
        let encoded: Vec<Result<Encoded, DataError>> = rows
            .par_iter()
            .enumerate()
            .map(|(index, row)| {
                let pair = row.pair.as_deref();
                self.encode(
                    index + 1,
                    &row.text,
                    pair,
                    max_length,
                    Truncation::LongestFirst,
                )
            })
            .collect();
        // Collecting twice makes the error that of the first bad row, whatever thread is the fastest.
        encoded.into_iter().collect()
    }

    /// Tokenises one row; `row` is its number in error messages.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_batch`]; also where the text that `truncation` names is too short to lose enough tokens.
    pub fn encode(
        &self,
        row: usize,
        text: &str,
        pair: Option<&str>,
        max_length: usize,
        truncation: Truncation,
    ) -> Result<Encoded, DataError> {
        guarded(row, || {
            let encoding = self
                .inner
                .encode_fast(input(text, pair), true)
                .map_err(|error| failed(row, &error))?;
            let sequences = encoding.get_sequence_ids();
            let lengths = Lengths::count(&sequences);
            let [first, second] = truncation.keep(row, lengths, max_length)?;
            let kept = kept_positions(&sequences, [0..first, 0..second]);
            Ok(Encoded {
                truncated: kept.len() < sequences.len(),
                input_ids: pick(encoding.get_ids(), &kept),
                token_type_ids: pick(encoding.get_type_ids(), &kept),
            })
        })
    }

    /// Tokenises one row with the origin of every token; `row` is its number in error messages.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_pieces(
        &self,
        row: usize,
        text: &str,
        pair: Option<&str>,
        max_length: usize,
        truncation: Truncation,
    ) -> Result<Window, DataError> {
        guarded(row, || {
            let encoding = self.encode_whole(row, text, pair)?;
            let sequences = encoding.get_sequence_ids();
            let [first, second] = truncation.keep(row, Lengths::count(&sequences), max_length)?;
            Ok(window(&encoding, &sequences, [0..first, 0..second]))
        })
    }

    /// Tokenises a question and a context that may be longer than a model reads: the context is cut into windows, and
    /// consecutive windows share `stride` of its tokens. `row` is the row's number in error messages.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`] with [`Truncation::OnlySecond`]; also where a window has no more than `stride` tokens
    /// of the context.
    pub fn encode_windows(
        &self,
        row: usize,
        question: &str,
        context: &str,
        max_length: usize,
        stride: usize,
    ) -> Result<Vec<Window>, DataError> {
        guarded(row, || {
            let encoding = self.encode_whole(row, question, Some(context))?;
            let sequences = encoding.get_sequence_ids();
            let lengths = Lengths::count(&sequences);
            let [first, room] = Truncation::OnlySecond.keep(row, lengths, max_length)?;
            let starts = window_starts(row, lengths.second, room, stride)?;
            let windows = starts.into_iter().map(|start| {
                let end = (start + room).min(lengths.second);
                window(&encoding, &sequences, [0..first, start..end])
            });
            Ok(windows.collect())
        })
    }

    /// Tokenises a text of any length, special tokens included; used to start prompts from a text.
    ///
    /// # Errors
    /// The text cannot be tokenised.
    pub fn encode_text_with_special_tokens(&self, text: &str) -> Result<Vec<u32>, DataError> {
        guarded(1, || {
            let encoding = self.inner.encode_fast(text, true);
            let encoding = encoding.map_err(|error| failed(1, &error))?;
            Ok(encoding.get_ids().to_vec())
        })
    }

    /// The text of token ids, without special tokens.
    ///
    /// # Errors
    /// The ids cannot be decoded.
    pub fn decode(&self, ids: &[u32]) -> Result<String, DataError> {
        guarded(1, || {
            let text = self.inner.decode(ids, true);
            text.map_err(|error| failed(1, &error))
        })
    }

    fn encode_whole(
        &self,
        row: usize,
        text: &str,
        pair: Option<&str>,
    ) -> Result<Encoding, DataError> {
        self.inner
            .encode_char_offsets(input(text, pair), true)
            .map_err(|error| failed(row, &error))
    }
}

fn input<'a>(text: &'a str, pair: Option<&'a str>) -> EncodeInput<'a> {
    match pair {
        Some(pair) if !pair.is_empty() => (text, pair).into(),
        _ => text.into(),
    }
}

/// Runs code of the tokenizers library, which panics where parts of a tokenizer's file contradict each other.
fn guarded<T>(row: usize, run: impl FnOnce() -> Result<T, DataError>) -> Result<T, DataError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        Err(DataError::Tokenise {
            row,
            message: "the tokenizer's file contradicts itself".to_owned(),
        })
    })
}

fn failed(row: usize, error: &tokenizers::Error) -> DataError {
    DataError::Tokenise {
        row,
        message: first_line(&error.to_string()),
    }
}

/// Positions of the tokens that stay: those that the tokenizer added, and of each text those in its range.
fn kept_positions(sequences: &[Option<usize>], ranges: [Range<usize>; 2]) -> Vec<usize> {
    let mut seen = [0; 2];
    let mut kept = Vec::with_capacity(sequences.len());
    for (position, sequence) in sequences.iter().enumerate() {
        let keep = match *sequence {
            Some(text @ (0 | 1)) => {
                seen[text] += 1;
                ranges[text].contains(&(seen[text] - 1))
            }
            _ => true,
        };
        if keep {
            kept.push(position);
        }
    }
    kept
}

fn pick(values: &[u32], positions: &[usize]) -> Vec<u32> {
    positions.iter().map(|&position| values[position]).collect()
}

fn window(encoding: &Encoding, sequences: &[Option<usize>], ranges: [Range<usize>; 2]) -> Window {
    let pieces = kept_positions(sequences, ranges)
        .into_iter()
        .map(|position| Piece {
            id: encoding.get_ids()[position],
            type_id: encoding.get_type_ids()[position],
            // The file lists the texts of the tokens around a text apart from their numbers, and may list fewer.
            token: encoding
                .get_tokens()
                .get(position)
                .cloned()
                .unwrap_or_default(),
            offsets: encoding.get_offsets()[position],
            sequence: sequences[position],
            word: encoding.get_word_ids()[position],
        });
    Window {
        pieces: pieces.collect(),
    }
}
