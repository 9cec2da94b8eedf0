//! What differs between two results folders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::report::{
    Column, CostSummary, MethodSummary, Row, RowKind, Summary, Table, TableCell, Unit, count,
    difference, markdown_table, memory, seconds, shown_score,
};
use crate::{DataUsed, GridError, PLAN_FILE, Plan, Record};

/// Compares two results folders: their plans, scores and costs, and the runs that only one of them has. The answer is Markdown.
///
/// # Errors
/// If a folder has no plan, or a record in it cannot be read.
pub fn compare(a: &Path, b: &Path) -> Result<String, GridError> {
    let read = |folder: &Path| Summary::untested(&Plan::read(&folder.join(PLAN_FILE))?, folder);
    let (left, right) = (read(a)?, read(b)?);
    let mut text = format!("# {} (A) and {} (B)\n\n", left.plan.name, right.plan.name);
    text.push_str(&format!(
        "- A: {} finished\n- B: {} finished\n",
        left.records.len(),
        right.records.len()
    ));
    text.push_str("\n## Settings\n\n");
    text.push_str(&or(
        settings(&left.plan, &right.plan),
        "The plans are the same.",
    ));
    text.push_str("\n## Encoder, rows and machine\n\n");
    text.push_str(&or(sources(&left, &right), "They are the same."));
    let pairs = pairs(&left, &right);
    text.push_str("\n## Scores\n\n");
    text.push_str(&or(
        scores(&pairs),
        "No task and method has a score in both.",
    ));
    text.push_str("\n`beyond` says whether the means are further apart than the larger of the two standard deviations over seeds.\n");
    text.push_str("\n## Costs\n\n");
    text.push_str(&or(
        costs(&pairs),
        "No task and method has a finished run in both.",
    ));
    text.push_str("\n## Runs in one folder only\n\n");
    text.push_str(&runs(&left, &right));
    Ok(text)
}

fn or(table: Table, otherwise: &str) -> String {
    match table.rows.is_empty() {
        true => format!("{otherwise}\n"),
        false => markdown_table(&table),
    }
}

fn row(cells: Vec<TableCell>) -> Row {
    Row {
        kind: RowKind::Own,
        cells,
    }
}

/// The settings that differ. Tasks and methods are found by their names, not by their places.
fn settings(left: &Plan, right: &Plan) -> Table {
    let (left, right) = (leaves(left), leaves(right));
    let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let shown = |leaves: &BTreeMap<String, String>, name: &str| {
        TableCell::text(leaves.get(name).cloned().unwrap_or("–".into()))
    };
    let rows = names
        .into_iter()
        .filter(|name| left.get(*name) != right.get(*name));
    Table {
        rows: rows
            .map(|name| {
                row(vec![
                    TableCell::text(name),
                    shown(&left, name),
                    shown(&right, name),
                ])
            })
            .collect(),
        columns: vec![
            Column::text("Setting"),
            Column::text("A"),
            Column::text("B"),
        ],
        ..Table::default()
    }
}

/// What a record says of something, if it does.
type Told = fn(&Record) -> Option<String>;

/// What runs were made of and where, as far as it differs.
fn sources(left: &Summary, right: &Summary) -> Table {
    let all = |summary: &Summary, field: Told, task: Option<&str>| {
        let records = summary.records.iter();
        let of_task = records.filter(|record| task.is_none_or(|task| record.cell.task == task));
        let values: BTreeSet<String> = of_task.filter_map(field).collect();
        values.into_iter().collect::<Vec<_>>().join(", ")
    };
    let mut rows = Vec::new();
    let mut compare = |name: String, field: Told, task: Option<&str>| {
        let [a, b] = [left, right].map(|summary| all(summary, field, task));
        if a != b && !a.is_empty() && !b.is_empty() {
            rows.push(row(vec![
                TableCell::text(name),
                TableCell::text(a),
                TableCell::text(b),
            ]));
        }
    };
    let fields: [(&str, Told); 6] = [
        ("encoder", |record| Some(record.encoder.clone())),
        ("encoder's SHA-256", |record| Some(short(&record.model))),
        ("device", |record| Some(record.machine.device.clone())),
        ("processor", |record| Some(record.machine.cpu.clone())),
        ("GPU", |record| record.machine.gpu.clone()),
        ("commit", |record| record.machine.commit.clone()),
    ];
    for (name, field) in fields {
        compare(name.into(), field, None);
    }
    for task in &left.tasks {
        let name = |what: &str| format!("{}: {what}", task.name);
        let of_task = Some(task.name.as_str());
        compare(
            name("training rows"),
            |record| Some(shown_rows(&record.data)),
            of_task,
        );
        compare(
            name("reported rows"),
            |record| Some(record.reported.first()?.rows_shown()),
            of_task,
        );
        compare(
            name("SHA-256 of the reported rows"),
            |record| Some(short(record.reported.first()?.fingerprint.as_ref()?)),
            of_task,
        );
    }
    Table {
        rows,
        columns: vec![Column::text(""), Column::text("A"), Column::text("B")],
        ..Table::default()
    }
}

