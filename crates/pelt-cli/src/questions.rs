//! Questions about passages: training rows, evaluation and answers.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use pelt_data::{
    AnswerRules, Candidate, Card, Label, Question, QuestionDataset, QuestionWindow, Target,
    TextRow, question_windows, read_questions,
};
use pelt_encoder::PromptLabels;
use pelt_hooks::Sequence;
use pelt_metrics::Evaluation;
use pelt_tensors::write_atomically;
use pelt_train::{Examples, QuestionExamples};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::args::{EvaluateArgs, TrainArgs};
use crate::gates::GateMean;
use crate::rows::WantedRows;
use crate::run_folder::Run;
use crate::run_record::{QuestionSettings, RunData, RunRecord, ScoredRows};
use crate::source::{Prepared, PreparedSet, Reading, SetContent};
use crate::{data, gates, predictions};

/// Questions of a training run.
pub struct QuestionRows {
    pub card: Card,
    pub settings: QuestionSettings,
    pub prompt_labels: PromptLabels,
    train: QuestionDataset,
    validation: Option<QuestionDataset>,
    test: Option<QuestionDataset>,
}

impl QuestionRows {
    pub fn read(args: &TrainArgs, card: Card) -> Result<Self> {
        let given = &args.questions;
        for (option, value) in [
            ("--n-best", given.n_best),
            ("--max-answer-tokens", given.max_answer_tokens),
        ] {
            ensure!(value > 0, "{option} must be at least 1, but is 0");
        }
        let read = |split: &String| read_split(&card, args.data.as_deref(), split);
        let Some(split) = args.train_split.as_ref().or(card.train_split.as_ref()) else {
            bail!(
                "the task {} has no training questions; it can only be evaluated",
                card.name
            );
        };
        let train = read(split)?;
        if let Some(row) = train.questions.iter().position(|q| q.answers.is_empty()) {
            bail!(
                "{}: question {} (id {:?}) has no answer to train on",
                describe(&train),
                row + 1,
                train.questions[row].id
            );
        }
        let validation = card.evaluation_splits.first().map(read).transpose()?;
        let mut rows = Self {
            settings: QuestionSettings {
                doc_stride: given.doc_stride,
                rules: AnswerRules {
                    n_best: given.n_best,
                    max_tokens: given.max_answer_tokens,
                },
            },
            prompt_labels: given.prompt_labels.labels(),
            card,
            train,
            validation,
            test: None,
        };
        rows.choose(args)?;
        Ok(rows)
    }

