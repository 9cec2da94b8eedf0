//! Questions about passages, whose answers are spans of the passage.

mod answers;
mod official;
mod parquet_rows;
mod windows;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use answers::{AnswerRules, Candidate, WindowLogits, best_answers};
pub use windows::{QuestionWindow, question_windows};

use crate::batches;
use crate::card::{Card, Layout};
use crate::error::{DataError, clipped};
use crate::labels::Target;
use crate::split_files;
use crate::standing::Standing;
use crate::text_dataset::describe_rows;

/// A question about a passage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its name, unique in the data set.
    pub id: String,
    /// The question.
    pub question: String,
    /// The passage; questions about one passage share it.
    pub context: Arc<str>,
    /// Every answer that counts as right; the first one is trained on.
    pub answers: Vec<Answer>,
}

/// An answer and where it stands in the passage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text, as it stands in the passage.
    pub text: String,
    /// Its first character, counted in Unicode scalar values.
    pub start: usize,
}

/// Questions of one split, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct QuestionDataset {
    /// Name of the data set: that of its card.
    pub name: String,
    /// Name of the split.
    pub split: String,
    /// The questions.
    pub questions: Vec<Question>,
    /// The files they were read from.
    pub files: Vec<PathBuf>,
    /// Questions of the published split.
    pub published_rows: Option<usize>,
    /// Whether what was read is the published split.
    pub standing: Standing,
}

impl QuestionDataset {
    /// The name under which results on these questions may be given: see [`Standing`].
    pub fn display_name(&self) -> String {
        self.standing.display_name(&self.name)
    }

    /// Number of questions as a reader should see it, such as `8,198 of 87,599 rows`.
    pub fn describe_rows(&self) -> String {
        describe_rows(self.questions.len(), self.published_rows)
    }

    /// The first `count` of the questions shuffled with `seed`, or all of them, shuffled, where there are fewer.
    pub fn first_rows(&self, count: usize, seed: u64) -> Self {
        self.select(&batches::first_rows(self.questions.len(), count, seed))
    }

    /// As [`TextDataset::hold_out`](crate::TextDataset::hold_out).
    ///
    /// # Errors
    /// There are fewer questions than that.
    pub fn hold_out(
        &self,
        train: usize,
        held_out: usize,
        seed: u64,
    ) -> Result<(Self, Self), DataError> {
        let name = self.display_name();
        let (train, rest) = batches::hold_out(name, self.questions.len(), [train, held_out], seed)?;
        let mut rest = self.select(&rest);
        rest.split = batches::held_out_split(&self.split);
        Ok((self.select(&train), rest))
    }

    fn select(&self, rows: &[usize]) -> Self {
        Self {
            questions: rows
                .iter()
                .map(|row| self.questions[*row].clone())
                .collect(),
            name: self.name.clone(),
            split: self.split.clone(),
            files: self.files.clone(),
            published_rows: self.published_rows,
            standing: self.standing,
        }
    }

    /// SHA-256, in hexadecimal digits, over everything that a question consists of.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        for question in &self.questions {
            for text in [&question.id, &question.question, &*question.context] {
                add(text);
            }
            add(&question.answers.len().to_string());
            for answer in &question.answers {
                add(&answer.text);
                add(&answer.start.to_string());
            }
        }
        let digits = hash.finalize();
        digits.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Reads a split of a card whose target is a span: Parquet files in the Hub's layout, or the official JSON file.