/// The rows of a run with a part of their fingerprint.
fn shown_rows(data: &DataUsed) -> String {
    format!(
        "{} ({} rows, {})",
        data.train,
        data.train_rows,
        short(&data.train_fingerprint)
    )
}

/// The beginning of a digest.
fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

fn leaves(plan: &Plan) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let value = serde_json::to_value(plan).unwrap_or_default();
    collect("", &value, &mut found);
    found
}

fn collect(place: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    let below = |name: &str| match place.is_empty() {
        true => name.to_string(),
        false => format!("{place}.{name}"),
    };
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                collect(&below(name), value, found);
            }
        }
        Value::Array(values) if values.iter().any(Value::is_object) => {
            for value in values {
                let name = value
                    .get("name")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                collect(&below(name), value, found);
            }
        }
        Value::Null => {}
        Value::String(text) => {
            found.insert(place.into(), text.clone());
        }
        other => {
            found.insert(place.into(), other.to_string());
        }
    }
}

/// A task and method that both folders have.
struct Pair<'a> {
    task: &'a str,
    unit: Option<Unit>,
    left: &'a MethodSummary,
    right: &'a MethodSummary,
}

fn pairs<'a>(left: &'a Summary, right: &'a Summary) -> Vec<Pair<'a>> {
    let mut pairs = Vec::new();
    for task in &left.tasks {
        let Some(other) = right.tasks.iter().find(|other| other.name == task.name) else {
            continue;
        };
        for method in &task.methods {
            if let Some(found) = other.methods.iter().find(|other| other.name == method.name) {
                // Scores of different metrics cannot be compared.
                let same = task.metric == other.metric;
                pairs.push(Pair {
                    task: &task.name,
                    unit: task.unit.filter(|_| same),
                    left: method,
                    right: found,
                });
            }
        }
    }
    pairs
}

fn scores(pairs: &[Pair]) -> Table {
    let shown = |method: &MethodSummary| {
        let deviation = method.deviation.map(|value| format!("± {value:.2}"));
        TableCell::number(method.mean, shown_score).aside(deviation)
    };
    let mut rows = Vec::new();
    for pair in pairs {
        let (Some(left), Some(right), Some(_)) = (pair.left.mean, pair.right.mean, pair.unit)
        else {
            continue;
        };
        let deviations = [pair.left.deviation, pair.right.deviation];
        let largest = deviations.into_iter().flatten().reduce(f64::max);
        let beyond = match largest {
            None => "one seed",
            Some(deviation) if (right - left).abs() > deviation => "yes",
            Some(_) => "no",
        };
        rows.push(row(vec![
            TableCell::text(pair.task),
            TableCell::text(&pair.left.name),
            shown(pair.left),
            shown(pair.right),
            TableCell::text(difference(right - left)),
            TableCell::text(beyond),
        ]));
    }
    Table {
        columns: vec![
            Column::text("Task"),
            Column::text("Method"),
            Column::number("A"),
            Column::number("B"),
            Column::number("B − A"),
            Column::text("beyond"),
        ],
        rows,
        ..Table::default()
    }
}

