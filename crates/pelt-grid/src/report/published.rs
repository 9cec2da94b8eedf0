//! Results of others, for the tasks whose rows and protocol are theirs.

use serde::Deserialize;

use super::cards::Standing;
use super::format::score;
use super::score::{Unit, metric_title};
use super::summary::{MethodSummary, Summary, TaskSummary};
use super::table::{Column, Row, RowKind, Table, TableCell};

const TEXT: &str = include_str!("../../published.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    table: Vec<Published>,
}

/// One table of a publication.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    source: String,
    encoder: String,
    split: String,
    /// Number of training rows; the whole set if `None`.
    train_rows: Option<u64>,
    note: Option<String>,
    /// Task and metric.
    columns: Vec<(String, String)>,
    rows: Vec<PublishedRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishedRow {
    method: String,
    scores: Vec<f64>,
    average: Option<f64>,
}

/// A published table with one's own rows below it.
#[derive(Debug)]
pub(crate) struct Beside {
    pub source: String,
    pub encoder: String,
    pub note: Option<String>,
    pub table: Table,
}

/// All that is published on the tasks of a summary, and why some of it is not shown.
pub(crate) fn published(summary: &Summary) -> (Vec<Beside>, Vec<String>) {
    let tables = match toml::from_str::<File>(TEXT) {
        Ok(file) => file.table,
        Err(_) => Vec::new(),
    };
    let beside = tables.iter().filter_map(|table| table.beside(summary));
    let beside = beside.collect();
    let mut reasons = Vec::new();
    for task in &summary.tasks {
        let name = task.name.as_str();
        let known = |table: &Published| table.columns.iter().any(|(task, _)| task == name);
        let set = task.set.as_deref().unwrap_or_default();
        match task.standing() {
            Some(Standing::StandIn) => reasons.push(format!(
                "{name}: the rows ({set}) stand in for others, so that no published number belongs beside them."
            )),
            Some(Standing::Other) if tables.iter().any(known) => reasons.push(format!(
                "{name}: the rows ({set}) are not all of the published ones, so that no published number is put beside them."
            )),
            _ => {}
        }
    }
    (beside, reasons)
}

impl Published {
    fn fits(&self, task: &TaskSummary, summary: &Summary) -> bool {
        let words = |set: &Option<String>| -> Vec<String> {
            let words = set.iter().flat_map(|set| set.split_whitespace());
            words.map(str::to_owned).collect()
        };
        let (set, train) = (words(&task.set), words(&task.train));
        let is_task = |words: &[String]| words.first() == Some(&task.name);
        // MNLI has two development sets, of which the first is meant.
        let split = |found: &String| {
            *found == self.split || found.strip_suffix("_matched") == Some(&self.split)
        };
        let plan = summary.plan.tasks.iter().find(|one| one.name == task.name);
        let Some(plan) = plan else {
            return false;
        };
        let limited = plan.budget.or(&summary.plan.budget).train_rows;
        let rows = match self.train_rows {
            Some(rows) => limited.map(u64::from) == Some(rows) && task.train_rows == Some(rows),
            None => limited.is_none() && plan.train.is_none(),
        };
        rows && is_task(&set)
            && is_task(&train)
            && set.last().is_some_and(split)
            && task.standing() == Some(Standing::Published)
    }

    fn beside(&self, summary: &Summary) -> Option<Beside> {
        let task = |name: &str| summary.tasks.iter().find(|task| task.name == name);
        let columns: Vec<(usize, &TaskSummary, &str)> = self
            .columns
            .iter()
            .enumerate()
            .filter_map(|(index, (name, metric))| Some((index, task(name)?, metric.as_str())))
            .filter(|(_, task, _)| self.fits(task, summary))
            .collect();
        if columns.is_empty() {
            return None;
        }
        let all = columns.len() == self.columns.len();
        let averaged = all && self.rows.iter().any(|row| row.average.is_some());
        let mut table = Table {
            caption: format!("{}, with {}", self.source, self.encoder),
            columns: vec![Column::text("Method"), Column::text("Encoder")],
            rows: Vec::new(),
        };
        for (_, task, metric) in &columns {
            table
                .columns
                .push(Column::number(&task.name).with_note(metric_title(metric)));
        }
        if averaged {
            table.columns.push(Column::number("Average"));
        }
        for row in &self.rows {
            let scores = columns.iter().map(|(index, ..)| {
                let score = row.scores.get(*index).copied();
                score.filter(|score| score.is_finite())
            });
            let scores: Vec<Option<f64>> = scores.collect();
            if scores.iter().all(Option::is_none) {
                continue;
            }
            let mut cells = vec![
                TableCell::text(&row.method).tag(Some("published".into())),
                TableCell::text(&self.encoder),
            ];
            cells.extend(
                scores
                    .iter()
                    .map(|value| TableCell::number(*value, as_printed)),
            );
            if averaged {
                cells.push(TableCell::number(row.average, as_printed));
            }
            table.rows.push(Row {
                kind: RowKind::Published,
                cells,
            });
        }
        let encoder = summary.encoder();
        for (index, method) in summary.plan.methods.iter().enumerate() {
            let own = columns
                .iter()
                .map(|(_, task, metric)| own_score(&task.methods[index], metric));
            let own: Vec<Option<f64>> = own.collect();
            let mut cells = vec![TableCell::text(&method.name), TableCell::text(encoder)];
            cells.extend(own.iter().map(|value| TableCell::number(*value, score)));
            if averaged {
                let all: Option<Vec<f64>> = own.into_iter().collect();
                let mean = all.and_then(|all| super::statistics::mean(&all));
                cells.push(TableCell::number(mean, score));
            }
            table.rows.push(Row {
                kind: RowKind::Own,
                cells,
            });
        }
        Some(Beside {
            source: self.source.clone(),
            encoder: self.encoder.clone(),
            note: self.note.clone(),
            table,
        })
    }
}