///
/// `root` is as in [`read_split`](crate::read_split).
///
/// # Errors
/// The folder, the split or a column is not there; a file is damaged or empty; a question or a passage is empty; an id
/// is there twice; an answer is not where its file says. Path, question and id are named.
pub fn read_questions(root: &Path, card: &Card, split: &str) -> Result<QuestionDataset, DataError> {
    if card.target != Target::Span {
        return Err(DataError::NoQuestions {
            name: card.name.clone(),
        });
    }
    let folder = split_files::task_folder(root, card)?;
    let (split, chosen) = split_files::choose(card, split, &folder, split_files::list(&folder)?)?;
    let published_rows = card.published_rows.get(&split).copied();
    let mut dataset = QuestionDataset {
        name: card.name.clone(),
        split,
        questions: Vec::new(),
        files: Vec::new(),
        published_rows,
        standing: Standing::Published,
    };
    let mut seen = HashMap::new();
    for file in chosen {
        let path = folder.join(&file.name);
        let raw = match file.layout {
            Layout::Parquet => parquet_rows::read(&path)?,
            Layout::JsonLines | Layout::OfficialJson => official::read(&path)?,
        };
        if raw.is_empty() {
            return Err(DataError::Empty { path });
        }
        check_work(&path, &raw)?;
        for (index, raw) in raw.into_iter().enumerate() {
            let question = raw.check(&path, index + 1)?;
            if let Some(first) = seen.insert(question.id.clone(), dataset.questions.len() + 1) {
                return Err(DataError::DuplicateId {
                    path,
                    row: index + 1,
                    id: shortened(&question.id),
                    first,
                });
            }
            dataset.questions.push(question);
        }
        dataset.files.push(path);
    }
    dataset.standing = Standing::of(card, published_rows, dataset.questions.len());
    Ok(dataset)
}

/// The passages of all questions and answers together may have so many bytes, and so many times the length of their file.
const ALLOWANCE: u64 = 64 * 1024 * 1024;
const LARGEST_REPETITION: u64 = 64;

/// Every question and every answer is looked for in its whole passage, which the file holds once. Refuses a file that
/// takes few bytes to ask for much of that.
fn check_work(path: &Path, questions: &[RawQuestion]) -> Result<(), DataError> {
    let metadata = std::fs::metadata(path).map_err(|reason| DataError::Read {
        path: path.to_owned(),
        reason,
    })?;
    let length = metadata.len();
    let largest = LARGEST_REPETITION
        .saturating_mul(length)
        .saturating_add(ALLOWANCE);
    let mut work: u64 = 0;
    for (index, question) in questions.iter().enumerate() {
        let times = 1 + question.answers.len() as u64;
        work = work.saturating_add(times.saturating_mul(question.context.len() as u64));
        if work > largest {
            return Err(DataError::Malformed {
                path: path.to_owned(),
                row: index + 1,
                message: format!(
                    "up to here the passages of all questions and answers have {work} bytes, which is out of proportion \
                     to the {length} bytes of the file"
                ),
            });
        }
    }
    Ok(())
}

/// A question as a file gives it.
struct RawQuestion {
    id: String,
    question: String,
    context: Arc<str>,
    /// Text and first character.
    answers: Vec<(String, i64)>,
}

impl RawQuestion {
    /// Checks everything but the id's uniqueness.
    fn check(self, path: &Path, row: usize) -> Result<Question, DataError> {
        for (column, text) in [("question", &*self.question), ("context", &*self.context)] {
            if text.trim().is_empty() {
                return Err(DataError::EmptyText {
                    path: path.to_owned(),
                    row,
                    column,
                });
            }
        }
        let mut answers = Vec::with_capacity(self.answers.len());
        for (text, start) in self.answers {
            let place = usize::try_from(start).ok();
            let found = place.and_then(|start| characters(&self.context, start, &text));
            if let (Some(start), Some(true)) = (place, found.map(|found| found == text)) {
                answers.push(Answer { text, start });
                continue;
            }
            return Err(DataError::AnswerOutside {
                path: path.to_owned(),
                row,
                id: shortened(&self.id),
                answer: shortened(&text),
                start,
                found: match found {
                    Some(found) => format!("the passage has {:?} there", shortened(found)),
                    None => format!(
                        "the passage has {} characters",
                        self.context.chars().count()
                    ),
                },
            });
        }
        Ok(Question {
            id: self.id,
            question: self.question,
            context: self.context,
            answers,
        })
    }
}

/// As many characters of the context from `start` on as the answer has; `None` where it ends before, or for an empty
/// answer.
fn characters<'a>(context: &'a str, start: usize, answer: &str) -> Option<&'a str> {
    let count = answer.chars().count();
    let mut places = context
        .char_indices()
        .map(|(place, _)| place)
        .chain([context.len()])
        .skip(start);
    let first = places.next()?;
    let end = places.nth(count.checked_sub(1)?)?;
    Some(&context[first..end])
}

fn shortened(text: &str) -> String {
    clipped(text, 40)
}