/// A cost, its name and how it is shown.
type Field = (
    &'static str,
    fn(&CostSummary) -> Option<f64>,
    fn(f64) -> String,
);

const FIELDS: [Field; 4] = [
    ("Trainable", |cost| Some(cost.trainable), count),
    ("An epoch", |cost| Some(cost.seconds_per_epoch), seconds),
    ("Training", |cost| Some(cost.seconds), seconds),
    ("Peak memory", |cost| cost.peak_memory_mib, memory),
];

fn costs(pairs: &[Pair]) -> Table {
    let mut rows = Vec::new();
    for pair in pairs {
        let (Some(left), Some(right)) = (&pair.left.cost, &pair.right.cost) else {
            continue;
        };
        let mut cells = vec![TableCell::text(pair.task), TableCell::text(&pair.left.name)];
        for (_, field, shown) in FIELDS {
            cells.push(match (field(left), field(right)) {
                (Some(a), Some(b)) if a == b => TableCell::text(shown(a)),
                (Some(a), Some(b)) if a > 0.0 => {
                    let change = 100.0 * (b / a - 1.0);
                    TableCell::text(format!("{} → {}", shown(a), shown(b)))
                        .aside(Some(format!("({change:+.0} %)")))
                }
                _ => TableCell::text("–"),
            });
        }
        rows.push(row(cells));
    }
    let mut columns = vec![Column::text("Task"), Column::text("Method")];
    columns.extend(FIELDS.iter().map(|(name, ..)| Column::number(name)));
    Table {
        columns,
        rows,
        ..Table::default()
    }
}

fn runs(left: &Summary, right: &Summary) -> String {
    let ids = |summary: &Summary| -> BTreeSet<String> {
        summary
            .records
            .iter()
            .map(|record| record.cell.id())
            .collect()
    };
    let (left, right) = (ids(left), ids(right));
    let mut text = String::new();
    for (name, own, other) in [("A", &left, &right), ("B", &right, &left)] {
        for id in own.difference(other) {
            text.push_str(&format!("- {name}: `{id}`\n"));
        }
    }
    match text.is_empty() {
        true => "There is none.\n".into(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{Sample, sample};

    fn compared(change: impl FnOnce(&mut Sample)) -> String {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        sample().write(a.path()).unwrap();
        let mut other = sample();
        change(&mut other);
        other.write(b.path()).unwrap();
        compare(a.path(), b.path()).unwrap()
    }

    #[test]
    fn a_folder_does_not_differ_from_itself() {
        let text = compared(|_| {});
        assert!(text.contains("The plans are the same."), "{text}");
        assert!(text.contains("They are the same."), "{text}");
        assert!(text.contains("There is none."), "{text}");
        assert!(
            text.contains("| mrpc | full |") && text.contains("| 0.00 | no |"),
            "{text}"
        );
        assert!(!text.contains('→'), "{text}");
    }

    #[test]
    fn what_changed_is_said() {
        let text = compared(|sample| {
            sample.plan.budget.epochs = Some(9);
            sample.plan.methods[1].set = vec!["lora.r=4".into()];
            for record in &mut sample.records {
                record.model = "0123456789abcdef".into();
            }
            for record in sample.of("mrpc", "lora") {
                record.data.train_fingerprint = "fedcba9876543210".into();
                record.reported[0].score += 0.2;
                record.cost.seconds_per_epoch *= 2.0;
            }
            sample
                .records
                .retain(|record| record.cell.id() != "stsb/full/lr-0.0001-seed-44");
        });
        for expected in [
            "| budget.epochs | 6 | 9 |",
            "| methods.lora.set | – |",
            "| encoder's SHA-256 |",
            "| 0123456789ab |",
            "| mrpc: training rows |",
            "fedcba987654)",
            "+20.00 | yes |",
            "→ 6.07 min (+100 %)",
            "- A: `stsb/full/lr-0.0001-seed-44`",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(!text.contains("- B: `"), "{text}");
    }

    #[test]
    fn a_folder_without_a_plan_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = compare(folder.path(), folder.path())
            .unwrap_err()
            .to_string();
        assert!(message.contains(PLAN_FILE), "{message}");
    }
}
