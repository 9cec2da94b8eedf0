//! `pelt evaluate`.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use pelt_data::{Card, TextDataset};
use pelt_metrics::{Evaluation, Metric};
use serde_json::{Map, Value};

use crate::args::{ColumnArgs, EvaluateArgs};
use crate::model::Base;
use crate::output::print_line;
use crate::run_folder::{self, QuestionSettings, Run, RunRecord};
use crate::source::Reading;
use crate::{data, model, questions};

pub fn run(args: &EvaluateArgs) -> Result<()> {
    ensure!(
        args.batch_size > 0,
        "--batch-size must be at least 1, but is 0"
    );
    let record = run_folder::read_record(&args.run)?;
    if let Some(settings) = questions::settings(&record) {
        return run_questions(args, record, settings);
    }
    ensure!(
        args.predictions.is_none(),
        "--predictions is for runs that answer questions, which the one in {} does not",
        args.run.display()
    );
    let labels = data::label_names(&record.config.target);
    let (sets, metrics) = match (&args.task, &args.file) {
        (Some(task), None) => task_sets(args, task)?,
        (None, Some(file)) => {
            let columns = ColumnArgs {
                regression: record.config.target.is_regression(),
                ..args.columns.clone()
            };
            let set = data::user_file(file, &columns, labels)?;
            (vec![set], record.config.metrics.clone())
        }
        _ => bail!("say what to evaluate: --task NAME with --data DIR, or --file FILE"),
    };
    let tokenizer = model::tokenizer(&args.model)?;
    let base = Base::open(&args.model, None)?;
    let skipped = model::skipped_layers(&args.skip_layers, &base)?;
    let mut run = run_folder::load(&args.run, record, &base, &args.model)?;
    run.model = run.model.skipping(skipped);
    let max_length = run.record.config.train.max_length;
    let mut shown = Vec::new();
    for set in &sets {
        ensure!(
            set.target.outputs() == run.record.config.head.labels
                && set.target.is_regression() == run.record.config.target.is_regression(),
            "{}: has {} outputs, but the run in {} was trained for {}",
            data::describe(set),
            set.target.outputs(),
            args.run.display(),
            run.record.config.head.labels
        );
        let (evaluation, truncated) = evaluate(&run, set, &tokenizer, &metrics, args.batch_size)?;
        shown.push(Scored {
            set,
            evaluation,
            truncated,
        });
    }
    for Scored {
        set, evaluation, ..
    } in &shown
    {
        for warning in &evaluation.warnings {
            eprintln!("warning: {}: {warning}", data::describe(set));
        }
    }
    let trained_on = &run.record.config.data;
    if args.json {
        let mut values = json(&shown);
        if args.task.is_some() {
            values.insert("data".into(), describe_json(&shown));
            values.insert("trained_on".into(), trained_on.train.clone().into());
        }
        return print_line(Value::from(values));
    }
    for Scored {
        set,
        evaluation,
        truncated,
    } in &shown
    {
        print_line(format!(
            "{} ({}{})",
            data::describe(set),
            set.describe_rows(),
            data::describe_truncated(*truncated, max_length)
        ))?;
        for (name, value) in &evaluation.values {
            print_line(format!("  {name:22} {value:.4}"))?;
        }
    }
    print_line(format!(
        "trained on {} ({} rows)",
        trained_on.train, trained_on.train_rows
    ))
}

/// Scores a run that answers questions.
fn run_questions(args: &EvaluateArgs, record: RunRecord, settings: QuestionSettings) -> Result<()> {
    let sets = questions::read_sets(args)?;
    let tokenizer = model::tokenizer(&args.model)?;
    let base = Base::open(&args.model, None)?;
    let run = run_folder::load(&args.run, record, &base, &args.model)?;
    let reading = Reading {
        tokenizer: &tokenizer,
        base: &base,
        model: &args.model,
        max_length: run.record.config.train.max_length,
    };
    let mut out = Map::new();
    let mut data = Vec::new();
    let trained_on = &run.record.config.data;
    for (index, set) in sets.into_iter().enumerate() {
        let scored = questions::evaluate(&run, set, &reading, settings, args.batch_size)?;
        if let Some(folder) = &args.predictions {
            scored.write(folder)?;
        }
        let values = scored.evaluation.values.iter();
        let mut values: Map<String, Value> = values
            .map(|(name, value)| (name.clone(), (*value).into()))
            .collect();
        match index {
            0 => out.append(&mut values),
            _ => {
                out.insert(scored.set.split.clone(), values.into());
            }
        }
        data.push(serde_json::json!({
            "set": scored.set.display_name(),
            "split": scored.set.split,
            "rows": scored.set.questions.len(),
            "published_rows": scored.set.published_rows,
        }));
        if !args.json {
            print_line(scored.describe())?;
            for (name, value) in &scored.evaluation.values {
                print_line(format!("  {name:22} {value:.2}"))?;
            }
        }
    }
    if args.json {
        out.insert("data".into(), data.into());
        out.insert("trained_on".into(), trained_on.train.clone().into());
        return print_line(Value::from(out));
    }
    print_line(format!(
        "trained on {} ({} rows)",
        trained_on.train, trained_on.train_rows
    ))
}

/// One set with its scores.
struct Scored<'a> {
    set: &'a TextDataset,
    evaluation: Evaluation,
    truncated: usize,
}

/// Which rows the scores are on: a part of a published set, or a stand-in, never goes by its plain name.
fn describe_json(shown: &[Scored<'_>]) -> Value {
    let sets = shown.iter().map(|Scored { set, truncated, .. }| {
        serde_json::json!({
            "set": set.display_name(),
            "split": set.split,
            "rows": set.rows.len(),
            "published_rows": set.published_rows,
            "truncated_rows": truncated,
        })
    });
    sets.collect()
}

/// The first split's values, and one object for each further split.
fn json(shown: &[Scored<'_>]) -> Map<String, Value> {
    let values = |values: &BTreeMap<String, f64>| -> Map<String, Value> {
        values
            .iter()
            .map(|(name, value)| (name.clone(), (*value).into()))
            .collect()
    };
    let mut out = Map::new();
    for (
        index,
        Scored {
            set, evaluation, ..
        },
    ) in shown.iter().enumerate()
    {
        match index {
            0 => out = values(&evaluation.values),
            _ => {
                out.insert(set.split.clone(), values(&evaluation.values).into());
            }
        }
    }
    out
}

fn task_sets(args: &EvaluateArgs, task: &str) -> Result<(Vec<TextDataset>, Vec<Metric>)> {
    let card = Card::require_builtin(task)?;
    let splits = match &args.split {
        Some(split) => vec![split.clone()],
        None => card.evaluation_splits.clone(),
    };
    if let Some(note) = data::note(&card) {
        eprintln!("note: {note}");
    }
    ensure!(
        !splits.is_empty(),
        "the task {task} has no labelled split; name one with --split"
    );
    let sets = splits
        .iter()
        .map(|split| data::task_split(&card, args.data.as_deref(), split))
        .collect::<Result<_>>()?;
    Ok((sets, card.metrics))
}

fn evaluate(
    run: &Run,
    set: &TextDataset,
    tokenizer: &pelt_data::Tokenizer,
    metrics: &[Metric],
    batch_size: usize,
) -> Result<(Evaluation, usize)> {
    let max_length = run.record.config.train.max_length;
    let rows = data::examples(set, tokenizer, max_length)?;
    let evaluation = pelt_train::evaluate(&run.model, &rows.examples, metrics, batch_size)?;
    Ok((evaluation, rows.truncated))
}
