//! `pelt train`.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use burn::module::Module;
use pelt_data::{Card, Target, TextDataset, fingerprint};
use pelt_train::{AdapterDrop, EvaluateEvery, PeftModel, TrainConfig, Trainer};

use crate::args::TrainArgs;
use crate::data::{self, Tokenised};
use crate::device::device;
use crate::method::Tuning;
use crate::model::{self, Base};
use crate::output::print_line;
use crate::progress::{Progress, duration};
use crate::run_folder::{self, BaseModel, Results, RunConfig, RunData};

pub fn run(args: TrainArgs) -> Result<()> {
    let tuning = Tuning::from_args(&args.method, args.method_file.as_deref(), &args.settings)?;
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
    let rows = Rows::read(&args)?;
    let tokenizer = model::tokenizer(&args.model)?;
    let base = Base::open(&args.model, args.dropout)?;
    let shape = *base.encoder.shape();
    ensure!(
        args.max_length <= shape.max_positions,
        "--max-length {} is more than the {} positions of the model",
        args.max_length,
        shape.max_positions
    );

    let training = device().autodiff();
    let adapter = model::new_adapter(&tuning.adapter(), &base, &tokenizer, args.seed, &training)?;
    base.encoder.check_length(args.max_length, &adapter)?;
    let head = model::head_config(
        base.config(),
        args.head,
        rows.train.target.outputs(),
        args.dropout,
    );
    let mut peft = PeftModel::new(
        Arc::clone(&base.encoder),
        adapter,
        model::new_head(head, &base, &training),
    );
    if tuning.tunes_encoder() {
        peft = peft.with_tuned_encoder(|name| tuning.trains(name));
    }

    let examples = |rows: &TextDataset| {
        let tokenised = data::examples(rows, &tokenizer, args.max_length)?;
        data::check_vocabulary(
            &tokenised.examples.sequences,
            &data::describe(rows),
            &args.model,
            &base,
        )?;
        Ok::<_, anyhow::Error>(tokenised)
    };
    let train = examples(&rows.train)?;
    let validation = rows.validation.as_ref().map(examples).transpose()?;
    if args.checkpoint_every.is_none() {
        train_config.checkpoint_every =
            Some(train_config.steps_per_epoch(train.examples.sequences.len()));
    }
    let config = RunConfig {
        tuning,
        head,
        target: rows.train.target.clone(),
        metrics: rows.metrics.clone(),
        primary_metric: rows.primary,
        base: BaseModel {
            path: model::absolute(&args.model)?,
            fingerprint: base.checkpoint.fingerprint()?,
            architecture: base.config().architecture.name().into(),
            shape,
        },
        data: rows.describe(&args),
        train: train_config.clone(),
        dropout: args.dropout,
    };
    run_folder::prepare(&args.out, args.force, args.resume)?;
    let identity = serde_json::to_string(&run_folder::identity(serde_json::to_value(&config)?))?;
    if args.resume {
        run_folder::check_started(&args.out, &config)?;
    } else {
        run_folder::write_started(&args.out, &config)?;
    }
    let trainable: usize = peft.named_params().iter().map(|param| param.count()).sum();
    let total = base.encoder.num_params();
    introduce(&args, &rows, &train, trainable, total);

    let trainer = Trainer {
        config: &train_config,
        train: &train.examples,
        development: validation.as_ref().map(|rows| &rows.examples),
        metrics: &rows.metrics,
        primary_metric: rows.primary,
        folder: &args.out,
        identity: &identity,
    };
    // A run that was killed before its first checkpoint starts again from the beginning.
    let resume = args.resume && args.out.join(pelt_train::CHECKPOINT_FILE).exists();
    let mut progress = Progress::new();
    let outcome = trainer.run(peft, resume, &mut progress)?;
    drop(progress);
    let results = Results {
        trainable_parameters: trainable,
        base_parameters: total,
        steps: outcome.steps,
        best_step: outcome.best_step,
        best: outcome.best_values.clone(),
        seconds: outcome.seconds,
        stopped_early: outcome.stopped_early,
        peak_memory_mib: peak_memory_mib(),
    };
    run_folder::save(&args.out, &config, results.clone(), &outcome.model, &base)?;
    if args.json {
        return print_line(serde_json::to_string(&results)?);
    }

    let best: Vec<String> = results
        .best
        .iter()
        .map(|(name, value)| format!("{name} {value:.4}"))
        .collect();
    print_line(format!(
        "{} steps in {}; best at step {}: {}",
        results.steps,
        duration(results.seconds),
        results.best_step,
        if best.is_empty() {
            "no validation rows".into()
        } else {
            best.join("  ")
        }
    ))?;
    print_line(format!("run: {}", args.out.display()))
}

