//! A cell's predictions, row by row.

use std::path::{Component, Path};

use serde::Deserialize;

use crate::{GridError, Record};

/// One line of a predictions file.
#[derive(Debug, Deserialize)]
struct Line {
    row: Option<u64>,
    id: Option<String>,
    gold: Option<Value>,
    predicted: Option<Value>,
    exact_match: Option<f64>,
    f1: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Value {
    Score(f64),
    Class(String),
}

/// The predictions of a cell. All lists are as long as `rows`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Predicted {
    /// Names of the rows.
    pub rows: Vec<String>,
    /// What was predicted.
    pub values: Values,
}

/// Gold and prediction.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Values {
    /// Names of classes.
    Classes {
        gold: Vec<String>,
        predicted: Vec<String>,
    },
    /// Numbers.
    Scores { gold: Vec<f64>, predicted: Vec<f64> },
    /// The scores of answers, 0 to 1.
    Answers { exact_match: Vec<f64>, f1: Vec<f64> },
}

/// Reads the predictions on the first set that a record reports; `None` where it has none.
pub(crate) fn read_predictions(
    record: &Record,
    folder: &Path,
) -> Result<Option<Predicted>, GridError> {
    let Some(name) = record
        .reported
        .first()
        .and_then(|scored| scored.predictions.as_ref())
    else {
        return Ok(None);
    };
    let path = folder.join(name);
    let problem = |problem: String| GridError::Predictions {
        path: path.clone(),
        problem,
    };
    let inside = |part: Component| matches!(part, Component::Normal(_));
    if !Path::new(name).components().all(inside) {
        return Err(problem("the file is not in its cell's folder".into()));
    }
    let text =
        std::fs::read_to_string(&path).map_err(|error| GridError::io(&path, "be read", error))?;
    parse(&text).map(Some).map_err(problem)
}

fn parse(text: &str) -> Result<Predicted, String> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let line: Line =
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", index + 1))?;
        lines.push((index + 1, line));
    }
    let first = lines.first().ok_or("there is no line")?;
    let mut values = match (&first.1.gold, first.1.f1) {
        (Some(Value::Class(_)), _) => Values::Classes {
            gold: Vec::new(),
            predicted: Vec::new(),
        },
        (Some(Value::Score(_)), _) => Values::Scores {
            gold: Vec::new(),
            predicted: Vec::new(),
        },
        (None, _) => Values::Answers {
            exact_match: Vec::new(),
            f1: Vec::new(),
        },
    };
    let mut rows = Vec::with_capacity(lines.len());
    for (number, line) in lines {
        let name = line.id.or(line.row.map(|row| row.to_string()));
        rows.push(name.ok_or(format!("line {number}: there is no row or id"))?);
        let fits = match (&mut values, line.gold, line.predicted) {
            (
                Values::Classes { gold, predicted },
                Some(Value::Class(is)),
                Some(Value::Class(said)),
            ) => {
                gold.push(is);
                predicted.push(said);
                true
            }
            (
                Values::Scores { gold, predicted },
                Some(Value::Score(is)),
                Some(Value::Score(said)),
            ) => {
                gold.push(is);
                predicted.push(said);
                true
            }
            (Values::Answers { exact_match, f1 }, ..) => match (line.exact_match, line.f1) {
                (Some(exact), Some(overlap)) => {
                    exact_match.push(exact);
                    f1.push(overlap);
                    true
                }
                _ => false,
            },
            _ => false,
        };
        if !fits {
            return Err(format!(
                "line {number}: gold and predicted should be two classes or two numbers, or there should be exact_match and f1, as in the first line"
            ));
        }
    }
    Ok(Predicted { rows, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_kinds_are_read() {
        let classes = parse(
            "{\"row\":0,\"gold\":\"a\",\"predicted\":\"b\",\"probability\":0.8}\n\n{\"row\":1,\"gold\":\"a\",\"predicted\":\"a\"}\n",
        )
        .unwrap();
        assert_eq!(classes.rows, ["0", "1"]);
        let Values::Classes { predicted, .. } = classes.values else {
            panic!("not classes");
        };
        assert_eq!(predicted, ["b", "a"]);
        let scores = parse("{\"row\":0,\"gold\":3.8,\"predicted\":3}").unwrap();
        assert!(matches!(scores.values, Values::Scores { .. }));
        let answers = parse("{\"id\":\"x\",\"exact_match\":1.0,\"f1\":0.5}").unwrap();
        assert_eq!(answers.rows, ["x"]);
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, expected) in [
            ("", "no line"),
            ("{\"row\":0,\"gold\":1.0,\"predicted\":\"a\"}", "line 1"),
            ("{\"gold\":1.0,\"predicted\":1.0}", "line 1"),
            (
                "{\"row\":0,\"exact_match\":1.0,\"f1\":1.0}\n{\"row\":1,\"f1\":1.0}",
                "line 2",
            ),
            ("{", "line 1"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_file_outside_the_cell_is_not_read() {
        let mut record = crate::record::tests::record("mrpc", "lora", 1e-4, 1, 0.5);
        assert_eq!(read_predictions(&record, Path::new("x")).unwrap(), None);
        record.reported[0].predictions = Some("../../secret".into());
        let message = read_predictions(&record, Path::new("x")).unwrap_err();
        assert!(message.to_string().contains("not in its cell"), "{message}");
    }
}
