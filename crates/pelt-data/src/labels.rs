//! What is predicted, and how the values of a label column become it.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{DataError, join_names};
use crate::table::Cell;

/// What a model predicts for a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// One of several classes.
    Classification {
        /// Names of the classes; the position is the class number.
        labels: Vec<String>,
    },
    /// A number.
    Regression {
        /// Smallest and largest score there can be, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        range: Option<[f64; 2]>,
    },
    /// A part of a text, by its first and last token.
    Span,
}

/// The label of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Label {
    /// Class number.
    Class(usize),
    /// Score, finite.
    Score(f32),
    /// First and last token of a span.
    Span([usize; 2]),
}

impl Target {
    /// Whether a number is predicted.
    pub fn is_regression(&self) -> bool {
        matches!(self, Self::Regression { .. })
    }

    /// Number of outputs a head needs: one per class, one score, or start and end of a span.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Classification { labels } => labels.len(),
            Self::Regression { .. } => 1,
            Self::Span => 2,
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::Classification { labels } => {
                if labels.is_empty() {
                    return Err("labels is empty, expected at least one name".to_owned());
                }
                let mut seen = BTreeSet::new();
                match labels.iter().find(|label| !seen.insert(*label)) {
                    Some(twice) => Err(format!("the label {twice:?} is there twice")),
                    None => Ok(()),
                }
            }
            Self::Regression {
                range: Some([low, high]),
            } => {
                if low < high && low.is_finite() && high.is_finite() {
                    Ok(())
                } else {
                    Err(format!(
                        "range is {low} to {high}, expected a smaller and a larger finite number"
                    ))
                }
            }
            Self::Regression { range: None } | Self::Span => Ok(()),
        }
    }
}

/// Whether the label -1 stands for a label that is not given, as in the test splits of GLUE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MinusOne {
    Unlabelled,
    Ordinary,
}

/// Turns a label column into labels, one entry per row.
pub(crate) fn resolve_labels(
    path: &Path,
    column: &str,
    cells: &[Cell],
    target: &Target,
    minus_one: MinusOne,
) -> Result<Vec<Option<Label>>, DataError> {
    let classes = match target {
        Target::Classification { labels } => Some(ClassNames::new(labels)),
        Target::Regression { .. } | Target::Span => None,
    };
    let mut labels = Vec::with_capacity(cells.len());
    for (index, cell) in cells.iter().enumerate() {
        let place = Place {
            path,
            column,
            row: index + 1,
        };
        if *cell == Cell::Missing {
            return Err(place.wrong_type("a label", cell));
        }
        if minus_one == MinusOne::Unlabelled && is_minus_one(cell) {
            labels.push(None);
            continue;
        }
        let label = match (&classes, target) {
            (Some(classes), _) => {
                Label::Class(classes.find(cell).ok_or_else(|| DataError::LabelOutside {
                    path: path.to_owned(),
                    row: place.row,
                    found: cell.describe(),
                    allowed: format!(
                        "one of {}",
                        join_names(classes.names.iter().map(String::as_str))
                    ),
                })?)
            }
            (None, Target::Regression { range }) => Label::Score(score(&place, cell, *range)?),
            (None, Target::Classification { .. } | Target::Span) => {
                return Err(place.wrong_type("a class or a score", cell));
            }
        };
        labels.push(Some(label));
    }
    Ok(labels)
}

/// The names of the classes that occur in a label column: integers in numerical order, anything else sorted.
pub(crate) fn infer_names(
    path: &Path,
    column: &str,
    cells: &[Cell],
) -> Result<Vec<String>, DataError> {
    let mut names = BTreeSet::new();
    for (index, cell) in cells.iter().enumerate() {
        let place = Place {
            path,
            column,
            row: index + 1,
        };
        let name = class_name(cell)
            .ok_or_else(|| place.wrong_type("a class (text or an integer)", cell))?;
        names.insert(name);
    }
    let mut names: Vec<String> = names.into_iter().collect();
    if names.iter().all(|name| name.parse::<i64>().is_ok()) {
        names.sort_by_key(|name| name.parse::<i64>().unwrap_or_default());
    }
    Ok(names)
}

/// Classes by name, or by number where the names are no numbers themselves.
struct ClassNames<'a> {
    names: &'a [String],
    numbers: HashMap<&'a str, usize>,
    accepts_numbers: bool,
}

impl<'a> ClassNames<'a> {
    fn new(names: &'a [String]) -> Self {
        Self {
            names,
            numbers: names
                .iter()
                .enumerate()
                .map(|(number, name)| (name.as_str(), number))
                .collect(),
            accepts_numbers: names.iter().all(|name| name.parse::<i64>().is_err()),
        }
    }

    fn find(&self, cell: &Cell) -> Option<usize> {
        let name = class_name(cell)?;
        if let Some(&number) = self.numbers.get(name.as_str()) {
            return Some(number);
        }
        let number = name.parse::<usize>().ok()?;
        (self.accepts_numbers && number < self.names.len()).then_some(number)
    }
}

