//! Rows of a task or a file, tokenised.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use pelt_data::{
    Card, Label, Target, TextDataset, TextRow, Tokenizer, UserFile, UserTask, read_split,
};
use pelt_hooks::Sequence;
use pelt_metrics::Metric;
use pelt_train::Examples;

use crate::column_args::ColumnArgs;
use crate::hub::{self, Downloads};
use crate::model::Base;

/// A split of a known task.
pub fn task_split(card: &Card, data: Option<&Path>, split: &str) -> Result<TextDataset> {
    Ok(read_split(&task_root(card, data, split)?, card, split)?)
}

/// The folder in which a split of a known task is looked for.
pub fn task_root(card: &Card, data: Option<&Path>, split: &str) -> Result<PathBuf> {
    Ok(match data {
        Some(root) => root.to_path_buf(),
        None => {
            let mut downloads = Downloads::default();
            pelt_data::fetch_from_hub(card, split, &hub::hub()?, &mut downloads)?
        }
    })
}

/// A user's file; `labels` are the class names found in the training file.
pub fn user_file(
    path: &Path,
    columns: &ColumnArgs,
    labels: Option<Vec<String>>,
) -> Result<TextDataset> {
    let file = UserFile {
        path: path.to_path_buf(),
        text_column: columns.text().into(),
        pair_column: columns.pair_column.clone(),
        label_column: Some(columns.label().into()),
        task: match columns.regression {
            true => UserTask::Regression,
            false => UserTask::Classification,
        },
        labels,
    };
    Ok(file.read()?)
}

/// The metrics of a file without a card.
pub fn default_metrics(target: &Target) -> (Vec<Metric>, Metric) {
    match target {
        Target::Regression { .. } => (
            vec![Metric::Pearson, Metric::Spearmanr],
            Metric::CombinedScore,
        ),
        Target::Span => (vec![Metric::ExactMatch, Metric::F1], Metric::F1),
        Target::Classification { labels } if labels.len() == 2 => {
            (vec![Metric::Accuracy, Metric::F1], Metric::Accuracy)
        }
        Target::Classification { .. } => {
            (vec![Metric::Accuracy, Metric::MacroF1], Metric::Accuracy)
        }
    }
}

/// Class names, or `None` for a regression or spans.
pub fn label_names(target: &Target) -> Option<Vec<String>> {
    match target {
        Target::Classification { labels } => Some(labels.clone()),
        Target::Regression { .. } | Target::Span => None,
    }
}

/// Whether two lists have the same classes in different orders.
pub fn in_another_order(one: &[String], other: &[String]) -> bool {
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    one != other && sorted(one) == sorted(other)
}

/// Tokenised rows, and how many of them were cut.
pub struct Tokenised {
    pub examples: Examples,
    pub truncated: usize,
}

/// Tokenises labelled rows.
pub fn examples(
    dataset: &TextDataset,
    tokenizer: &Tokenizer,
    max_length: usize,
) -> Result<Tokenised> {
    let labels: Option<Vec<Label>> = dataset.rows.iter().map(|row| row.label).collect();
    let Some(labels) = labels else {
        bail!(
            "{}: {} of {} rows have no label, so they cannot be trained on or scored",
            describe(dataset),
            dataset.rows.len() - dataset.labelled_rows(),
            dataset.rows.len()
        );
    };
    let (sequences, truncated) = sequences(&dataset.rows, tokenizer, max_length)?;
    Ok(Tokenised {
        examples: Examples { sequences, labels },
        truncated,
    })
}

/// Tokenises rows without their labels.
pub fn sequences(
    rows: &[TextRow],
    tokenizer: &Tokenizer,
    max_length: usize,
) -> Result<(Vec<Sequence>, usize)> {
    let encoded = tokenizer.encode_batch(rows, max_length)?;
    let truncated = encoded.iter().filter(|row| row.truncated).count();
    let sequences = encoded
        .into_iter()
        .map(|row| Sequence {
            input_ids: row.input_ids,
            token_type_ids: row.token_type_ids,
        })
        .collect();
    Ok((sequences, truncated))
}

/// Token ids and token type ids of a row, and its number from 0.
pub type RowIds<'a> = (usize, [&'a [u32]; 2]);

/// Checks that every token has a row in the model's tables: a tokenizer may come from another model.
pub fn check_vocabulary<'a>(
    ids: impl IntoIterator<Item = RowIds<'a>>,
    rows: &str,
    model: &Path,
    base: &Base,
) -> Result<()> {
    let config = base.config();
    let tables = [
        ("token", config.shape.vocab_size),
        ("token type", config.type_vocab_size),
    ];
    for (row, ids) in ids {
        for ((table, size), ids) in tables.into_iter().zip(ids) {
            if let Some(id) = ids.iter().find(|id| **id as usize >= size) {
                bail!(
                    "{}: the tokenizer does not belong to this model: row {} of {rows} has the {table} {id}, but the model \
                     has only {size}",
                    model.display(),
                    row + 1
                );
            }
        }
    }
    Ok(())
}

/// `mrpc train`, or the file's name. Rows that are not those published under the name say so: `imdb (part) train`.
pub fn describe(dataset: &TextDataset) -> String {
    let name = dataset.display_name();
    match dataset.split.is_empty() {
        true => name,
        false => format!("{name} {}", dataset.split),
    }
}

/// What a reader should know about a task's rows, such as that they stand in for others.
pub fn note(card: &Card) -> Option<String> {
    let note = card.note.as_deref()?;
    Some(match &card.stand_in_for {
        Some(other) => format!("{} stands in for {other}: {note}", card.name),
        None => format!("{}: {note}", card.name),
    })
}

/// `, 12 of them cut to 128 tokens`, or nothing.
pub fn describe_truncated(truncated: usize, max_length: usize) -> String {
    match truncated {
        0 => String::new(),
        _ => format!(", {truncated} of them cut to {max_length} tokens"),
    }
}
