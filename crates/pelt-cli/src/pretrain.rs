//! `pelt pretrain`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use pelt_encoder::{Architecture, Head, HeadConfig, HeadKind};
use pelt_metrics::Metric;
use pelt_train::{Development, PeftModel, Trainer, TrainingRows, evaluate_masked};

use crate::args::HeadChoice;
use crate::corpus::{Corpus, Texts};
use crate::device::{self, device};
use crate::method::Tuning;
use crate::model::{self, Base};
use crate::output::print_line;
use crate::pretrain_args::PretrainArgs;
use crate::pretrain_folder::{self, PRETRAIN_FOLDER, PretrainConfig, PretrainResults};
use crate::progress::duration;
use crate::run_record::BaseModel;
use crate::talk;
use crate::training::{self, Counts, Target, peak_memory_mib, scores};

pub fn run(args: &PretrainArgs) -> Result<()> {
    let tuning = Tuning::from_args(&args.method, args.method_file.as_deref(), &args.settings)?;
    let mut train_config = args
        .optimiser
        .train_config(args.learning_rate, args.max_length)?;
    ensure!(
        !matches!(tuning, Tuning::Fusion(_)),
        "--method fusion mixes trained adapters on a task; that is `pelt train --method fusion --fuse DIR,DIR`"
    );
    ensure!(
        args.head == HeadChoice::Auto || !tuning.tunes_encoder(),
        "--head flexible is for adapters, but {} writes a whole model",
        args.method
    );
    ensure!(
        !training::same_folder(&args.model, &args.out),
        "--out {} is the model's own folder, which is never written to",
        args.out.display()
    );
    let corpus = Corpus::read(args)?;
    let tokenizer = model::tokenizer(&args.model)?;
    let base = Base::open(&args.model, args.optimiser.dropout)?;
    let shape = *base.encoder.shape();
    training::check_max_length(args.max_length, &shape)?;
    check_tied(&base, &args.model)?;
    let (train, held_out) = corpus.tokenise(&tokenizer, &base, &args.model, args.max_length)?;

    let training = device().autodiff();
    let adapter = model::new_adapter(
        &tuning.adapter(),
        &base,
        &tokenizer,
        args.optimiser.seed,
        &training,
    )?;
    base.encoder.check_length(args.max_length, &adapter)?;
    let head_config = head_config(&base, args.head);
    let own_head = base.checkpoint.head(head_config, &training)?;
    let new_head = own_head.is_none();
    let head = own_head.unwrap_or_else(|| Head::new(head_config, shape.hidden_size, &training));
    let mut peft = PeftModel::new(Arc::clone(&base.encoder), adapter, head);
    if tuning.tunes_encoder() {
        peft = peft.with_tuned_encoder(|name| tuning.trains(name));
    }

    if args.optimiser.checkpoint_every.is_none() {
        train_config.checkpoint_every = Some(train_config.steps_per_epoch(train.record.rows));
    }
    let config = PretrainConfig {
        tuning,
        head: head_config,
        new_head,
        base: BaseModel::of(&args.model, &base)?,
        corpus: args.corpus.clone(),
        packing: args.packing.packing(),
        texts: train.record.clone(),
        held_out: held_out.as_ref().map(|texts| texts.record.clone()),
        train: train_config.clone(),
        dropout: args.optimiser.dropout,
    };
    let target = Target {
        kind: &PRETRAIN_FOLDER,
        folder: &args.out,
        force: args.force,
        resume: args.resume,
    };
    let identity = target.start(&config)?;
    let counts = Counts::of(&peft, &base);
    talk::say(counts.describe());
    if new_head {
        talk::note(format!(
            "{} has no masked-language head of this kind, so a new one is started",
            args.model.display()
        ));
    }
    talk::say(describe("training", &train));
    let mut before = BTreeMap::new();
    if let Some(texts) = &held_out {
        talk::say(describe("held-out", texts));
        // As it will be trained.
        peft = peft.with_precision(train_config.precision);
        before = evaluate_masked(&peft, &texts.texts, args.optimiser.batch_size)?.values;
        talk::say(format!("before training: {}", scores(&before)));
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
    let outcome = target.train(&trainer, peft)?;
    let results = PretrainResults {
        trainable_parameters: counts.trained,
        base_parameters: counts.base,
        steps: outcome.steps,
        effective_batch_size: train_config.effective_batch_size(),
        device: device::name().into(),
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

fn describe(which: &str, texts: &Texts) -> String {
    let record = &texts.record;
    format!(
        "{which} texts: {}, in {} rows of {:.1} tokens each",
        record.texts,
        record.rows,
        record.tokens as f64 / record.rows as f64
    )
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