    /// As for labelled rows.
    fn choose(&mut self, args: &TrainArgs) -> Result<()> {
        let name = describe(&self.train);
        match WantedRows::from_args(args, self.train.questions.len(), &name)? {
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

    pub fn describe(&self, args: &TrainArgs) -> RunData {
        let validation = self.validation.as_ref();
        let test = self.test.as_ref();
        RunData {
            task: args.task.clone(),
            train: describe(&self.train),
            train_rows: self.train.questions.len(),
            train_fingerprint: self.train.fingerprint(),
            validation: validation.map(describe),
            validation_fingerprint: validation.map(QuestionDataset::fingerprint),
            validation_rows: validation.map_or(0, |set| set.questions.len()),
            text_column: None,
            pair_column: None,
            label_column: None,
            pairs: true,
            note: data::note(&self.card),
            test: test.map(describe),
            test_rows: test.map(|set| set.questions.len()),
            test_fingerprint: test.map(QuestionDataset::fingerprint),
            data_seed: args.data_seed,
        }
    }

    /// Cuts the questions of all uses into windows.
    pub fn prepare(&self, reading: &Reading<'_>) -> Result<Prepared> {
        let mut description = Vec::new();
        let mut windows = |use_of_it: &str, set: &QuestionDataset| -> Result<_> {
            let stride = self.settings.doc_stride;
            let windows = cut(reading, &set.questions, &describe(set), stride)?;
            let tokens: usize = windows.iter().map(|window| window.input_ids.len()).sum();
            description.push(format!(
                "{use_of_it} questions: {}, {}, {} windows of {:.1} tokens",
                describe(set),
                set.describe_rows(),
                windows.len(),
                tokens as f64 / windows.len().max(1) as f64,
            ));
            Ok(windows)
        };
        let mut train = Examples::default();
        for window in windows("training", &self.train)? {
            train.sequences.push(Sequence {
                input_ids: window.input_ids,
                token_type_ids: window.token_type_ids,
            });
            train.labels.push(Label::Span(window.span));
        }
        let mut scored = |use_of_it, set: Option<&QuestionDataset>| -> Result<_> {
            let Some(set) = set else {
                return Ok(None);
            };
            let windows = windows(use_of_it, set)?;
            let rules = self.settings.rules;
            Ok(Some(PreparedSet {
                on: ScoredRows {
                    set: describe(set),
                    rows: set.questions.len(),
                    truncated_rows: 0,
                },
                content: SetContent::Questions(QuestionExamples::new(
                    set.questions.clone(),
                    windows,
                    rules,
                )),
            }))
        };
        let validation = scored("validation", self.validation.as_ref())?;
        let test = scored("test", self.test.as_ref())?;
        Ok(Prepared {
            train,
            truncated: 0,
            validation,
            test,
            description,
        })
    }
}

/// A split of a known task, from the folder of data sets or the Hub.
pub fn read_split(card: &Card, data: Option<&Path>, split: &str) -> Result<QuestionDataset> {
    let root = data::task_root(card, data, split)?;
    Ok(read_questions(&root, card, split)?)
}

/// Windows whose every token is in the model's tables.
fn cut(
    reading: &Reading<'_>,
    questions: &[Question],
    name: &str,
    doc_stride: usize,
) -> Result<Vec<QuestionWindow>> {
    let windows = question_windows(reading.tokenizer, questions, reading.max_length, doc_stride)
        .with_context(|| name.to_owned())?;
    let ids = windows.iter().map(|window| {
        let ids = [
            window.input_ids.as_slice(),
            window.token_type_ids.as_slice(),
        ];
        (window.question, ids)
    });
    data::check_vocabulary(ids, name, reading.model, reading.base)?;
    Ok(windows)
}

/// `squad validation`, or `squad (part) train`.
fn describe(set: &QuestionDataset) -> String {
    format!("{} {}", set.display_name(), set.split)
}

/// The settings of a run that answers questions.
pub fn settings(record: &RunRecord) -> Option<QuestionSettings> {
    match record.config.target {
        Target::Span => Some(record.config.questions.unwrap_or(QuestionSettings {
            doc_stride: 128,
            rules: AnswerRules::default(),
        })),
        Target::Classification { .. } | Target::Regression { .. } => None,
    }
}

/// Questions that were answered and scored.
pub struct Scored {
    pub set: QuestionDataset,
    pub evaluation: Evaluation,
    pub answers: Vec<Vec<Candidate>>,
    /// Means over all windows of the questions, where they are wanted.
    pub gates: Option<Vec<GateMean>>,
}

/// Reads the splits that are to be scored.
pub fn read_sets(args: &EvaluateArgs) -> Result<Vec<QuestionDataset>> {
    let Some(task) = &args.task else {
        bail!("a run that answers questions is scored on a task: --task squad with --data DIR");
    };
    let card = Card::require_builtin(task)?;
    let splits = match &args.split {
        Some(split) => vec![split.clone()],
        None => card.evaluation_splits.clone(),
    };
    let read = |split: &String| read_split(&card, args.data.as_deref(), split);
    ensure!(
        args.predictions.is_none() || splits.len() == 1,
        "--predictions is for one split; name it with --split"
    );
    splits.iter().map(read).collect()
}

/// Answers the questions of a set and scores the answers.
pub fn evaluate(
    run: &Run,
    set: QuestionDataset,
    reading: &Reading<'_>,
    settings: QuestionSettings,
    args: &EvaluateArgs,
) -> Result<Scored> {
    let name = describe(&set);
    let examples = examples(&set.questions, &name, reading, settings)?;
    let (answers, gates) = match args.gates {
        false => (
            pelt_train::answer(&run.model, &examples, args.inference.batch_size)?,
            None,
        ),
        true => {
            let (answers, means) =
                pelt_train::answer_observing(&run.model, &examples, args.inference.batch_size)?;
            (answers, Some(gates::named(run, &means)))
        }
    };
    let evaluation = pelt_train::score_answers(&set.questions, &answers).context(name)?;
    Ok(Scored {
        set,
        evaluation,
        answers,
        gates,
    })
}

fn examples(
    questions: &[Question],
    name: &str,
    reading: &Reading<'_>,
    settings: QuestionSettings,
) -> Result<QuestionExamples> {
    let windows = cut(reading, questions, name, settings.doc_stride)?;
    Ok(QuestionExamples::new(
        questions.to_vec(),
        windows,
        settings.rules,
    ))
}

impl Scored {
    /// `squad validation (10,570 rows)`.
    pub fn describe(&self) -> String {
        format!("{} ({})", describe(&self.set), self.set.describe_rows())
    }

    /// Writes `predictions.json` (text by id, as the official script reads it), `nbest_predictions.json`, and
    /// `question_scores.jsonl` with the scores of every question, from 0 to 1.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let (mut best, mut all, mut scores) = (Map::new(), Map::new(), Vec::new());
        for (question, answers) in self.set.questions.iter().zip(&self.answers) {
            let text = answers.first().map_or("", |answer| answer.text.as_str());
            let gold: Vec<&str> = question.answers.iter().map(|a| a.text.as_str()).collect();
            let exact_match = f64::from(u8::from(pelt_metrics::exact_match(text, &gold)));
            let f1 = pelt_metrics::token_f1(text, &gold);
            let score = QuestionScore {
                id: &question.id,
                exact_match,
                f1,
            };
            scores.push(serde_json::to_string(&score)?);
            best.insert(question.id.clone(), text.into());
            let answers = answers.iter().map(|answer| {
                json!({
                    "text": answer.text,
                    "probability": answer.probability,
                    "start_logit": answer.start_logit,
                    "end_logit": answer.end_logit,
                })
            });
            all.insert(question.id.clone(), answers.collect());
        }
        for (name, content) in [("predictions.json", best), ("nbest_predictions.json", all)] {
            let text = serde_json::to_string_pretty(&content)?;
            write_atomically(&folder.join(name), text.as_bytes())?;
        }
        predictions::write_lines(&folder.join("question_scores.jsonl"), &scores)
    }
}

/// The scores of one question, from 0 to 1.
#[derive(Serialize)]
struct QuestionScore<'a> {
    id: &'a str,
    exact_match: f64,
    f1: f64,
}

