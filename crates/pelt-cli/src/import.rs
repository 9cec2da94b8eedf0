//! `pelt import`: an adapter of another library as a finished run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use pelt_data::{Card, Target};
use pelt_encoder::Head;
use pelt_methods::{Adapter, LoadedHead};
use pelt_metrics::Metric;
use pelt_train::{PeftModel, TrainConfig};

use crate::args::ImportArgs;
use crate::data::{default_metrics, in_another_order, label_names};
use crate::device::{self, device};
use crate::forward::{head_from, head_of};
use crate::levels::{FusedAdapters, LevelsBelow};
use crate::method::Tuning;
use crate::model::{Base, absolute};
use crate::output::print_line;
use crate::run_folder::{self, RUN_FOLDER};
use crate::run_record::{BaseModel, Results, RunConfig, RunData};
use crate::trained_adapter::fingerprint;
use crate::training::Counts;

pub fn run(args: &ImportArgs) -> Result<()> {
    ensure!(
        !args.stack.is_empty() || !args.stack_rules.is_given(),
        "--stacked-lora and --stacked-parallel are about the adapters of --stack, but there are none"
    );
    let card = args
        .task
        .as_deref()
        .map(Card::require_builtin)
        .transpose()?;
    let base = Base::open(&args.model, None)?;
    let loaded = Imported::load(args, &base)?;
    let names = loaded.head.as_ref().and_then(|head| head.labels.clone());
    let mut head = loaded.task_head(args, &base)?;
    head = head.with_dropout(base.config().classifier_dropout);
    if let Some(labels) = args.prompt_labels {
        ensure!(
            head.config().kind.is_span(),
            "--prompt-labels is about answers to questions, which the head in {} does not give",
            args.adapter.display()
        );
        head = head.with_prompt_labels(labels.labels());
    }
    let target = target(args, &head, names, card.as_ref())?;
    let (metrics, primary_metric) = metrics(card.as_ref(), &target);
    let path = absolute(&args.adapter)?;
    let usual = card.as_ref().and_then(|card| card.max_length);
    let usual = usual.unwrap_or(TrainConfig::default().max_length);
    let fits = |length: &usize| base.encoder.check_length(*length, &loaded.adapter).is_ok();
    let longest = (1..=usual).rev().find(fits);
    let max_length = args.max_length.or(longest).unwrap_or(usual);
    base.encoder.check_length(max_length, &loaded.adapter)?;
    let train = TrainConfig {
        max_length,
        ..TrainConfig::default()
    };
    train.validate()?;
    let config = RunConfig {
        tuning: loaded.tuning,
        head: head.config(),
        metrics,
        primary_metric,
        base: BaseModel::of(&args.model, &base)?,
        data: RunData {
            task: args.task.clone(),
            train: format!("unknown rows (imported from {path})"),
            train_rows: 0,
            train_fingerprint: String::new(),
            validation: None,
            validation_fingerprint: None,
            validation_rows: 0,
            text_column: None,
            pair_column: None,
            label_column: None,
            pairs: match &card {
                Some(card) => card.columns.pair.is_some(),
                None => args.pairs || target == Target::Span,
            },
            note: Some(format!("the adapter was imported from {path}")),
            test: None,
            test_rows: None,
            test_fingerprint: None,
            data_seed: None,
        },
        target,
        train,
        dropout: None,
        questions: None,
        init_adapter: loaded.fingerprint,
        init_head: None,
        stack: loaded.stack,
        fused: loaded.fused,
    };
    let model = PeftModel::new(Arc::clone(&base.encoder), loaded.adapter, head);
    let counts = Counts::of(&model, &base);
    let results = Results {
        trainable_parameters: counts.trained,
        base_parameters: counts.base,
        steps: 0,
        effective_batch_size: 0,
        device: device::name().into(),
        best_step: 0,
        best: BTreeMap::new(),
        best_on: None,
        test: None,
        truncated_rows: 0,
        seconds: 0.0,
        stopped_early: false,
        peak_memory_mib: None,
    };
    run_folder::prepare(&RUN_FOLDER, &args.out, args.force, false)?;
    run_folder::save(&args.out, &config, results, &model, &base)?;
    print_line(format!("run: {}", args.out.display()))
}

/// What is imported.
struct Imported {
    tuning: Tuning,
    /// With what it stands on, or mixes.
    adapter: Adapter,
    name: String,
    head: Option<LoadedHead>,
    /// SHA-256 of the weights of a single adapter.
    fingerprint: Option<String>,
    stack: Option<LevelsBelow>,
    fused: Option<FusedAdapters>,
}

