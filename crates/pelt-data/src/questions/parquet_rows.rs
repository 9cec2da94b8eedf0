//! Parquet files in the Hub's layout: `id`, `question`, `context` and `answers` with two lists.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use parquet::file::reader::FileReader;
use parquet::record::{Field, Row};

use super::RawQuestion;
use crate::error::{DataError, join_names};
use crate::parquet_checks::{self, Allowance, broken, unreadable};
use crate::regular_file;

/// About what the parquet crate reserves for a column when it puts rows together, in bytes.
const COLUMN: u64 = 64 * 1024;

/// Reads all rows.
pub(super) fn read(path: &Path) -> Result<Vec<RawQuestion>, DataError> {
    // As for flat files: a changed byte can make the parquet crate panic.
    std::panic::catch_unwind(|| read_rows(path))
        .unwrap_or_else(|_| Err(broken(path, "its content contradicts itself")))
}

fn read_rows(path: &Path) -> Result<Vec<RawQuestion>, DataError> {
    let file = regular_file::open(path)?;
    let (reader, mut allowance) = parquet_checks::reader(path, file)?;
    for group in 0..reader.num_row_groups() {
        let group = reader
            .get_row_group(group)
            .map_err(|error| unreadable(path, &error))?;
        for column in 0..group.num_columns() {
            allowance.take(COLUMN)?;
            allowance.check_rows(&*group, column)?;
        }
    }
    let rows = reader
        .get_row_iter(None)
        .map_err(|error| unreadable(path, &error))?;
    let mut contexts: HashSet<Arc<str>> = HashSet::new();
    let mut questions = Vec::new();
    for (index, row) in rows.enumerate() {
        let row = row.map_err(|error| unreadable(path, &error))?;
        let place = Place {
            path,
            row: index + 1,
        };
        let context = place.text(&row, "context")?;
        // Many questions are about one passage, which is kept once.
        let context = match contexts.get(context) {
            Some(known) => known.clone(),
            None => {
                let new: Arc<str> = context.into();
                contexts.insert(new.clone());
                new
            }
        };
        let question = RawQuestion {
            id: place.text(&row, "id")?.to_owned(),
            question: place.text(&row, "question")?.to_owned(),
            context,
            answers: place.answers(&row)?,
        };
        count(&question, &mut allowance)?;
        questions.push(question);
    }
    Ok(questions)
}

/// Counts the text of a question, which may be one entry of a dictionary in every row.
fn count(question: &RawQuestion, allowance: &mut Allowance) -> Result<(), DataError> {
    let answers: usize = question.answers.iter().map(|(text, _)| text.len()).sum();
    let texts = question.id.len() + question.question.len() + question.context.len();
    allowance.take((answers + texts) as u64)
}

/// Where a value stands, for error messages.
struct Place<'a> {
    path: &'a Path,
    row: usize,
}

impl Place<'_> {
    fn text<'r>(&self, row: &'r Row, column: &str) -> Result<&'r str, DataError> {
        match self.field(row, column)? {
            Field::Str(text) => Ok(text),
            other => Err(self.wrong_type(column, "text", other)),
        }
    }

    /// Texts and first characters; a row without answers has empty lists or none.
    fn answers(&self, row: &Row) -> Result<Vec<(String, i64)>, DataError> {
        let group = match self.field(row, "answers")? {
            Field::Group(group) => group,
            Field::Null => return Ok(Vec::new()),
            other => return Err(self.wrong_type("answers", "a record", other)),
        };
        let (texts, starts) = (self.list(group, "text")?, self.list(group, "answer_start")?);
        if texts.len() != starts.len() {
            return Err(DataError::Malformed {
                path: self.path.to_owned(),
                row: self.row,
                message: format!(
                    "it has {} answers, but {} places of answers",
                    texts.len(),
                    starts.len()
                ),
            });
        }
        let pair = |(text, start): (&Field, &Field)| {
            let start = match start {
                Field::Int(start) => i64::from(*start),
                Field::Long(start) => *start,
                other => return Err(self.wrong_type("answers.answer_start", "an integer", other)),
            };
            match text {
                Field::Str(text) => Ok((text.clone(), start)),
                other => Err(self.wrong_type("answers.text", "text", other)),
            }
        };
        texts.iter().zip(starts).map(pair).collect()
    }

    fn list<'r>(&self, group: &'r Row, column: &str) -> Result<&'r [Field], DataError> {
        match self.field(group, column)? {
            Field::ListInternal(list) => Ok(list.elements()),
            Field::Null => Ok(&[]),
            other => Err(self.wrong_type(column, "a list", other)),
        }
    }

    fn field<'r>(&self, row: &'r Row, column: &str) -> Result<&'r Field, DataError> {
        let mut fields = row.get_column_iter();
        let found = fields.find(|(name, _)| *name == column);
        found
            .map(|(_, field)| field)
            .ok_or_else(|| DataError::MissingColumn {
                path: self.path.to_owned(),
                column: column.to_owned(),
                found: join_names(row.get_column_iter().map(|(name, _)| name.as_str())),
            })
    }

    fn wrong_type(&self, column: &str, expected: &'static str, found: &Field) -> DataError {
        DataError::WrongType {
            path: self.path.to_owned(),
            row: self.row,
            column: column.to_owned(),
            expected,
            found: match found {
                Field::Null => "no value".to_owned(),
                Field::Str(_) => "text".to_owned(),
                Field::Group(_) => "a record".to_owned(),
                Field::ListInternal(_) | Field::MapInternal(_) => "a list".to_owned(),
                _ => "another kind of value".to_owned(),
            },
        }
    }
}