/// The answer to each question (the first text of a row) about its passage (the second one).
pub fn predict(
    run: &Run,
    rows: Vec<TextRow>,
    first_line: usize,
    reading: &Reading<'_>,
    settings: QuestionSettings,
    batch_size: usize,
) -> Result<Vec<Value>> {
    let mut questions = Vec::with_capacity(rows.len());
    for (row, TextRow { text, pair, .. }) in rows.into_iter().enumerate() {
        let context = pair.unwrap_or_default();
        for (what, text) in [("question", &text), ("passage", &context)] {
            ensure!(
                !text.trim().is_empty(),
                "line {}: the {what} is empty",
                first_line + row
            );
        }
        questions.push(Question {
            id: String::new(),
            question: text,
            context: context.into(),
            answers: Vec::new(),
        });
    }
    // Lines are read in parts, of which the rows are counted.
    let part = match first_line {
        1 => "the input".to_string(),
        line => format!("the input from line {line} on"),
    };
    let examples = examples(&questions, &part, reading, settings)?;
    let answers = pelt_train::answer(&run.model, &examples, batch_size)?;
    let values = answers.iter().map(|answers| match answers.first() {
        Some(answer) => json!({
            "answer": answer.text,
            "score": answer.score(),
            "probability": answer.probability,
            "start": answer.characters[0],
            "end": answer.characters[1],
        }),
        None => json!({ "answer": null }),
    });
    Ok(values.collect())
}
