//! `pelt evaluate`.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use pelt_data::{Card, Target, TextDataset, fingerprint};
use pelt_metrics::{Evaluation, Metric};
use pelt_train::Examples;
use serde_json::{Map, Value};

use crate::args::EvaluateArgs;
use crate::column_args::ColumnArgs;
use crate::gates::GateMean;
use crate::model::Base;
use crate::output::print_line;
use crate::run_folder::{self, Run};
use crate::run_record::{QuestionSettings, RunRecord};
use crate::source::Reading;
use crate::{data, gates, model, predictions, questions, talk};

pub fn run(args: &EvaluateArgs) -> Result<()> {
    args.inference.check()?;
    args.columns.check(args.file.is_some())?;
    let record = run_folder::read_record(&args.run)?;
    if let Some(settings) = questions::settings(&record) {
        return run_questions(args, record, settings);
    }
    let labels = data::label_names(&record.config.target);
    let (sets, metrics) = match (&args.task, &args.file) {
        (Some(task), None) => task_sets(args, task)?,
        (None, Some(file)) => {
            let trained_on = &record.config.data;
            let given = &args.columns;
            let or = |given: &Option<String>, trained_on: &Option<String>| {
                given.clone().or_else(|| trained_on.clone())
            };
            let columns = ColumnArgs {
                text_column: or(&given.text_column, &trained_on.text_column),
                pair_column: or(&given.pair_column, &trained_on.pair_column),
                label_column: or(&given.label_column, &trained_on.label_column),
                regression: record.config.target.is_regression(),
            };
            match (trained_on.pairs, &columns.pair_column) {
                (true, None) => bail!(
                    "{}: the run in {} reads pairs of texts; name the column of the second ones with --pair-column",
                    file.display(),
                    args.run.display()
                ),
                (false, Some(column)) => bail!(
                    "{}: the run in {} reads single texts, so the column {column} of --pair-column cannot be used",
                    file.display(),
                    args.run.display()
                ),
                _ => {}
            }
            let set = data::user_file(file, &columns, labels)?;
            (vec![set], record.config.metrics.clone())
        }
        _ => bail!("say what to evaluate: --task NAME with --data DIR, or --file FILE"),
    };
    let tokenizer = model::tokenizer(&args.model)?;
    let base = Base::open(&args.model, None)?;
    let run = load(args, record, &base)?;
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
        check_classes(&run.record.config.target, set, &args.run)?;
        shown.push(evaluate(&run, set, &tokenizer, &metrics, args)?);
    }
    if let Some(folder) = &args.predictions {
        for scored in &shown {
            predictions::write(folder, scored.set, &scored.predictions)?;
        }
    }
    for Scored {
        set, evaluation, ..
    } in &shown
    {
        for warning in &evaluation.warnings {
            talk::warn(format!("{}: {warning}", data::describe(set)));
        }
    }
    let trained_on = &run.record.config.data;
    if args.json {
        let mut values = json(&shown)?;
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
        gates,
        ..
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
        if let Some(gates) = gates {
            gates::print(gates)?;
        }
    }
    print_line(format!(
        "trained on {} ({} rows)",
        trained_on.train, trained_on.train_rows
    ))
}

/// Checks that a run has a set's classes in their order. Other names are taken on trust: two tasks may be alike.
fn check_classes(trained_for: &Target, set: &TextDataset, run: &Path) -> Result<()> {
    let (Some(own), Some(names)) = (
        data::label_names(trained_for),
        data::label_names(&set.target),
    ) else {
        return Ok(());
    };
    if own == names {
        return Ok(());
    }
    let own_list = own.join(", ");
    let list = names.join(", ");
    ensure!(
        !data::in_another_order(&own, &names),
        "{}: has the classes {list} in this order, but the run in {} was trained for {own_list}; score a file with --file, \
         whose classes are found by name",
        data::describe(set),
        run.display()
    );
    talk::note(format!(
        "{} has the classes {list}, which are taken for the run's {own_list} in this order",
        data::describe(set)
    ));
    Ok(())
}

/// Loads the run as it is to be scored, once it is clear that all that was asked for can be given.
fn load(args: &EvaluateArgs, record: RunRecord, base: &Base) -> Result<Run> {
    let run = run_folder::load(&args.run, record, base, &args.model)?;
    let run = args.inference.apply(run, base)?;
    if args.gates {
        gates::check(&run, &args.run)?;
    }
    if let Some(folder) = &args.predictions {
        predictions::create_folder(folder)?;
    }
    Ok(run)
}

