//! The official JSON files, such as `train-v1.1.json`.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::RawQuestion;
use crate::error::{DataError, first_line};
use crate::regular_file;

/// The largest file in bytes: it is read as a whole.
const LARGEST: u64 = 4 * 1024 * 1024 * 1024;

#[derive(Deserialize)]
struct File {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    question: String,
    #[serde(default)]
    answers: Vec<RawAnswer>,
}

#[derive(Deserialize)]
struct RawAnswer {
    text: String,
    answer_start: i64,
}

/// Reads all questions in the order of the file.
pub(super) fn read(path: &Path) -> Result<Vec<RawQuestion>, DataError> {
    let text = regular_file::read(path, LARGEST)?;
    let file: File = serde_json::from_slice(&text).map_err(|error| DataError::Json {
        path: path.to_owned(),
        message: first_line(&error.to_string()),
    })?;
    let paragraphs = file.data.into_iter().flat_map(|article| article.paragraphs);
    let questions = paragraphs.flat_map(|Paragraph { context, qas }| {
        let context: Arc<str> = context.into();
        qas.into_iter().map(move |entry| RawQuestion {
            id: entry.id,
            question: entry.question,
            context: context.clone(),
            answers: entry
                .answers
                .into_iter()
                .map(|answer| (answer.text, answer.answer_start))
                .collect(),
        })
    });
    Ok(questions.collect())
}
