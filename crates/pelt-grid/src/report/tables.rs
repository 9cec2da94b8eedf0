//! The tables of a report.

use std::collections::BTreeSet;

use super::cards::{Standing, parts_of_combined};
use super::format;
use super::score::{Unit, metric_title};
use super::significance::Tested;
use super::statistics::{mean, median};
use super::summary::{CostSummary, Mark, MethodSummary, Summary, TaskSummary};
use super::table::{Column, Row, RowKind, Sign, Table, TableCell};

/// What a task's scores are: `accuracy`, `mean of accuracy and F1`.
pub(crate) fn metric_of(task: &TaskSummary) -> Option<String> {
    let name = task.metric.as_ref()?;
    if name != pelt_metrics::COMBINED_SCORE {
        return Some(metric_title(name));
    }
    let values = task
        .methods
        .iter()
        .find(|method| !method.values.is_empty())?;
    let parts = parts_of_combined(values.values.keys());
    let parts: Vec<String> = parts
        .iter()
        .map(|metric| metric_title(metric.name()))
        .collect();
    Some(format!("mean of {}", format::and(&parts)))
}

/// What a reader must know of a task's rows; `None` where they are those published and chose nothing.
pub(crate) fn warning_of(task: &TaskSummary) -> Option<String> {
    let standing = match task.standing()? {
        Standing::Published => None,
        Standing::StandIn => Some("stand-in rows".to_string()),
        Standing::Other => Some(match (task.rows, task.published_rows) {
            (Some(rows), Some(published)) if rows != published => {
                format!("{rows} of {published} rows")
            }
            _ => "other rows than published".into(),
        }),
    };
    let chose = task
        .chose_on_reported()
        .then(|| "chosen on the reported rows".to_string());
    let parts: Vec<String> = standing.into_iter().chain(chose).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// All methods on all tasks.
pub(crate) fn overview(summary: &Summary) -> Table {
    let mut columns = vec![Column::text("Method")];
    // The average comes first, so that it is seen where the table is wider than the page.
    if summary.tasks.len() > 1 {
        columns.push(Column::number("Average").with_note("over tasks"));
    }
    columns.extend(summary.tasks.iter().map(|task| {
        let note = [metric_of(task), warning_of(task)];
        let note: Vec<String> = note.into_iter().flatten().collect();
        Column::number(&task.name).with_note(note.join(", "))
    }));
    let rows = summary
        .plan
        .methods
        .iter()
        .enumerate()
        .map(|(index, method)| {
            let mut cells = vec![TableCell::text(&method.name)];
            if summary.tasks.len() > 1 {
                let average = &summary.averages[index];
                cells.push(TableCell {
                    mark: average.mark,
                    ..TableCell::number(average.score, format::score)
                });
            }
            for task in &summary.tasks {
                cells.push(score_cell(&task.methods[index], task.unit));
            }
            Row {
                kind: kind(summary, &method.name),
                cells,
            }
        });
    Table {
        caption: "Mean score of every method on every task".into(),
        rows: rows.collect(),
        columns,
    }
}

fn kind(summary: &Summary, method: &str) -> RowKind {
    match method == summary.plan.reference {
        true => RowKind::Reference,
        false => RowKind::Own,
    }
}

/// Mean, deviation, place and mark of the test; and how many seeds there are, unless all.
fn score_cell(method: &MethodSummary, unit: Option<Unit>) -> TableCell {
    let finished = method.seeds.iter().filter(|seed| seed.score.is_some());
    let finished = finished.count();
    let gap = match finished {
        0 => method
            .seeds
            .iter()
            .any(|seed| seed.failure.is_some())
            .then(|| "failed".into()),
        _ if method.is_complete() => None,
        _ => Some(format!("{finished} of {} seeds", method.seeds.len())),
    };
    let gap = gap.or((finished > 0 && !method.rate_is_final()).then(|| "rate not final".into()));
    TableCell {
        mark: method.mark,
        sign: sign(&method.tested, unit),
        ..TableCell::number(method.mean, format::score)
    }
    .aside(method.deviation.map(|value| format!("± {value:.2}")))
    .tag(gap)
}

fn sign(tested: &Tested, unit: Option<Unit>) -> Option<Sign> {
    let Tested::Compared(test) = tested else {
        return None;
    };
    let better = unit?.better(test.difference, 0.0);
    test.is_marked().then_some(match better {
        true => Sign::Better,
        false => Sign::Worse,
    })
}

/// Everything about the scores of one task.
pub(crate) fn task_table(summary: &Summary, task: &TaskSummary) -> Table {
    let mut columns = vec![
        Column::text("Method"),
        Column::number("Score").with_note("mean ± deviation"),
        Column::number(&format!("Against {}", summary.plan.reference))
            .with_note("difference, 95 % interval"),
        Column::number("p"),
    ];
    columns.extend(
        summary
            .plan
            .seeds
            .iter()
            .map(|seed| Column::number(&format!("Seed {seed}"))),
    );
    columns.push(Column::number("Learning rate"));
    columns.push(Column::number("Trainable").with_note("parameters"));
    let rows = task.methods.iter().map(|method| {
        let mut cells = vec![TableCell::text(&method.name), score_cell(method, task.unit)];
        cells.extend(test_cells(&method.tested));
        cells.extend(method.seeds.iter().map(|seed| {
            TableCell::number(seed.score, format::score)
                .tag(seed.failure.is_some().then(|| "failed".into()))
        }));
        cells.push(TableCell::number(method.learning_rate, format::rate));
        let cost = method.cost.as_ref();
        cells.push(TableCell::number(
            cost.map(|cost| cost.trainable),
            format::count,
        ));
        Row {
            kind: kind(summary, &method.name),
            cells,
        }
    });
    Table {
        caption: format!("Scores on {}", task.name),
        rows: rows.collect(),
        columns,
    }
}

fn test_cells(tested: &Tested) -> [TableCell; 2] {
    match tested {
        Tested::Reference => [
            TableCell::text("reference"),
            TableCell::text(format::NOTHING),
        ],
        Tested::Untested(_) => [
            TableCell::text("not tested"),
            TableCell::text(format::NOTHING),
        ],
        Tested::Compared(test) => {
            let interval = format!(
                "[{}, {}]",
                format::difference(test.low),
                format::difference(test.high)
            );
            [
                TableCell::number(Some(test.difference), format::difference).aside(Some(interval)),
                TableCell {
                    text: match test.is_marked() {
                        true => format!("{:.3} *", test.p),
                        false => format!("{:.3}", test.p),
                    },
                    sort: Some(test.p),
                    ..TableCell::default()
                },
            ]
        }
    }
}

/// Why methods of a task were not tested, each reason once.
pub(crate) fn untested(task: &TaskSummary) -> Vec<String> {
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for method in task.methods.iter().filter(|method| method.mean.is_some()) {
        if let Tested::Untested(why) = &method.tested {
            match reasons.iter_mut().find(|(known, _)| known == why) {
                Some((_, methods)) => methods.push(method.name.clone()),
                None => reasons.push((why.clone(), vec![method.name.clone()])),
            }
        }
    }
    let sentence = |(why, methods): (String, Vec<String>)| {
        format!("Not tested: {} ({why}).", format::and(&methods))
    };
    reasons.into_iter().map(sentence).collect()
}

/// A field of the costs, its name and how it is shown.
type CostColumn = (
    &'static str,
    fn(&CostSummary) -> Option<f64>,
    fn(f64) -> String,
);

const COSTS: [CostColumn; 9] = [
    ("Trainable", |cost| Some(cost.trainable), format::count),
    (
        "Of the encoder",
        |cost| Some(cost.trainable / cost.base),
        format::percent,
    ),
    ("Stored numbers", |cost| Some(cost.stored), format::count),
    ("File size", |cost| Some(cost.bytes), format::bytes),
    (
        "An epoch",
        |cost| Some(cost.seconds_per_epoch),
        format::seconds,
    ),
    ("Training", |cost| Some(cost.seconds), format::seconds),
    (
        "Tokens a second",
        |cost| Some(cost.tokens_per_second),
        format::count,
    ),
    ("Peak memory", |cost| cost.peak_memory_mib, format::memory),
    (
        "Peak GPU memory",
        |cost| cost.peak_gpu_memory_mib,
        format::memory,
    ),
];

/// The columns of which there is a value anywhere.
fn cost_columns(summary: &Summary) -> Vec<CostColumn> {
    let all = || summary.tasks.iter().flat_map(|task| &task.methods);
    let there = |column: &CostColumn| {
        let mut costs = all().filter_map(|method| method.cost.as_ref());
        costs.any(|cost| column.1(cost).is_some())
    };
    COSTS.into_iter().filter(there).collect()
}

/// Costs of the methods: medians over tasks.
pub(crate) fn cost_by_method(summary: &Summary) -> Table {
    let chosen = cost_columns(summary);
    let reference = summary
        .plan
        .methods
        .iter()
        .position(|method| method.name == summary.plan.reference);
    let mut columns = vec![Column::text("Method")];
    columns.extend(chosen.iter().map(|column| Column::number(column.0)));
    columns.push(
        Column::number("Time of an epoch").with_note(format!("against {}", summary.plan.reference)),
    );
    let rows = summary
        .plan
        .methods
        .iter()
        .enumerate()
        .map(|(index, method)| {
            let costs: Vec<&CostSummary> = summary
                .tasks
                .iter()
                .filter_map(|task| task.methods[index].cost.as_ref())
                .collect();
            let mut cells = vec![TableCell::text(&method.name)];
            for (_, field, shown) in &chosen {
                let values: Vec<f64> = costs.iter().filter_map(|cost| field(cost)).collect();
                cells.push(TableCell::number(median(&values), shown));
            }
            let ratios: Vec<f64> = summary
                .tasks
                .iter()
                .filter_map(|task| {
                    let own = task.methods[index].cost.as_ref()?;
                    let other = task.methods[reference?].cost.as_ref()?;
                    Some((own.seconds_per_epoch / other.seconds_per_epoch).ln())
                })
                .collect();
            let ratio = mean(&ratios)
                .map(f64::exp)
                .filter(|ratio| ratio.is_finite());
            cells.push(TableCell::number(ratio, |ratio| format!("{ratio:.2} ×")));
            Row {
                kind: kind(summary, &method.name),
                cells,
            }
        });
    Table {
        caption: "Costs of the methods, medians over tasks".into(),
        rows: rows.collect(),
        columns,
    }
}

/// Costs of every task and method.
pub(crate) fn cost_by_task(summary: &Summary) -> Table {
    let chosen = cost_columns(summary);
    let mut columns = vec![Column::text("Task"), Column::text("Method")];
    columns.extend(chosen.iter().map(|column| Column::number(column.0)));
    let mut rows = Vec::new();
    for task in &summary.tasks {
        for method in &task.methods {
            let Some(cost) = &method.cost else { continue };
            let mut cells = vec![TableCell::text(&task.name), TableCell::text(&method.name)];
            cells.extend(
                chosen
                    .iter()
                    .map(|(_, field, shown)| TableCell::number(field(cost), shown)),
            );
            rows.push(Row {
                kind: kind(summary, &method.name),
                cells,
            });
        }
    }
    Table {
        caption: "Costs of every method on every task".into(),
        columns,
        rows,
    }
}

/// Learning rates that were tried.
pub(crate) fn trials(summary: &Summary) -> Table {
    let mut rows = Vec::new();
    for task in &summary.tasks {
        for method in &task.methods {
            for trial in &method.trials {
                let chosen = method.learning_rate == Some(trial.learning_rate);
                rows.push(Row {
                    kind: RowKind::Own,
                    cells: vec![
                        TableCell::text(&task.name),
                        TableCell::text(&method.name),
                        TableCell::number(Some(trial.learning_rate), format::rate),
                        TableCell {
                            mark: chosen.then_some(Mark::Best),
                            ..TableCell::number(trial.score, format::score)
                        },
                        TableCell::text(if chosen { "chosen" } else { "" }),
                    ],
                });
            }
        }
    }
    Table {
        caption: "Learning rates and their scores on the rows that choose".into(),
        columns: vec![
            Column::text("Task"),
            Column::text("Method"),
            Column::number("Learning rate"),
            Column::number("Score").with_note("rows that choose, first seed"),
            Column::text("Chosen"),
        ],
        rows,
    }
}

/// Rows of every task.
pub(crate) fn data(summary: &Summary) -> Table {
    let rows = summary.tasks.iter().map(|task| {
        let set =
            |name: &Option<String>| TableCell::text(name.clone().unwrap_or(format::NOTHING.into()));
        let rows = |rows: Option<u64>| {
            TableCell::number(rows.map(|rows| rows as f64), |rows| {
                format::grouped(rows as u64)
            })
        };
        Row {
            kind: RowKind::Own,
            cells: vec![
                TableCell::text(&task.name),
                set(&task.train),
                rows(task.train_rows),
                set(&task.development),
                rows(task.development_rows),
                set(&task.set).tag(warning_of(task)),
                rows(task.rows),
                set(&metric_of(task)),
            ],
        }
    });
    Table {
        caption: "The rows of every task".into(),
        rows: rows.collect(),
        columns: vec![
            Column::text("Task"),
            Column::text("Trained on"),
            Column::number("Rows"),
            Column::text("Chosen on"),
            Column::number("Rows"),
            Column::text("Reported on"),
            Column::number("Rows"),
            Column::text("Score"),
        ],
    }
}

/// Mean gates, a column for each layer.
pub(crate) fn gates(summary: &Summary) -> Option<Table> {
    let all = summary.tasks.iter().flat_map(|task| &task.methods);
    let layers: BTreeSet<u64> = all
        .flat_map(|method| &method.gates)
        .map(|gate| gate.layer)
        .collect();
    if layers.is_empty() {
        return None;
    }
    let mut rows = Vec::new();
    for task in &summary.tasks {
        for method in &task.methods {
            let components: BTreeSet<&str> = method
                .gates
                .iter()
                .map(|gate| gate.component.as_str())
                .collect();
            for component in components {
                let mut cells = vec![
                    TableCell::text(&task.name),
                    TableCell::text(&method.name),
                    TableCell::text(component),
                ];
                cells.extend(layers.iter().map(|layer| {
                    let gate = method
                        .gates
                        .iter()
                        .find(|gate| gate.component == component && gate.layer == *layer);
                    TableCell::number(gate.map(|gate| gate.mean), format::score)
                }));
                rows.push(Row {
                    kind: RowKind::Own,
                    cells,
                });
            }
        }
    }
    let mut columns = vec![
        Column::text("Task"),
        Column::text("Method"),
        Column::text("Part"),
    ];
    columns.extend(
        layers
            .iter()
            .map(|layer| Column::number(&layer.to_string())),
    );
    Some(Table {
        caption: "Mean gate of every part in every layer".into(),
        columns,
        rows,
    })
}

/// Runs that failed or are missing; `None` where all are finished.
pub(crate) fn gaps(summary: &Summary) -> Option<Table> {
    let row = |cell: String, state: &str, message: &str| Row {
        kind: RowKind::Own,
        cells: vec![
            TableCell::text(cell),
            TableCell::text(state),
            TableCell::text(message),
        ],
    };
    let failed = summary
        .failures
        .iter()
        .map(|failure| row(failure.cell.id(), "failed", &failure.message));
    let missing = summary
        .missing
        .iter()
        .map(|cell| row(cell.clone(), "missing", "not finished yet"));
    let rows: Vec<Row> = failed.chain(missing).collect();
    (!rows.is_empty()).then(|| Table {
        caption: "Runs without a result".into(),
        columns: vec![
            Column::text("Run"),
            Column::text("State"),
            Column::text("Why"),
        ],
        rows,
    })
}