fn introduce(args: &TrainArgs, rows: &Rows, train: &Tokenised, trainable: usize, total: usize) {
    let share = 100.0 * trainable as f64 / total as f64;
    let validation = rows.validation.as_ref();
    let tokens: usize = train
        .examples
        .sequences
        .iter()
        .map(|s| s.input_ids.len())
        .sum();
    eprintln!(
        "training {trainable} parameters ({share:.3} % of {total}) on {}: {}{}",
        data::describe(&rows.train),
        rows.train.describe_rows(),
        match validation {
            Some(rows) => format!(", validating on {}", rows.describe_rows()),
            None => String::new(),
        }
    );
    eprintln!(
        "{:.1} tokens a row; {} rows cut to {} tokens",
        tokens as f64 / train.examples.sequences.len().max(1) as f64,
        train.truncated,
        args.max_length
    );
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
        max_length: args.max_length,
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

/// Training and validation rows with their metrics.
struct Rows {
    train: TextDataset,
    validation: Option<TextDataset>,
    metrics: Vec<pelt_metrics::Metric>,
    primary: pelt_metrics::Metric,
}

impl Rows {
    fn read(args: &TrainArgs) -> Result<Self> {
        let mut rows = match (&args.task, &args.train_file) {
            (Some(task), None) => Self::of_task(args, task)?,
            (None, Some(file)) => {
                let train = data::user_file(file, &args.columns, None)?;
                let labels = data::label_names(&train.target);
                let validation = match &args.validation_file {
                    Some(file) => Some(data::user_file(file, &args.columns, labels)?),
                    None => None,
                };
                let (metrics, primary) = data::default_metrics(&train.target);
                Self {
                    train,
                    validation,
                    metrics,
                    primary,
                }
            }
            _ => bail!("say what to train on: --task NAME with --data DIR, or --train-file FILE"),
        };
        if let Some(count) = args.train_rows {
            ensure!(count > 0, "--train-rows must be at least 1, but is 0");
            rows.train = rows.train.first_rows(count, args.seed);
        }
        if let Target::Classification { labels } = &rows.train.target {
            ensure!(
                labels.len() > 1,
                "{}: expected at least two classes, found only {:?}",
                data::describe(&rows.train),
                labels.first().map_or("none", String::as_str)
            );
        }
        Ok(rows)
    }

    fn of_task(args: &TrainArgs, task: &str) -> Result<Self> {
        let card = Card::require_builtin(task)?;
        let Some(split) = args.train_split.as_ref().or(card.train_split.as_ref()) else {
            bail!("the task {task} has no training rows; it can only be evaluated");
        };
        let data = args.data.as_deref();
        let train = data::task_split(&card, data, split)?;
        let validation = match card.evaluation_splits.first() {
            Some(split) => Some(data::task_split(&card, data, split)?),
            None => None,
        };
        Ok(Self {
            train,
            validation,
            metrics: card.metrics,
            primary: card.primary_metric,
        })
    }

    fn describe(&self, args: &TrainArgs) -> RunData {
        RunData {
            task: args.task.clone(),
            train: data::describe(&self.train),
            train_rows: self.train.rows.len(),
            train_fingerprint: fingerprint(&self.train),
            validation: self.validation.as_ref().map(data::describe),
            validation_fingerprint: self.validation.as_ref().map(fingerprint),
            validation_rows: self.validation.as_ref().map_or(0, |rows| rows.rows.len()),
            text_column: args
                .train_file
                .as_ref()
                .map(|_| args.columns.text_column.clone()),
            pair_column: args.columns.pair_column.clone(),
            pairs: self.train.rows.iter().any(|row| row.pair.is_some()),
        }
    }
}

/// The largest resident set of this process so far, where the system tells.
fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}