/// A cell as the name of a class; `None` for a missing value, empty text and a number that is no integer.
pub(crate) fn class_name(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Text(text) if text.is_empty() => None,
        Cell::Text(text) => Some(text.clone()),
        Cell::Integer(number) => Some(number.to_string()),
        Cell::Boolean(value) => Some(value.to_string()),
        // Some tools write integer labels as 1.0.
        Cell::Real(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            Some((*number as i64).to_string())
        }
        Cell::Real(_) | Cell::Missing | Cell::Other(_) => None,
    }
}

fn is_minus_one(cell: &Cell) -> bool {
    match cell {
        Cell::Integer(number) => *number == -1,
        Cell::Real(number) => *number == -1.0,
        _ => false,
    }
}

fn score(place: &Place<'_>, cell: &Cell, range: Option<[f64; 2]>) -> Result<f32, DataError> {
    let number = match cell {
        Cell::Integer(number) => Some(*number as f64),
        Cell::Real(number) => Some(*number),
        Cell::Text(text) => text.trim().parse::<f64>().ok(),
        Cell::Boolean(_) | Cell::Missing | Cell::Other(_) => None,
    };
    let number = number.ok_or_else(|| place.wrong_type("a number", cell))?;
    let score = number as f32;
    if !score.is_finite() {
        return Err(DataError::NotFinite {
            path: place.path.to_owned(),
            row: place.row,
            found: number.to_string(),
        });
    }
    if let Some([low, high]) = range
        && !(low..=high).contains(&number)
    {
        return Err(DataError::LabelOutside {
            path: place.path.to_owned(),
            row: place.row,
            found: number.to_string(),
            allowed: format!("a score from {low} to {high}"),
        });
    }
    Ok(score)
}

/// Where a value stands, for error messages.
struct Place<'a> {
    path: &'a Path,
    column: &'a str,
    row: usize,
}

impl Place<'_> {
    fn wrong_type(&self, expected: &'static str, cell: &Cell) -> DataError {
        DataError::WrongType {
            path: self.path.to_owned(),
            row: self.row,
            column: self.column.to_owned(),
            expected,
            found: cell.describe(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Cell {
        Cell::Text(value.to_owned())
    }

    fn infer(cells: &[Cell]) -> Vec<String> {
        infer_names(Path::new("file"), "label", cells).unwrap()
    }

    fn resolve(cells: &[Cell], target: &Target) -> Result<Vec<Option<Label>>, DataError> {
        resolve_labels(
            Path::new("file"),
            "label",
            cells,
            target,
            MinusOne::Unlabelled,
        )
    }

    fn classes(names: &[&str]) -> Target {
        Target::Classification {
            labels: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn inferred_names_are_sorted_and_integers_numerically() {
        assert_eq!(infer(&[text("b"), text("a"), text("b")]), ["a", "b"]);
        assert_eq!(
            infer(&[text("10"), text("9"), text("-1")]),
            ["-1", "9", "10"]
        );
        assert_eq!(infer(&[Cell::Integer(10), Cell::Real(2.0)]), ["2", "10"]);
        assert_eq!(
            infer(&[Cell::Boolean(true), Cell::Boolean(false)]),
            ["false", "true"]
        );
    }

    #[test]
    fn a_broken_number_is_no_class() {
        let error = infer_names(
            Path::new("file"),
            "label",
            &[Cell::Integer(1), Cell::Real(0.5)],
        );
        let message = error.unwrap_err().to_string();
        assert!(
            message.contains("row 2 of file holds 0.5 in the column \"label\""),
            "{message}"
        );
    }

    #[test]
    fn numbers_stand_for_names_unless_the_names_are_numbers() {
        let labels = resolve(&[Cell::Integer(1), text("no")], &classes(&["no", "yes"])).unwrap();
        assert_eq!(labels, [Some(Label::Class(1)), Some(Label::Class(0))]);
        let labels = resolve(&[Cell::Integer(2)], &classes(&["1", "2"])).unwrap();
        assert_eq!(labels, [Some(Label::Class(1))]);
        assert!(resolve(&[Cell::Integer(0)], &classes(&["1", "2"])).is_err());
    }

    #[test]
    fn a_label_outside_the_card_names_row_value_and_allowed() {
        let error = resolve(&[text("no"), text("maybe")], &classes(&["no", "yes"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "row 2 of file has the label \"maybe\", expected one of no, yes"
        );
    }

    #[test]
    fn minus_one_is_no_label() {
        assert_eq!(
            resolve(&[Cell::Integer(-1)], &classes(&["no", "yes"])).unwrap(),
            [None]
        );
    }

    #[test]
    fn scores_are_finite_numbers_in_the_range() {
        let target = Target::Regression {
            range: Some([0.0, 5.0]),
        };
        let labels = resolve(&[Cell::Real(2.5), text("3"), Cell::Integer(0)], &target).unwrap();
        let scores = [2.5, 3.0, 0.0].map(|score| Some(Label::Score(score)));
        assert_eq!(labels, scores);
        for (cell, expected) in [
            (Cell::Real(f64::NAN), "score NaN, expected a finite number"),
            (text("nan"), "score NaN"),
            (Cell::Real(5.5), "label 5.5, expected a score from 0 to 5"),
            (text("high"), "expected a number"),
            (Cell::Missing, "no value"),
        ] {
            let message = resolve(&[cell], &target).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
