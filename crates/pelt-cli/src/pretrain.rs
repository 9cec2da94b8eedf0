//! `pelt pretrain`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use burn::module::Module;
use pelt_encoder::{Architecture, Head, HeadConfig, HeadKind};
use pelt_metrics::Metric;
use pelt_train::{
    AdapterDrop, Development, EvaluateEvery, PeftModel, TrainConfig, Trainer, TrainingRows,
    evaluate_masked,
};

use crate::args::HeadChoice;
use crate::corpus::{Corpus, Texts};
use crate::device::device;
use crate::method::Tuning;
use crate::model::{self, Base};
use crate::output::print_line;
use crate::pretrain_args::PretrainArgs;
use crate::pretrain_folder::{self, PRETRAIN_FOLDER, PretrainConfig, PretrainResults};
use crate::progress::{Progress, duration};
use crate::run_folder::{self, BaseModel};
use crate::train::peak_memory_mib;

pub fn run(args: &PretrainArgs) -> Result<()> {
    let tuning = Tuning::from_args(&args.method, args.method_file.as_deref(), &args.settings)?;
    let mut train_config = train_config(args);
    train_config.validate()?;
    if let Some(p) = args.dropout {
        ensure!(
            (0.0..1.0).contains(&p),
            "--dropout must be in [0, 1), but is {p}"
        );
    }
    ensure!(
        args.head == HeadChoice::Auto || !tuning.tunes_encoder(),
        "--head flexible is for adapters, but {} writes a whole model",
        args.method
    );
    ensure!(
        !same_folder(&args.model, &args.out),
        "--out {} is the model's own folder, which is never written to",
        args.out.display()
    );
    let corpus = Corpus::read(args)?;
    let tokenizer = model::tokenizer(&args.model)?;
    let base = Base::open(&args.model, args.dropout)?;
    let shape = *base.encoder.shape();
    ensure!(
        args.max_length <= shape.max_positions,
        "--max-length {} is more than the {} positions of the model",
        args.max_length,
        shape.max_positions
    );
    check_tied(&base, &args.model)?;
    let (train, held_out) = corpus.tokenise(&tokenizer, &base, &args.model, args.max_length)?;

    let training = device().autodiff();
    let adapter = model::new_adapter(&tuning.adapter(), &base, &tokenizer, args.seed, &training)?;
    base.encoder.check_length(args.max_length, &adapter)?;
    let head_config = head_config(&base, args.head);
    let own_head = base.checkpoint.head(head_config, &training)?;
    let new_head = own_head.is_none();
    let head = own_head.unwrap_or_else(|| Head::new(head_config, shape.hidden_size, &training));
    let mut peft = PeftModel::new(Arc::clone(&base.encoder), adapter, head);
    if tuning.tunes_encoder() {
        peft = peft.with_tuned_encoder(|name| tuning.trains(name));
    }

    if args.checkpoint_every.is_none() {
        train_config.checkpoint_every = Some(train_config.steps_per_epoch(train.record.rows));
    }
    let config = PretrainConfig {
        tuning,
        head: head_config,
        new_head,
        base: BaseModel {
            path: model::absolute(&args.model)?,
            fingerprint: base.checkpoint.fingerprint()?,
            architecture: base.config().architecture.name().into(),
            shape,
        },
        corpus: args.corpus.clone(),
        packing: args.packing.packing(),
        texts: train.record.clone(),
        held_out: held_out.as_ref().map(|texts| texts.record.clone()),
        train: train_config.clone(),
        dropout: args.dropout,
    };
    run_folder::prepare(&PRETRAIN_FOLDER, &args.out, args.force, args.resume)?;
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
    if new_head {
        eprintln!(
            "note: {} has no masked-language head of this kind, so a new one is started",
            args.model.display()
        );
    }
    eprintln!("{}", describe("training", &train));
    let mut before = BTreeMap::new();
    if let Some(texts) = &held_out {
        eprintln!("{}", describe("held-out", texts));
        before = evaluate_masked(&peft, &texts.texts, args.batch_size)?.values;
        eprintln!("before training: {}", scores(&before));
    }

    let trainer = Trainer {
        config: &train_config,
        train: TrainingRows::Masked(&train.texts),
        development: held_out.as_ref().map(|set| Development::Masked(&set.texts)),
        metrics: &[],
        primary_metric: Metric::Accuracy,
        folder: &args.out,
        identity: &identity,
    };
    // A run that was killed before its first checkpoint starts again from the beginning.
    let resume = args.resume && args.out.join(pelt_train::CHECKPOINT_FILE).exists();
    let mut progress = Progress::new();
    let outcome = trainer.run(peft, resume, &mut progress)?;
    drop(progress);
    let results = PretrainResults {
        trainable_parameters: trainable,
        base_parameters: total,
        steps: outcome.steps,
        best_step: outcome.best_step,
        before,
        best: outcome.best_values.clone(),
        seconds: outcome.seconds,
        stopped_early: outcome.stopped_early,
        peak_memory_mib: peak_memory_mib(),
    };
    let trained = &outcome.model;
    pretrain_folder::save(&args.out, &config, &results, trained, &base, &args.model)?;
    if args.json {
        return print_line(serde_json::to_string(&results)?);
    }
    print_line(format!(
        "{} steps in {}; best at step {}: {}",
        results.steps,
        duration(results.seconds),
        results.best_step,
        match &held_out {
            None => "no held-out texts".into(),
            Some(_) => scores(&results.best),
        }
    ))?;
    let what = match config.tuning.tunes_encoder() {
        true => "model",
        false => "adapter",
    };
    print_line(format!("{what}: {}", args.out.display()))
}

fn scores(values: &BTreeMap<String, f64>) -> String {
    let values: Vec<String> = values
        .iter()
        .map(|(name, value)| format!("{name} {value:.4}"))
        .collect();
    values.join("  ")
}

fn describe(which: &str, texts: &Texts) -> String {
    let record = &texts.record;
    format!(
        "{which} texts: {}, in {} rows of {:.1} tokens each",
        record.texts,
        record.rows,
        record.tokens as f64 / record.rows as f64
    )
}

fn same_folder(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn head_config(base: &Base, choice: HeadChoice) -> HeadConfig {
    let kind = match (choice, base.config().architecture) {
        (HeadChoice::Flexible, _) => HeadKind::FlexibleMaskedLm,
        (HeadChoice::Auto, Architecture::Bert) => HeadKind::BertMaskedLm,
        (HeadChoice::Auto, Architecture::Roberta) => HeadKind::RobertaMaskedLm,
    };
    HeadConfig {
        kind,
        labels: base.config().shape.vocab_size,
        dropout: 0.0,
    }
}

/// A last layer of its own would silently become the word embeddings.
fn check_tied(base: &Base, model: &Path) -> Result<()> {
    for name in ["cls.predictions.decoder.weight", "lm_head.decoder.weight"] {
        let Ok(decoder) = base.checkpoint.tensor(name) else {
            continue;
        };
        let words = base
            .checkpoint
            .tensor("embeddings.word_embeddings.weight")?;
        if decoder != words {
            bail!(
                "{}: {name} should be the word embeddings, but is a matrix of its own, which is not supported",
                model.display()
            );
        }
    }
    Ok(())
}

fn train_config(args: &PretrainArgs) -> TrainConfig {
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
        adapter_drop: AdapterDrop::Off,
    }
}
