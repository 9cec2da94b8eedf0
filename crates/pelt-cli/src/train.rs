//! `pelt train`.

use std::collections::BTreeMap;
use std::slice::from_ref;
use std::sync::Arc;

use anyhow::{Result, ensure};
use pelt_data::Card;
use pelt_train::{AdapterDrop, PeftModel, TrainConfig, Trainer, TrainingRows};

use crate::activations;
use crate::args::TrainArgs;
use crate::device::{self, device};
use crate::kept_head::KeptHead;
use crate::levels::{FusedAdapters, LevelsBelow, check_folders};
use crate::method::Tuning;
use crate::model::{self, Base};
use crate::output::print_line;
use crate::progress::duration;
use crate::run_folder::{self, RUN_FOLDER};
use crate::run_record::{BaseModel, Results, RunConfig, ScoredRows, TestScores};
use crate::source::{Reading, Source};
use crate::talk;
use crate::trained_adapter::TrainedAdapter;
use crate::training::{self, Counts, Target, peak_memory_mib, scores};

pub fn run(args: TrainArgs) -> Result<()> {
    let mut tuning = Tuning::from_args(&args.method, args.method_file.as_deref(), &args.settings)?;
    let mut train_config = train_config(&args)?;
    for (given, what) in [
        (
            args.adapter_drop,
            "--adapter-drop leaves a method out of layers",
        ),
        (
            args.cache_activations,
            "--cache-activations keeps what frozen layers give",
        ),
        (
            args.init_adapter.is_some(),
            "--init-adapter goes on with an adapter",
        ),
        (
            !args.stack.is_empty(),
            "--stack trains a new adapter on top of others",
        ),
    ] {
        ensure!(
            !given || !tuning.tunes_encoder(),
            "{what}, but {} trains the encoder itself",
            args.method
        );
    }
    ensure!(
        !args.stack.is_empty() || !args.stack_rules.is_given(),
        "--stacked-lora and --stacked-parallel are about the adapters of --stack, but there are none; a method that is a stack \
         has settings of its own, such as --set stack.lora=sum"
    );
    args.columns.check(args.train_file.is_some())?;
    ensure!(
        args.fuse.is_empty() != matches!(tuning, Tuning::Fusion(_)),
        "--method fusion and --fuse DIR,DIR belong together: the one trains a mixture of the adapters that the other names"
    );
    let source = Source::read(&args)?;
    let tokenizer = model::tokenizer(&args.model)?;
    let base = Base::open(&args.model, args.optimiser.dropout)?;
    let shape = *base.encoder.shape();
    if args.max_length.is_none() && task_length(&args).is_some() {
        train_config.max_length = train_config.max_length.min(shape.max_positions);
    }
    let max_length = train_config.max_length;
    training::check_max_length(max_length, &shape)?;

    let training = device().autodiff();
    let below = match args.stack.as_slice() {
        [] => None,
        folders => {
            let rules = args.stack_rules.rules();
            Some(LevelsBelow::read(folders, rules, &args.out, &base)?)
        }
    };
    let (mut init_adapter, mut fused, mut kept_head) = (None, None, None);
    let mut adapter = match (&args.init_adapter, &tuning) {
        (Some(folder), _) => {
            check_folders("--init-adapter", from_ref(folder), &args.out)?;
            let found = TrainedAdapter::to_go_on_from(folder, &base, &training)?;
            // The new head's values follow.
            pelt_hooks::seed(args.optimiser.seed);
            if args.keep_head {
                kept_head = Some(KeptHead::load(folder, &found, &base, &training)?);
            }
            tuning = Tuning::Adapter(found.level.config);
            init_adapter = Some(found.fingerprint);
            found.level.adapter
        }
        (None, Tuning::Fusion(config)) => {
            pelt_hooks::seed(args.optimiser.seed);
            let (adapters, adapter) =
                FusedAdapters::read(&args.fuse, config, &args.out, &base, &training)?;
            fused = Some(adapters);
            adapter
        }
        (None, _) => model::new_adapter(
            &tuning.adapter(),
            &base,
            &tokenizer,
            args.optimiser.seed,
            &training,
        )?,
    };
    let mut stack = None;
    if let Some((below, levels)) = below {
        adapter = below.put_loaded_below(levels, tuning.adapter(), adapter, &base)?;
        stack = Some(below);
    }
    base.encoder.check_length(max_length, &adapter)?;
    let new_head = source.head(&base, &args);
    let (head, init_head) = match kept_head {
        Some(kept) => kept.for_task(&source.target(), new_head)?,
        None => (model::new_head(new_head, &base, &training), None),
    };
    let head_config = head.config();
    let mut peft = PeftModel::new(Arc::clone(&base.encoder), adapter, head);
    if tuning.tunes_encoder() {
        peft = peft.with_tuned_encoder(|name| tuning.trains(name));
    }
    if args.cache_activations {
        activations::check(&peft)?;
    }

    let rows = source.prepare(&Reading {
        tokenizer: &tokenizer,
        base: &base,
        model: &args.model,
        max_length,
    })?;
    let (metrics, primary_metric) = source.metrics();
    if args.optimiser.checkpoint_every.is_none() {
        train_config.checkpoint_every =
            Some(train_config.steps_per_epoch(rows.train.sequences.len()));
    }
    let unused_prompt = stack.is_some() && tuning.has_prompt();
    let config = RunConfig {
        tuning,
        head: head_config,
        target: source.target(),
        metrics: metrics.to_vec(),
        primary_metric,
        base: BaseModel::of(&args.model, &base)?,
        data: source.describe(&args),
        train: train_config.clone(),
        dropout: args.optimiser.dropout,
        questions: source.settings(),
        init_adapter,
        init_head,
        stack,
        fused,
    };
    let target = Target {
        kind: &RUN_FOLDER,
        folder: &args.out,
        force: args.force,
        resume: args.resume,
    };
    let identity = target.start(&config)?;
    let counts = Counts::of(&peft, &base);
    talk::say(counts.describe());
    if unused_prompt {
        talk::note(
            "in a stack only the lowest adapter's prompt is used, so the new one's has no effect",
        );
    }
    if let Some(note) = source.note() {
        talk::note(note);
    }
    for line in &rows.description {
        talk::say(line);
    }
    if args.cache_activations {
        talk::say(activations::describe(&peft, &rows.train));
    }

    let trainer = Trainer {
        config: &train_config,
        train: TrainingRows::Labelled(&rows.train),
        development: rows.validation.as_ref().map(|set| set.development()),
        metrics,
        primary_metric,
        folder: &args.out,
        identity: &identity,
    };
    let outcome = target.train(&trainer, peft)?;
    let test = match &rows.test {
        Some(set) => Some(TestScores {
            on: set.on.clone(),
            values: set
                .evaluate(&outcome.model, metrics, args.optimiser.batch_size)?
                .values,
        }),
        None => None,
    };
    let results = Results {
        trainable_parameters: counts.trained,
        base_parameters: counts.base,
        steps: outcome.steps,
        effective_batch_size: train_config.effective_batch_size(),
        device: device::name().into(),
        best_step: outcome.best_step,
        best: outcome.best_values.clone(),
        best_on: rows.validation.map(|set| set.on),
        test,
        truncated_rows: rows.truncated,
        seconds: outcome.seconds,
        stopped_early: outcome.stopped_early,
        peak_memory_mib: peak_memory_mib(),
    };
    run_folder::save(&args.out, &config, results.clone(), &outcome.model, &base)?;
    if args.json {
        return print_line(serde_json::to_string(&results)?);
    }

    print_line(format!(
        "{} steps in {}; best at step {}: {}",
        results.steps,
        duration(results.seconds),
        results.best_step,
        match &results.best_on {
            None => "no validation rows".into(),
            Some(on) => scores_on(on, &results.best),
        }
    ))?;
    if let Some(test) = &results.test {
        print_line(format!("test: {}", scores_on(&test.on, &test.values)))?;
    }
    print_line(format!("run: {}", args.out.display()))
}

/// `accuracy 0.8333  loss 0.4017 on mrpc validation, 408 rows`.
fn scores_on(on: &ScoredRows, values: &BTreeMap<String, f64>) -> String {
    format!("{} on {}, {} rows", scores(values), on.set, on.rows)
}

/// The longest sequence that the task's card asks for.
fn task_length(args: &TrainArgs) -> Option<usize> {
    Card::builtin(args.task.as_deref()?)?.max_length
}

fn train_config(args: &TrainArgs) -> Result<TrainConfig> {
    let max_length = args.max_length.or_else(|| task_length(args));
    let max_length = max_length.unwrap_or(TrainConfig::default().max_length);
    let mut config = args
        .optimiser
        .train_config(args.learning_rate, max_length)?;
    if args.adapter_drop {
        config.adapter_drop = AdapterDrop::Robust;
    }
    config.cache_activations = args.cache_activations;
    config.validate()?;
    Ok(config)
}