/// Scores a run that answers questions.
fn run_questions(args: &EvaluateArgs, record: RunRecord, settings: QuestionSettings) -> Result<()> {
    let sets = questions::read_sets(args)?;
    let tokenizer = model::tokenizer(&args.model)?;
    let base = Base::open(&args.model, None)?;
    let run = load(args, record, &base)?;
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
        let scored = questions::evaluate(&run, set, &reading, settings, args)?;
        if let Some(folder) = &args.predictions {
            scored.write(folder)?;
        }
        if !args.json {
            print_line(scored.describe())?;
            for (name, value) in &scored.evaluation.values {
                print_line(format!("  {name:22} {value:.2}"))?;
            }
            if let Some(gates) = &scored.gates {
                gates::print(gates)?;
            }
            continue;
        }
        let mut values = values_json(&scored.evaluation, scored.gates.as_deref())?;
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
            "fingerprint": scored.set.fingerprint(),
        }));
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
    /// One JSON line for each row, where they are wanted.
    predictions: Vec<String>,
    gates: Option<Vec<GateMean>>,
}

/// Which rows the scores are on: a part of a published set, or a stand-in, never goes by its plain name.
fn describe_json(shown: &[Scored<'_>]) -> Value {
    let sets = shown.iter().map(|Scored { set, truncated, .. }| {
        serde_json::json!({
            "set": set.display_name(),
            "split": set.split,
            "rows": set.rows.len(),
            "published_rows": set.published_rows,
            "fingerprint": fingerprint(set),
            "truncated_rows": truncated,
        })
    });
    sets.collect()
}

/// The scores of a split by name, and the means of its gates where they are wanted.
fn values_json(evaluation: &Evaluation, gates: Option<&[GateMean]>) -> Result<Map<String, Value>> {
    let values = evaluation.values.iter();
    let mut values: Map<String, Value> = values
        .map(|(name, value)| (name.clone(), (*value).into()))
        .collect();
    if let Some(gates) = gates {
        values.insert("gates".into(), serde_json::to_value(gates)?);
    }
    Ok(values)
}

/// The first split's values, and one object for each further split.
fn json(shown: &[Scored<'_>]) -> Result<Map<String, Value>> {
    let mut out = Map::new();
    for (index, scored) in shown.iter().enumerate() {
        let values = values_json(&scored.evaluation, scored.gates.as_deref())?;
        match index {
            0 => out = values,
            _ => {
                out.insert(scored.set.split.clone(), values.into());
            }
        }
    }
    Ok(out)
}

fn task_sets(args: &EvaluateArgs, task: &str) -> Result<(Vec<TextDataset>, Vec<Metric>)> {
    let card = Card::require_builtin(task)?;
    let splits = match &args.split {
        Some(split) => vec![split.clone()],
        None => card.evaluation_splits.clone(),
    };
    if let Some(note) = data::note(&card) {
        talk::note(note);
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

fn evaluate<'a>(
    run: &Run,
    set: &'a TextDataset,
    tokenizer: &pelt_data::Tokenizer,
    metrics: &[Metric],
    args: &EvaluateArgs,
) -> Result<Scored<'a>> {
    let config = &run.record.config;
    let rows = data::examples(set, tokenizer, config.train.max_length)?;
    let Examples { sequences, labels } = rows.examples;
    let (outputs, gates) = match args.gates {
        false => (
            pelt_train::predict(&run.model, &sequences, args.inference.batch_size)?,
            None,
        ),
        true => {
            let (outputs, means) =
                pelt_train::predict_observing(&run.model, &sequences, args.inference.batch_size)?;
            (outputs, Some(gates::named(run, &means)))
        }
    };
    let predictions = match &args.predictions {
        Some(_) => {
            let names = data::label_names(&config.target);
            predictions::lines(&outputs, &labels, names.as_deref())?
        }
        None => Vec::new(),
    };
    Ok(Scored {
        set,
        evaluation: pelt_train::score_outputs(&outputs, &labels, metrics)?,
        truncated: rows.truncated,
        predictions,
        gates,
    })
}
