//! Predictions of labelled rows as JSON lines.

use std::path::Path;

use anyhow::{Context, Result, bail};
use pelt_data::{Label, TextDataset};
use pelt_tensors::write_atomically;
use serde::Serialize;

/// One row, without its text.
#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Class {
        row: usize,
        gold: Class<'a>,
        predicted: Class<'a>,
        probability: f64,
    },
    Score {
        row: usize,
        gold: f32,
        predicted: f32,
    },
}

/// A class by its name, or by its number where it has none.
#[derive(Serialize)]
#[serde(untagged)]
enum Class<'a> {
    Name(&'a str),
    Number(usize),
}

/// The class with the largest logit, and the probability of every class.
pub fn probabilities(logits: &[f32]) -> (usize, Vec<f64>) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits
        .iter()
        .map(|x| f64::from(x - largest).exp())
        .collect();
    let sum: f64 = weights.iter().sum();
    let mut best = 0;
    for (index, weight) in weights.iter().enumerate() {
        if *weight > weights[best] {
            best = index;
        }
    }
    let shares = weights.iter().map(|weight| weight / sum).collect();
    (best, shares)
}

/// One line for each row: what is right and what a run with these class names predicted.
pub fn lines(
    outputs: &[Vec<f32>],
    gold: &[Label],
    names: Option<&[String]>,
) -> Result<Vec<String>> {
    let class = |number: usize| match names.and_then(|names| names.get(number)) {
        Some(name) => Class::Name(name),
        None => Class::Number(number),
    };
    let rows = outputs.iter().zip(gold).enumerate();
    let lines = rows.map(|(row, (output, gold))| {
        let line = match gold {
            Label::Class(gold) => {
                let (best, shares) = probabilities(output);
                Line::Class {
                    row,
                    gold: class(*gold),
                    predicted: class(best),
                    probability: shares.get(best).copied().unwrap_or_default(),
                }
            }
            Label::Score(gold) => Line::Score {
                row,
                gold: *gold,
                predicted: output.first().copied().unwrap_or(f32::NAN),
            },
            Label::Span(_) => bail!("row {row}: expected a class or a score, found a span"),
        };
        Ok(serde_json::to_string(&line)?)
    });
    lines.collect()
}

/// Writes the lines of a set to `predictions-<split>.jsonl`; rows of a file of one's own have its name for a split's.
pub fn write(folder: &Path, set: &TextDataset, lines: &[String]) -> Result<()> {
    let split = match set.split.is_empty() {
        true => &set.name,
        false => &set.split,
    };
    // A name from the command line or a file must not lead to another folder.
    let split = split.replace(['/', '\\'], "_");
    write_lines(&folder.join(format!("predictions-{split}.jsonl")), lines)
}

/// Writes a file of one line each.
pub fn write_lines(path: &Path, lines: &[String]) -> Result<()> {
    let mut text = lines.join("\n");
    text.push('\n');
    Ok(write_atomically(path, text.as_bytes())?)
}

/// Makes the folder for predictions.
pub fn create_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{}: cannot be created", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_go_by_their_names_where_they_have_some() {
        let outputs = [vec![0.0, 3.0_f32.ln()], vec![1.0, 1.0]];
        let gold = [Label::Class(0), Label::Class(1)];
        let names = ["no".to_string(), "yes".to_string()];
        let found = lines(&outputs, &gold, Some(&names)).unwrap();
        let parse = |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let first = parse(&found[0]);
        assert_eq!(
            (&first["gold"], &first["predicted"]),
            (&"no".into(), &"yes".into())
        );
        assert!((first["probability"].as_f64().unwrap() - 0.75).abs() < 1e-6);
        // Of equal logits the first one counts, as in the metrics.
        assert_eq!(
            found[1],
            r#"{"row":1,"gold":"yes","predicted":"no","probability":0.5}"#
        );
        let found = lines(&outputs, &gold, None).unwrap();
        assert!(found[0].starts_with(r#"{"row":0,"gold":0,"predicted":1,"#));
    }

    #[test]
    fn scores_are_written_as_they_were_read() {
        let found = lines(&[vec![3.41]], &[Label::Score(3.8)], None).unwrap();
        assert_eq!(found, [r#"{"row":0,"gold":3.8,"predicted":3.41}"#]);
        assert!(lines(&[vec![3.41]], &[Label::Span([0, 0])], None).is_err());
    }
}
