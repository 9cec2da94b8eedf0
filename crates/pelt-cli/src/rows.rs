//! The rows of a training run.

use anyhow::{Result, bail, ensure};
use pelt_data::{Card, Target, TextDataset, fingerprint};
use pelt_metrics::Metric;

use crate::args::TrainArgs;
use crate::data;
use crate::run_record::{RunData, ScoredRows};
use crate::source::{Prepared, PreparedSet, Reading, SetContent};

/// What --train-rows and --dev-rows ask for.
pub enum WantedRows {
    All,
    /// The first rows of the shuffled ones.
    First {
        count: usize,
        seed: u64,
    },
    /// The first rows of the shuffled ones to train on, and those after them to choose the best weights.
    HoldOut {
        train: usize,
        rest: usize,
        seed: u64,
    },
}

impl WantedRows {
    /// What is asked for of a training set with this name and number of rows.
    pub fn from_args(args: &TrainArgs, rows: usize, name: &str) -> Result<Self> {
        for (option, value) in [
            ("--train-rows", args.train_rows),
            ("--dev-rows", args.dev_rows),
        ] {
            ensure!(value != Some(0), "{option} must be at least 1, but is 0");
        }
        let seed = args.data_seed.unwrap_or(args.optimiser.seed);
        match (args.train_rows, args.dev_rows) {
            (None, None) => {
                ensure!(
                    args.data_seed.is_none(),
                    "--data-seed is for the rows that --train-rows and --dev-rows take, but neither is given"
                );
                Ok(Self::All)
            }
            (Some(count), None) => Ok(Self::First { count, seed }),
            (Some(train), Some(rest)) => Ok(Self::HoldOut { train, rest, seed }),
            (None, Some(rest)) => {
                ensure!(
                    rest < rows,
                    "--dev-rows {rest} leaves no row to train on: {name} has {rows} rows"
                );
                Ok(Self::HoldOut {
                    train: rows - rest,
                    rest,
                    seed,
                })
            }
        }
    }
}

/// Training and validation rows with their metrics.
pub struct Rows {
    pub train: TextDataset,
    /// Rows that choose the best weights.
    pub validation: Option<TextDataset>,
    /// Rows that are scored once, with the best weights.
    pub test: Option<TextDataset>,
    pub metrics: Vec<Metric>,
    pub primary: Metric,
    /// What is known about the task's rows.
    pub note: Option<String>,
}

impl Rows {
    pub fn read(args: &TrainArgs) -> Result<Self> {
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
                    test: None,
                    metrics,
                    primary,
                    note: None,
                }
            }
            _ => bail!("say what to train on: --task NAME with --data DIR, or --train-file FILE"),
        };
        rows.choose(args)?;
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
            test: None,
            note: data::note(&card),
            metrics: card.metrics,
            primary: card.primary_metric,
        })
    }

    /// Takes the rows that --train-rows and --dev-rows ask for. With the latter the development set is taken from the
    /// training set, and the original one is left for a test.
    fn choose(&mut self, args: &TrainArgs) -> Result<()> {
        let name = data::describe(&self.train);
        match WantedRows::from_args(args, self.train.rows.len(), &name)? {
            WantedRows::All => {}
            WantedRows::First { count, seed } => self.train = self.train.first_rows(count, seed),
            WantedRows::HoldOut { train, rest, seed } => {
                let (train, development) = self.train.hold_out(train, rest, seed)?;
                self.train = train;
                self.test = self.validation.replace(development);
            }
        }
        Ok(())
    }

    /// Tokenises the rows of all uses.
    pub fn prepare(&self, reading: &Reading<'_>) -> Result<Prepared> {
        let mut description = Vec::new();
        let mut set = |use_of_it: &str, rows: Option<&TextDataset>| -> Result<_> {
            let Some(rows) = rows else {
                return Ok(None);
            };
            let tokenised = data::examples(rows, reading.tokenizer, reading.max_length)?;
            let sequences = &tokenised.examples.sequences;
            let name = data::describe(rows);
            let ids = sequences
                .iter()
                .map(|row| [row.input_ids.as_slice(), row.token_type_ids.as_slice()])
                .enumerate();
            data::check_vocabulary(ids, &name, reading.model, reading.base)?;
            let tokens: usize = sequences.iter().map(|s| s.input_ids.len()).sum();
            description.push(format!(
                "{use_of_it} rows: {name}, {}, {:.1} tokens each{}",
                rows.describe_rows(),
                tokens as f64 / sequences.len().max(1) as f64,
                data::describe_truncated(tokenised.truncated, reading.max_length)
            ));
            Ok(Some(PreparedSet {
                on: ScoredRows {
                    set: name,
                    rows: rows.rows.len(),
                    truncated_rows: tokenised.truncated,
                },
                content: SetContent::Rows(tokenised.examples),
            }))
        };
        let train = set("training", Some(&self.train))?;
        let validation = set("validation", self.validation.as_ref())?;
        let test = set("test", self.test.as_ref())?;
        let (examples, truncated) = match train {
            Some(PreparedSet {
                content: SetContent::Rows(examples),
                on,
            }) => (examples, on.truncated_rows),
            _ => bail!("there are no training rows"),
        };
        Ok(Prepared {
            train: examples,
            truncated,
            validation,
            test,
            description,
        })
    }

    pub fn describe(&self, args: &TrainArgs) -> RunData {
        let validation = self.validation.as_ref();
        let test = self.test.as_ref();
        let column = |name: &str| args.train_file.is_some().then(|| name.to_string());
        RunData {
            task: args.task.clone(),
            train: data::describe(&self.train),
            train_rows: self.train.rows.len(),
            train_fingerprint: fingerprint(&self.train),
            validation: validation.map(data::describe),
            validation_fingerprint: validation.map(fingerprint),
            validation_rows: validation.map_or(0, |rows| rows.rows.len()),
            text_column: column(args.columns.text()),
            pair_column: args.columns.pair_column.clone(),
            label_column: column(args.columns.label()),
            pairs: self.train.rows.iter().any(|row| row.pair.is_some()),
            note: self.note.clone(),
            test: test.map(data::describe),
            test_rows: test.map(|rows| rows.rows.len()),
            test_fingerprint: test.map(fingerprint),
            data_seed: args.data_seed,
        }
    }
}
