//! `pelt train`.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, ensure};
use burn::module::Module;
use pelt_data::Card;
use pelt_train::{AdapterDrop, EvaluateEvery, PeftModel, TrainConfig, Trainer, TrainingRows};

use crate::args::TrainArgs;
use crate::device::device;
use crate::method::Tuning;
use crate::model::{self, Base};
use crate::output::print_line;
use crate::progress::{Progress, duration};
use crate::run_folder::{self, BaseModel, RUN_FOLDER, Results, RunConfig, ScoredRows, TestScores};
use crate::source::{Reading, Source};
use crate::start_adapter::StartAdapter;

pub fn run(args: TrainArgs) -> Result<()> {
    let mut tuning = Tuning::from_args(&args.method, args.method_file.as_deref(), &args.settings)?;
    let mut train_config = train_config(&args);
    train_config.validate()?;
    if let Some(p) = args.dropout {
        ensure!(
            (0.0..1.0).contains(&p),
            "--dropout must be in [0, 1), but is {p}"
        );
    }
    ensure!(
        !args.adapter_drop || !tuning.tunes_encoder(),
        "--adapter-drop leaves a method out of layers, but {} trains the encoder itself",
        args.method
    );
    ensure!(
        args.init_adapter.is_none() || !tuning.tunes_encoder(),
        "--init-adapter goes on with an adapter, but {} trains the encoder itself",
        args.method
    );
    let source = Source::read(&args)?;
    let tokenizer = model::tokenizer(&args.model)?;
    let base = Base::open(&args.model, args.dropout)?;
    let shape = *base.encoder.shape();
    if args.max_length.is_none() && task_length(&args).is_some() {
        train_config.max_length = train_config.max_length.min(shape.max_positions);
    }
    let max_length = train_config.max_length;
    ensure!(
        max_length <= shape.max_positions,
        "--max-length {max_length} is more than the {} positions of the model",
        shape.max_positions
    );

    let training = device().autodiff();
    let mut init_adapter = None;
    let adapter = match &args.init_adapter {
        Some(folder) => {
            let found = StartAdapter::load(folder, &base, args.seed, &training)?;
            tuning = Tuning::Adapter(found.config);
            init_adapter = Some(found.fingerprint);
            found.adapter
        }
        None => model::new_adapter(&tuning.adapter(), &base, &tokenizer, args.seed, &training)?,
    };
    base.encoder.check_length(max_length, &adapter)?;
    let head = source.head(&base, &args);
    let mut peft = PeftModel::new(
        Arc::clone(&base.encoder),
        adapter,
        model::new_head(head, &base, &training),
    );
    if tuning.tunes_encoder() {
        peft = peft.with_tuned_encoder(|name| tuning.trains(name));
    }

    let rows = source.prepare(&Reading {
        tokenizer: &tokenizer,
        base: &base,
        model: &args.model,
        max_length,
    })?;
    let (metrics, primary_metric) = source.metrics();
    if args.checkpoint_every.is_none() {
        train_config.checkpoint_every =
            Some(train_config.steps_per_epoch(rows.train.sequences.len()));
    }
    let config = RunConfig {
        tuning,
        head,
        target: source.target(),
        metrics: metrics.to_vec(),
        primary_metric,
        base: BaseModel {
            path: model::absolute(&args.model)?,
            fingerprint: base.checkpoint.fingerprint()?,
            architecture: base.config().architecture.name().into(),
            shape,
        },
        data: source.describe(&args),
        train: train_config.clone(),
        dropout: args.dropout,
        questions: source.settings(),
        init_adapter,
    };
    run_folder::prepare(&RUN_FOLDER, &args.out, args.force, args.resume)?;
    let identity = serde_json::to_string(&run_folder::identity(serde_json::to_value(&config)?))?;
    if args.resume {
        run_folder::check_started(&args.out, &config)?;
    } else {
        run_folder::write_started(&args.out, &config)?;
    }
    let trainable: usize = peft.named_params().iter().map(|param| param.count()).sum();
    let total = base.encoder.num_params();
    let share = 100.0 * trainable as f64 / total as f64;
    eprintln!("training {trainable} parameters ({share:.3} % of {total})");
    if let Some(note) = source.note() {
        eprintln!("note: {note}");
    }
    for line in &rows.description {
        eprintln!("{line}");
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
    // A run that was killed before its first checkpoint starts again from the beginning.
    let resume = args.resume && args.out.join(pelt_train::CHECKPOINT_FILE).exists();
    let mut progress = Progress::new();
    let outcome = trainer.run(peft, resume, &mut progress)?;
    drop(progress);
    let test = match &rows.test {
        Some(set) => Some(TestScores {
            on: set.on.clone(),
            values: set
                .evaluate(&outcome.model, metrics, args.batch_size)?
                .values,
        }),
        None => None,
    };
    let results = Results {
        trainable_parameters: trainable,
        base_parameters: total,
        steps: outcome.steps,
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
            Some(on) => scores(on, &results.best),
        }
    ))?;
    if let Some(test) = &results.test {
        print_line(format!("test: {}", scores(&test.on, &test.values)))?;
    }
    print_line(format!("run: {}", args.out.display()))
}

/// `accuracy 0.8333  loss 0.4017 on mrpc validation, 408 rows`.
fn scores(on: &ScoredRows, values: &BTreeMap<String, f64>) -> String {
    let values: Vec<String> = values
        .iter()
        .map(|(name, value)| format!("{name} {value:.4}"))
        .collect();
    format!("{} on {}, {} rows", values.join("  "), on.set, on.rows)
}

/// The longest sequence that the task's card asks for.
fn task_length(args: &TrainArgs) -> Option<usize> {
    Card::builtin(args.task.as_deref()?)?.max_length
}

fn train_config(args: &TrainArgs) -> TrainConfig {
    TrainConfig {
        epochs: args.epochs,
        batch_size: args.batch_size,
        gradient_accumulation: args.gradient_accumulation,
        learning_rate: args.learning_rate,
        warmup_ratio: args.warmup_ratio,
        weight_decay: args.weight_decay,
        max_grad_norm: args.max_grad_norm,
        seed: args.seed,
        max_length: args
            .max_length
            .or_else(|| task_length(args))
            .unwrap_or(TrainConfig::default().max_length),
        evaluate_every: args
            .evaluate_every
            .map_or(EvaluateEvery::Epoch, EvaluateEvery::Steps),
        patience: args.patience,
        checkpoint_every: args.checkpoint_every,
        adapter_drop: match args.adapter_drop {
            true => AdapterDrop::Robust,
            false => AdapterDrop::Off,
        },
    }
}

/// The largest resident set of this process so far, where the system tells.
pub fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}
