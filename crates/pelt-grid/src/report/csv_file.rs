//! The records as lines of one CSV file.

use std::collections::BTreeSet;

use super::summary::Summary;
use crate::{Record, Scored};

/// A column: its name and its value in a record.
type Field = (&'static str, fn(&Record) -> String);

const FIELDS: [Field; 40] = [
    ("task", |record| record.cell.task.clone()),
    ("method", |record| record.cell.method.clone()),
    ("learning_rate", |record| {
        record.cell.learning_rate.to_string()
    }),
    ("seed", |record| record.cell.seed.to_string()),
    ("metric", |record| record.metric.clone()),
    ("score", |record| record.score().to_string()),
    ("development_score", |record| {
        record.development.score.to_string()
    }),
    ("development_set", |record| record.development.set.clone()),
    ("development_rows", |record| {
        record.development.rows.to_string()
    }),
    ("development_fingerprint", |record| {
        or_empty(&record.data.development_fingerprint)
    }),
    ("train_set", |record| record.data.train.clone()),
    ("train_rows", |record| record.data.train_rows.to_string()),
    ("train_fingerprint", |record| {
        record.data.train_fingerprint.clone()
    }),
    ("reported_fingerprint", |record| {
        let reported = record.reported.first();
        or_empty(&reported.and_then(|rows| rows.fingerprint.as_ref()))
    }),
    ("trainable_parameters", |record| {
        record.size.trainable.to_string()
    }),
    ("encoder_parameters", |record| record.size.base.to_string()),
    ("stored_numbers", |record| record.size.stored.to_string()),
    ("stored_bytes", |record| record.size.bytes.to_string()),
    ("steps", |record| record.steps.to_string()),
    ("best_step", |record| record.best_step.to_string()),
    ("seconds", |record| record.cost.seconds.to_string()),
    ("seconds_per_epoch", |record| {
        record.cost.seconds_per_epoch.to_string()
    }),
    ("tokens", |record| record.cost.tokens.to_string()),
    ("tokens_per_second", |record| {
        record.cost.tokens_per_second.to_string()
    }),
    ("peak_memory_mib", |record| {
        or_empty(&record.cost.peak_memory_mib)
    }),
    ("peak_gpu_memory_mib", |record| {
        or_empty(&record.cost.peak_gpu_memory_mib)
    }),
    ("jobs", |record| record.cost.jobs.to_string()),
    ("cpu", |record| record.machine.cpu.clone()),
    ("cores", |record| record.machine.cores.to_string()),
    ("memory_mib", |record| record.machine.memory_mib.to_string()),
    ("device", |record| record.machine.device.clone()),
    ("gpu", |record| or_empty(&record.machine.gpu)),
    ("system", |record| record.machine.system.clone()),
    ("pelt", |record| record.machine.pelt.clone()),
    ("commit", |record| or_empty(&record.machine.commit)),
    ("finished", |record| record.machine.finished.to_string()),
    ("model", |record| record.model.clone()),
    ("configuration", |record| record.configuration.clone()),
    ("arguments", |record| record.arguments.join(" ")),
    ("evaluations", |record| {
        let points = record.curve.iter();
        let points =
            points.map(|point| format!("{}:{}:{}", point.step, point.score, point.training_loss));
        points.collect::<Vec<_>>().join(" ")
    }),
];

fn or_empty(value: &Option<impl ToString>) -> String {
    value.as_ref().map_or(String::new(), ToString::to_string)
}

/// One line for every record, and whether its learning rate was chosen. The columns `evaluations` (step:score:loss) and `gates`
/// (part:layer:mean) hold lists; `reported.*`, `reported_2.*` and so on are the sets that are reported, `development.*` the rows that
/// choose.
pub(crate) fn csv_file(summary: &Summary) -> Result<Vec<u8>, String> {
    let records = &summary.records;
    let most = records
        .iter()
        .map(|record| record.reported.len())
        .max()
        .unwrap_or_default();
    let mut sets: Vec<(String, Vec<Option<&Scored>>)> = (0..most)
        .map(|index| {
            let name = match index {
                0 => "reported".to_string(),
                _ => format!("reported_{}", index + 1),
            };
            (
                name,
                records
                    .iter()
                    .map(|record| record.reported.get(index))
                    .collect(),
            )
        })
        .collect();
    sets.push((
        "development".into(),
        records
            .iter()
            .map(|record| Some(&record.development))
            .collect(),
    ));

    let mut header: Vec<String> = FIELDS.iter().map(|(name, _)| name.to_string()).collect();
    header.extend(["chosen".to_string(), "gates".to_string()]);
    let mut lines: Vec<Vec<String>> = records.iter().map(|record| line(summary, record)).collect();
    for (name, scored) in &sets {
        for field in ["set", "rows", "published_rows"] {
            header.push(format!("{name}.{field}"));
        }
        let values: BTreeSet<&String> = scored
            .iter()
            .flatten()
            .flat_map(|one| one.values.keys())
            .collect();
        header.extend(values.iter().map(|value| format!("{name}.{value}")));
        for (line, one) in lines.iter_mut().zip(scored) {
            let text = |part: &dyn Fn(&Scored) -> String| one.map(part).unwrap_or_default();
            line.push(text(&|one| one.set.clone()));
            line.push(text(&|one| one.rows.to_string()));
            line.push(text(&|one| or_empty(&one.published_rows)));
            for value in &values {
                line.push(text(&|one| or_empty(&one.values.get(*value))));
            }
        }
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    for line in std::iter::once(&header).chain(&lines) {
        writer
            .write_record(line)
            .map_err(|error| error.to_string())?;
    }
    writer.into_inner().map_err(|error| error.to_string())
}

fn line(summary: &Summary, record: &Record) -> Vec<String> {
    let cell = &record.cell;
    let task = summary.tasks.iter().find(|task| task.name == cell.task);
    let method = task.and_then(|task| {
        task.methods
            .iter()
            .find(|method| method.name == cell.method)
    });
    let chosen = method.is_some_and(|method| method.learning_rate == Some(cell.learning_rate));
    let gates: Vec<String> = record
        .gates
        .iter()
        .map(|gate| format!("{}:{}:{}", gate.component, gate.layer, gate.mean))
        .collect();
    let mut line: Vec<String> = FIELDS.iter().map(|(_, value)| value(record)).collect();
    line.extend([chosen.to_string(), gates.join(" ")]);
    line
}