impl Imported {
    fn load(args: &ImportArgs, base: &Base) -> Result<Self> {
        if !args.fuse.is_empty() {
            let (fused, config, adapter) =
                FusedAdapters::of_mixture(&args.adapter, &args.fuse, &args.out, base)?;
            return Ok(Self {
                tuning: Tuning::Fusion(config),
                adapter,
                name: fused.names.join(","),
                head: pelt_methods::load_head(&args.adapter)?,
                fingerprint: None,
                stack: None,
                fused: Some(fused),
            });
        }
        let loaded = base.load_adapter(&args.adapter, &device())?;
        let mut adapter = loaded.adapter;
        let mut stack = None;
        if !args.stack.is_empty() {
            let rules = args.stack_rules.rules();
            let (below, levels) = LevelsBelow::read(&args.stack, rules, &args.out, base)?;
            adapter = below.put_loaded_below(levels, loaded.config.clone(), adapter, base)?;
            stack = Some(below);
        }
        Ok(Self {
            tuning: Tuning::Adapter(loaded.config),
            adapter,
            name: loaded.name,
            head: loaded.head,
            fingerprint: Some(fingerprint(&args.adapter)?),
            stack,
            fused: None,
        })
    }

    /// Its own head, or the one of --head.
    fn task_head(&self, args: &ImportArgs, base: &Base) -> Result<Head> {
        match (&args.head, &self.head) {
            (Some(folder), _) => head_from(folder, base),
            (None, Some(head)) => head_of(head, &self.name, base, &args.adapter, &device()),
            (None, None) => bail!(
                "{}: there is no task head in this folder; name the folder that has one with --head, or train a new one with \
                 `pelt train --init-adapter`",
                args.adapter.display()
            ),
        }
    }
}

/// What the head predicts: with the names of the classes from the command line, the task or the file, in this order.
fn target(
    args: &ImportArgs,
    head: &Head,
    names: Option<Vec<String>>,
    card: Option<&Card>,
) -> Result<Target> {
    let shown = args.adapter.display();
    let kind = head.config().kind;
    let outputs = head.config().labels;
    ensure!(
        !kind.is_masked_lm(),
        "{shown}: its head predicts tokens, which no task here has; train another one with `pelt train --init-adapter`"
    );
    let target = match card {
        Some(card) => {
            check_order(args, card, names.as_deref().unwrap_or_default())?;
            card.target.clone()
        }
        None if kind.is_span() => Target::Span,
        None if !args.labels.is_empty() => {
            check_labels(args, names.as_deref().unwrap_or_default())?;
            Target::Classification {
                labels: args.labels.clone(),
            }
        }
        None if outputs == 1 => Target::Regression { range: None },
        None => Target::Classification {
            labels: names.unwrap_or_else(|| {
                (0..outputs)
                    .map(|number| format!("LABEL_{number}"))
                    .collect()
            }),
        },
    };
    let spans = kind.is_span();
    if spans != (target == Target::Span) || target.outputs() != outputs {
        bail!(
            "{shown}: its head has {outputs} outputs{}, but {} has {}",
            if spans {
                " (start and end of an answer)"
            } else {
                ""
            },
            match (card, args.labels.is_empty()) {
                (Some(card), _) => card.name.as_str(),
                (None, false) => "--labels",
                (None, true) => "its list of labels",
            },
            target.outputs()
        );
    }
    Ok(target)
}

/// Checks that the task has the classes in the file's order. Other names, such as LABEL_0, are taken on trust.
fn check_order(args: &ImportArgs, card: &Card, names: &[String]) -> Result<()> {
    let Some(labels) = label_names(&card.target) else {
        return Ok(());
    };
    ensure!(
        !in_another_order(&labels, names),
        "{}: its head has the classes {} in this order, but {} has {}; import it with --labels instead of --task, and score a \
         file with --file",
        args.adapter.display(),
        names.join(", "),
        card.name,
        labels.join(", ")
    );
    Ok(())
}

/// Checks that the labels of the command line can be those of the file's classes, which they rename one by one.
fn check_labels(args: &ImportArgs, names: &[String]) -> Result<()> {
    let apart: BTreeSet<&String> = args.labels.iter().collect();
    ensure!(
        apart.len() == args.labels.len()
            && args.labels.iter().all(|label| !label.trim().is_empty()),
        "--labels must be names that differ, but is {}",
        args.labels.join(",")
    );
    ensure!(
        !in_another_order(&args.labels, names),
        "{}: its head has the classes {} in this order, but --labels has {}; leave it out, and the file's names are taken",
        args.adapter.display(),
        names.join(", "),
        args.labels.join(", ")
    );
    Ok(())
}

fn metrics(card: Option<&Card>, target: &Target) -> (Vec<Metric>, Metric) {
    match card {
        Some(card) => (card.metrics.clone(), card.primary_metric),
        None => default_metrics(target),
    }
}
