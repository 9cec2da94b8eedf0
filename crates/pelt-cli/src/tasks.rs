//! `pelt tasks`.

use std::path::Path;

use anyhow::Result;
use pelt_data::{Card, Target};
use serde_json::{Value, json};

use crate::args::TasksArgs;
use crate::output::print_line;
use crate::{data, questions};

pub fn run(args: &TasksArgs) -> Result<()> {
    if let Some(task) = &args.fetch {
        return fetch(&Card::require_builtin(task)?, args.data.as_deref());
    }
    let cards: Vec<Card> = Card::names().filter_map(Card::builtin).collect();
    if args.json {
        return print_line(cards.iter().map(describe).collect::<Value>());
    }
    print_line(format!(
        "{:22} {:18} {:22} published rows by split",
        "task", "kind", "chosen by"
    ))?;
    for card in &cards {
        let sizes: Vec<String> = splits(card)
            .map(|(split, rows)| format!("{split} {rows}"))
            .collect();
        print_line(format!(
            "{:22} {:18} {:22} {}",
            card.name,
            kind(&card.target),
            card.primary_metric.name(),
            match sizes.is_empty() {
                true => "(none published)".to_owned(),
                false => sizes.join(", "),
            }
        ))?;
        print_line(format!("  {}", card.title))?;
        if let Some(note) = data::note(card) {
            print_line(format!("  note: {note}"))?;
        }
    }
    print_line("\nLabels, all metrics, licences and folders: `pelt tasks --json`.")
}

/// Reads the splits that training and evaluation use.
fn fetch(card: &Card, data: Option<&Path>) -> Result<()> {
    let used = card.train_split.iter().chain(&card.evaluation_splits);
    for split in used {
        let rows = match card.target {
            Target::Span => questions::read_split(card, data, split)?.describe_rows(),
            Target::Classification { .. } | Target::Regression { .. } => {
                data::task_split(card, data, split)?.describe_rows()
            }
        };
        print_line(format!("{} {split}: {rows}", card.name))?;
    }
    Ok(())
}

/// Published splits in the order in which they are used, then the others.
fn splits(card: &Card) -> impl Iterator<Item = (&str, usize)> {
    let used: Vec<&String> = card
        .train_split
        .iter()
        .chain(&card.evaluation_splits)
        .collect();
    let others = card.published_rows.keys();
    let others: Vec<&String> = others.filter(|split| !used.contains(split)).collect();
    used.into_iter()
        .chain(others)
        .filter_map(|split| Some((split.as_str(), *card.published_rows.get(split)?)))
}

fn kind(target: &Target) -> String {
    match target {
        Target::Classification { labels } => format!("{} classes", labels.len()),
        Target::Regression { .. } => "score".to_owned(),
        Target::Span => "span of a passage".to_owned(),
    }
}

fn describe(card: &Card) -> Value {
    json!({
        "name": card.name,
        "title": card.title,
        "note": card.note,
        "stand_in_for": card.stand_in_for,
        "target": card.target,
        "metrics": card.metrics,
        "primary_metric": card.primary_metric,
        "max_length": card.max_length,
        "train_split": card.train_split,
        "evaluation_splits": card.evaluation_splits,
        "published_rows": card.published_rows,
        "folder": card.source.local_folder,
        "licence": card.licence,
    })
}
