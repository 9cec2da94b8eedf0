//! Labelled texts in memory.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::batches;
use crate::card::{Card, Layout};
use crate::error::{DataError, join_names};
use crate::labels::{Label, MinusOne, Target, class_name, resolve_labels};
use crate::split_files;
use crate::standing::Standing;
use crate::table::{Cell, Table};

/// One row: a text or a pair of texts, and its label where it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct TextRow {
    /// The text, or the first of two.
    pub text: String,
    /// The second text.
    pub pair: Option<String>,
    /// What a model should predict.
    pub label: Option<Label>,
}

/// Rows of one split, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct TextDataset {
    /// Name of the data set: that of its card, or of the user's file.
    pub name: String,
    /// Name of the split; empty for a user's file.
    pub split: String,
    /// What is predicted.
    pub target: Target,
    /// The rows.
    pub rows: Vec<TextRow>,
    /// The files the rows were read from.
    pub files: Vec<PathBuf>,
    /// Rows of the published split, where there is one. What was read can differ from it.
    pub published_rows: Option<usize>,
    /// Whether what was read is the published split.
    pub standing: Standing,
}

impl TextDataset {
    /// The name under which results on these rows may be given: see [`Standing`].
    pub fn display_name(&self) -> String {
        self.standing.display_name(&self.name)
    }

    /// Number of rows as a reader should see it, such as `9,888 of 392,702 rows`.
    pub fn describe_rows(&self) -> String {
        describe_rows(self.rows.len(), self.published_rows)
    }

    /// The first `count` rows of the rows shuffled with `seed`, or all of them, shuffled, where there are fewer.
    pub fn first_rows(&self, count: usize, seed: u64) -> Self {
        self.select(&batches::first_rows(self.rows.len(), count, seed))
    }

    /// The first `train` of the rows shuffled with `seed`, and the `held_out` rows after them under another split's name.
    ///
    /// # Errors
    /// There are fewer rows than that.
    pub fn hold_out(
        &self,
        train: usize,
        held_out: usize,
        seed: u64,
    ) -> Result<(Self, Self), DataError> {
        let name = self.display_name();
        let (train, rest) = batches::hold_out(name, self.rows.len(), [train, held_out], seed)?;
        let mut rest = self.select(&rest);
        rest.split = batches::held_out_split(&self.split);
        Ok((self.select(&train), rest))
    }

    fn select(&self, rows: &[usize]) -> Self {
        Self {
            rows: rows.iter().map(|row| self.rows[*row].clone()).collect(),
            name: self.name.clone(),
            split: self.split.clone(),
            target: self.target.clone(),
            files: self.files.clone(),
            published_rows: self.published_rows,
            standing: self.standing,
        }
    }

    /// Number of rows that have a label.
    pub fn labelled_rows(&self) -> usize {
        self.rows.iter().filter(|row| row.label.is_some()).count()
    }
}

/// Reads a split of a card's data set.
///
/// `root` is the data directory that holds the card's folder (`glue/mrpc`), the parent of the task's folder, or the
/// task's folder itself.
///
/// # Errors
/// The folder, the split, one of its files or a column is not there; a file is damaged or empty; text is not UTF-8; a
/// label is not one of the card's. Path and row are named.
pub fn read_split(root: &Path, card: &Card, split: &str) -> Result<TextDataset, DataError> {
    if card.target == Target::Span {
        return Err(DataError::NoTexts {
            name: card.name.clone(),
        });
    }
    let folder = split_files::task_folder(root, card)?;
    let (split, chosen) = split_files::choose(card, split, &folder, split_files::list(&folder)?)?;
    let published_rows = card.published_rows.get(&split).copied();
    let mut dataset = TextDataset {
        name: card.name.clone(),
        published_rows,
        standing: Standing::Published,
        split,
        target: card.target.clone(),
        rows: Vec::new(),
        files: Vec::new(),
    };
    let columns = WantedColumns {
        text: &card.columns.text,
        pair: card.columns.pair.as_deref(),
        label: Some(&card.columns.label),
    };
    for file in chosen {
        let path = folder.join(&file.name);
        let mut table = columns.read(&path)?;
        if file.layout == Layout::JsonLines && !card.json_lines_labels.is_empty() {
            rename_labels(&mut table, card)?;
        }
        dataset
            .rows
            .extend(columns.rows(table, &card.target, MinusOne::Unlabelled)?);
        dataset.files.push(path);
    }
    dataset.standing = Standing::of(card, published_rows, dataset.rows.len());
    Ok(dataset)
}

/// Puts the card's labels in the place of what its JSON lines write for them.
fn rename_labels(table: &mut Table, card: &Card) -> Result<(), DataError> {
    let Some(cells) = table.columns.last_mut() else {
        return Ok(());
    };
    for (index, cell) in cells.iter_mut().enumerate() {
        let written = class_name(cell).unwrap_or_default();
        let known = card.labels().unwrap_or_default().contains(&written);
        match card.json_lines_labels.get(&written) {
            Some(label) => *cell = Cell::Text(label.clone()),
            None if known => {}
            None => {
                return Err(DataError::LabelOutside {
                    path: table.path.clone(),
                    row: index + 1,
                    found: cell.describe(),
                    allowed: format!(
                        "one of {}",
                        join_names(card.json_lines_labels.keys().map(String::as_str))
                    ),
                });
            }
        }
    }
    Ok(())
}

/// The columns that make a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WantedColumns<'a> {
    pub(crate) text: &'a str,
    pub(crate) pair: Option<&'a str>,
    pub(crate) label: Option<&'a str>,
}

