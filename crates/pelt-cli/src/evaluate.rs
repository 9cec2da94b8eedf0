//! `pelt evaluate`.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use pelt_data::{Card, TextDataset};
use pelt_metrics::{Evaluation, Metric};
use serde_json::{Map, Value};

use crate::args::{ColumnArgs, EvaluateArgs};
use crate::model::Base;
use crate::output::print_line;
use crate::run_folder::{self, Run};
use crate::{data, model};

pub fn run(args: &EvaluateArgs) -> Result<()> {
    ensure!(
        args.batch_size > 0,
        "--batch-size must be at least 1, but is 0"
    );
    let record = run_folder::read_record(&args.run)?;
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
        shown.push((
            set.split.clone(),
            evaluate(&run, set, &tokenizer, &metrics, args.batch_size)?,
        ));
    }
    for (split, evaluation) in &shown {
        for warning in &evaluation.warnings {
            eprintln!("warning: {split}: {warning}");
        }
    }
    if args.json {
        print_line(json(&shown))?;
    } else {
        for ((split, evaluation), set) in shown.iter().zip(&sets) {
            print_line(format!("{split} ({})", set.describe_rows()))?;
            for (name, value) in &evaluation.values {
                print_line(format!("  {name:22} {value:.4}"))?;
            }
        }
    }
    Ok(())
}

/// The first split's values, and one object for each further split.
fn json(shown: &[(String, Evaluation)]) -> Value {
    let values = |values: &BTreeMap<String, f64>| -> Map<String, Value> {
        values
            .iter()
            .map(|(name, value)| (name.clone(), (*value).into()))
            .collect()
    };
    let mut out = Map::new();
    for (index, (split, evaluation)) in shown.iter().enumerate() {
        match index {
            0 => out = values(&evaluation.values),
            _ => {
                out.insert(split.clone(), values(&evaluation.values).into());
            }
        }
    }
    out.into()
}

fn task_sets(args: &EvaluateArgs, task: &str) -> Result<(Vec<TextDataset>, Vec<Metric>)> {
    let card = Card::require_builtin(task)?;
    let splits = match &args.split {
        Some(split) => vec![split.clone()],
        None => card.evaluation_splits.clone(),
    };
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
) -> Result<Evaluation> {
    let max_length = run.record.config.train.max_length;
    let rows = data::examples(set, tokenizer, max_length)?;
    Ok(pelt_train::evaluate(
        &run.model,
        &rows.examples,
        metrics,
        batch_size,
    )?)
}