/// A number with the decimals that it was given with, but at least one.
fn as_printed(value: f64) -> String {
    format!("{value:?}")
}

/// The mean of a metric over all seeds, as it is shown; it may be another one than what the task is compared by.
fn own_score(method: &MethodSummary, metric: &str) -> Option<f64> {
    let value = method.values.get(metric).filter(|_| method.is_complete())?;
    let unit = match method.values.contains_key("exact_match") {
        true => Unit::Percent,
        false => Unit::Fraction,
    };
    Some(unit.shown(*value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{Sample, sample};

    fn found(change: impl FnOnce(&mut Sample)) -> (Vec<Beside>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let mut sample = sample();
        change(&mut sample);
        sample.write(folder.path()).unwrap();
        published(&Summary::untested(&sample.plan, folder.path()).unwrap())
    }

    #[test]
    fn every_row_has_a_score_for_each_column() {
        let file: File = toml::from_str(TEXT).unwrap();
        for table in &file.table {
            for row in &table.rows {
                assert_eq!(row.scores.len(), table.columns.len(), "{}", row.method);
            }
            for (task, metric) in &table.columns {
                assert!(
                    crate::report::score::metric_named(metric).is_some(),
                    "{task}"
                );
            }
        }
    }

    #[test]
    fn printed_averages_are_those_of_their_rows() {
        let file: File = toml::from_str(TEXT).unwrap();
        for table in &file.table {
            for row in &table.rows {
                let Some(printed) = row.average else { continue };
                let mean = row.scores.iter().sum::<f64>() / row.scores.len() as f64;
                assert!(
                    (mean - printed).abs() < 0.06,
                    "{} {}: {mean} {printed}",
                    table.source,
                    row.method
                );
            }
        }
    }

    #[test]
    fn tables_on_all_training_rows_stand_beside_such_runs_alone() {
        let (beside, reasons) = found(|_| {});
        let sources: Vec<&str> = beside.iter().map(|one| one.source.as_str()).collect();
        assert!(sources.iter().any(|source| source.starts_with("LoRA")));
        assert!(!sources.iter().any(|source| source.contains("Table 1")));
        for one in &beside {
            let names: Vec<&str> = one
                .table
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .collect();
            // The made-up rows of stsb are fewer than published.
            assert!(!names.contains(&"stsb") && !names.contains(&"Average"));
        }
        assert_eq!(reasons.len(), 1);
        assert!(reasons[0].starts_with("stsb"), "{reasons:?}");
    }

    #[test]
    fn tables_on_few_rows_stand_beside_as_many_rows() {
        let few = |rows: u32| {
            found(move |sample| {
                sample.plan.budget.train_rows = Some(rows);
                for record in &mut sample.records {
                    record.data.train_rows = u64::from(rows);
                }
            })
        };
        let (beside, _) = few(500);
        assert_eq!(beside.len(), 1);
        let texts = format!("{:?}", beside[0].table);
        assert!(texts.contains("85.67") && !texts.contains("86.54"));
        assert!(few(400).0.is_empty());
    }

    #[test]
    fn nothing_stands_beside_a_stand_in_or_another_split() {
        for set in [
            "mrpc (stand-in) validation",
            "mrpc (part) validation",
            "mrpc test",
            "other validation",
        ] {
            let (beside, _) = found(|sample| {
                for record in &mut sample.records {
                    record.reported[0].set = set.into();
                }
            });
            assert!(beside.is_empty(), "{set}");
        }
        let (beside, reasons) = found(|sample| {
            for record in &mut sample.records {
                record.data.train = "helpfulness_standin (stand-in) train".into();
            }
        });
        assert!(beside.is_empty());
        assert!(reasons.iter().all(|reason| reason.contains("stand in")));
    }
}