impl WantedColumns<'_> {
    /// Reads the columns in the order text, pair, label.
    pub(crate) fn read(&self, path: &Path) -> Result<Table, DataError> {
        let wanted: Vec<&str> = [Some(self.text), self.pair, self.label]
            .into_iter()
            .flatten()
            .collect();
        Table::read(path, &wanted)
    }

    /// Turns a table that [`Self::read`] made into rows.
    pub(crate) fn rows(
        &self,
        table: Table,
        target: &Target,
        minus_one: MinusOne,
    ) -> Result<Vec<TextRow>, DataError> {
        let path = table.path;
        let mut columns = table.columns.into_iter();
        let mut texts = |column: &str| texts(&path, column, columns.next().unwrap_or_default());
        let first = texts(self.text)?;
        let second = self.pair.map(texts).transpose()?;
        let labels = match self.label {
            Some(label) => {
                let cells = columns.next().unwrap_or_default();
                resolve_labels(&path, label, &cells, target, minus_one)?
            }
            None => vec![None; first.len()],
        };
        let mut second = second.map(Vec::into_iter);
        let rows = first.into_iter().zip(labels).map(|(text, label)| TextRow {
            text,
            pair: second.as_mut().and_then(Iterator::next),
            label,
        });
        Ok(rows.collect())
    }
}

fn texts(path: &Path, column: &str, cells: Vec<Cell>) -> Result<Vec<String>, DataError> {
    let text = |(index, cell)| match cell {
        Cell::Text(text) => Ok(text),
        other => Err(DataError::WrongType {
            path: path.to_owned(),
            row: index + 1,
            column: column.to_owned(),
            expected: "text",
            found: other.describe(),
        }),
    };
    cells.into_iter().enumerate().map(text).collect()
}

/// SHA-256, in hexadecimal digits, over the texts and labels of all rows in their order.
///
/// Two data sets have the same fingerprint only where a model sees the same rows; names and files do not matter.
pub fn fingerprint(dataset: &TextDataset) -> String {
    let mut hash = Sha256::new();
    let add_text = |hash: &mut Sha256, text: &str| {
        // The length keeps rows apart whatever their texts hold.
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    for row in &dataset.rows {
        add_text(&mut hash, &row.text);
        match &row.pair {
            Some(pair) => {
                hash.update([1]);
                add_text(&mut hash, pair);
            }
            None => hash.update([0]),
        }
        match row.label {
            Some(Label::Class(class)) => {
                hash.update([1]);
                hash.update((class as u64).to_le_bytes());
            }
            Some(Label::Score(score)) => {
                hash.update([2]);
                hash.update(score.to_le_bytes());
            }
            Some(Label::Span(tokens)) => {
                hash.update([3]);
                for token in tokens {
                    hash.update((token as u64).to_le_bytes());
                }
            }
            None => hash.update([0]),
        }
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// `9,888 of 392,702 rows`, or `9,888 rows`.
pub(crate) fn describe_rows(rows: usize, published: Option<usize>) -> String {
    match published {
        Some(published) if published != rows => {
            format!("{} of {} rows", grouped(rows), grouped(published))
        }
        _ => format!("{} rows", grouped(rows)),
    }
}

/// A number with commas between groups of three digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(rows: Vec<TextRow>) -> TextDataset {
        TextDataset {
            name: "test".to_owned(),
            split: "train".to_owned(),
            target: Target::Regression { range: None },
            rows,
            files: Vec::new(),
            published_rows: None,
            standing: Standing::Own,
        }
    }

    fn row(text: &str, pair: Option<&str>, label: Option<Label>) -> TextRow {
        TextRow {
            text: text.to_owned(),
            pair: pair.map(str::to_owned),
            label,
        }
    }

    #[test]
    fn rows_read_and_rows_published_are_told_apart() {
        let mut data = dataset(vec![row("a", None, None); 9888]);
        assert_eq!(data.describe_rows(), "9,888 rows");
        data.published_rows = Some(392_702);
        assert_eq!(data.describe_rows(), "9,888 of 392,702 rows");
        assert_eq!(grouped(1_000_000), "1,000,000");
        assert_eq!(grouped(12), "12");
    }

    #[test]
    fn the_fingerprint_depends_on_every_part_of_a_row() {
        let variants = [
            row("ab", None, None),
            row("a", Some("b"), None),
            row("ab", Some(""), None),
            row("ab", None, Some(Label::Class(0))),
            row("ab", None, Some(Label::Class(1))),
            row("ab", None, Some(Label::Score(0.0))),
        ];
        let prints: Vec<String> = variants
            .iter()
            .map(|row| fingerprint(&dataset(vec![row.clone()])))
            .collect();
        for (index, print) in prints.iter().enumerate() {
            assert_eq!(print.len(), 64);
            assert!(!prints[..index].contains(print), "variant {index}");
        }
        let known = fingerprint(&dataset(Vec::new()));
        assert!(
            known.starts_with("e3b0c44298fc1c14"),
            "the hash of nothing is {known}"
        );
    }

    #[test]
    fn held_out_rows_follow_the_training_rows_in_the_shuffled_order() {
        let names: Vec<String> = (0..10).map(|number| number.to_string()).collect();
        let data = dataset(names.iter().map(|name| row(name, None, None)).collect());
        let (train, rest) = data.hold_out(3, 4, 5).unwrap();
        assert_eq!(train.rows, data.first_rows(3, 5).rows);
        assert_eq!([train.rows, rest.rows].concat(), data.first_rows(7, 5).rows);
        assert_eq!(rest.split, "train (held out)");
        // Which rows are held out depends on the seed alone, as do those that are trained on.
        assert_ne!(
            data.hold_out(3, 4, 6).unwrap().0.rows,
            data.first_rows(3, 5).rows
        );
        let message = data.hold_out(7, 4, 5).unwrap_err().to_string();
        assert!(
            message.contains("10 rows") && message.contains("11"),
            "{message}"
        );
    }
}
