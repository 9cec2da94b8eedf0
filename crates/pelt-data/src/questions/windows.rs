//! Questions and passages as a model reads them: windows over the passage.

use rayon::prelude::*;

use super::Question;
use crate::error::DataError;
use crate::tokenizer::{Tokenizer, Window};

/// A question with a part of its passage, special tokens included, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionWindow {
    /// The question, as a position in the list that was given.
    pub question: usize,
    /// Token ids.
    pub input_ids: Vec<u32>,
    /// Token type ids.
    pub token_type_ids: Vec<u32>,
    /// For each token of the passage, its first character and the one after its last; `None` for any other token.
    pub offsets: Vec<Option<[u32; 2]>>,
    /// First and last token of the first answer; both 0 where the window does not hold all of it, or there is none.
    pub span: [usize; 2],
}

/// Cuts questions into windows of at most `max_length` tokens, of which consecutive ones share `doc_stride` tokens of the
/// passage. Every question has at least one window, and the windows of a question follow one another.
///
/// # Errors
/// A question that leaves no room for the passage, or a text that cannot be tokenised; the question's number is named.
pub fn question_windows(
    tokenizer: &Tokenizer,
    questions: &[Question],
    max_length: usize,
    doc_stride: usize,
) -> Result<Vec<QuestionWindow>, DataError> {
    let windows: Vec<Result<Vec<QuestionWindow>, DataError>> = questions
        .par_iter()
        .enumerate()
        .map(|(index, question)| {
            // As in the public implementations; a byte-level tokenizer would make tokens of it.
            let text = question.question.trim_start();
            let windows = tokenizer.encode_windows(
                index + 1,
                text,
                &question.context,
                max_length,
                doc_stride,
            )?;
            let windows = windows
                .into_iter()
                .map(|window| cut(index, question, window));
            Ok(windows.collect())
        })
        .collect();
    // Collecting twice makes the error that of the first bad question, whatever thread is the fastest.
    let windows: Result<Vec<_>, DataError> = windows.into_iter().collect();
    Ok(windows?.into_iter().flatten().collect())
}

fn cut(index: usize, question: &Question, window: Window) -> QuestionWindow {
    let offsets: Vec<Option<[u32; 2]>> = window
        .pieces
        .iter()
        .map(|piece| {
            let (start, end) = piece.offsets;
            (piece.sequence == Some(1)).then_some([start as u32, end as u32])
        })
        .collect();
    let span = question.answers.first().and_then(|answer| {
        let end = answer.start + answer.text.chars().count();
        tokens_of(&offsets, answer.start as u32, end as u32)
    });
    QuestionWindow {
        question: index,
        input_ids: window.pieces.iter().map(|piece| piece.id).collect(),
        token_type_ids: window.pieces.iter().map(|piece| piece.type_id).collect(),
        offsets,
        span: span.unwrap_or_default(),
    }
}

/// The last token that starts no later than the answer and the first that ends no earlier; `None` where the window's
/// part of the passage does not hold all of the answer.
fn tokens_of(offsets: &[Option<[u32; 2]>], start: u32, end: u32) -> Option<[usize; 2]> {
    let passage = || {
        let numbered = offsets.iter().enumerate();
        numbered.filter_map(|(token, offsets)| Some((token, (*offsets)?)))
    };
    let (_, [first, _]) = passage().next()?;
    let (_, [_, last]) = passage().next_back()?;
    if first > start || last < end {
        return None;
    }
    // The search ends at the first token that is too far, as the recorded labels do.
    let starts = passage().take_while(|(_, [first, _])| *first <= start);
    let ends = passage().rev().take_while(|(_, [_, last])| *last >= end);
    Some([starts.last()?.0, ends.last()?.0])
}
