//! What a run is trained on: labelled rows or questions.

use std::path::Path;

use anyhow::Result;
use pelt_data::{Card, Target, Tokenizer};
use pelt_encoder::HeadConfig;
use pelt_metrics::{Evaluation, Metric};
use pelt_train::{Development, Examples, PeftModel, QuestionExamples};

use crate::args::TrainArgs;
use crate::model::{self, Base};
use crate::questions::QuestionRows;
use crate::rows::Rows;
use crate::run_record::{QuestionSettings, RunData, ScoredRows};

/// Labelled rows or questions, as read.
pub enum Source {
    Rows(Box<Rows>),
    Questions(Box<QuestionRows>),
}

/// How rows become what a model reads.
pub struct Reading<'a> {
    pub tokenizer: &'a Tokenizer,
    pub base: &'a Base,
    pub model: &'a Path,
    pub max_length: usize,
}

/// Tokenised rows of all uses.
pub struct Prepared {
    pub train: Examples,
    /// Training rows that were cut.
    pub truncated: usize,
    /// Rows that choose the best weights.
    pub validation: Option<PreparedSet>,
    /// Rows that are scored once, with the best weights.
    pub test: Option<PreparedSet>,
    /// One line for each of them.
    pub description: Vec<String>,
}

/// Tokenised rows to be scored.
pub struct PreparedSet {
    pub on: ScoredRows,
    pub content: SetContent,
}

pub enum SetContent {
    Rows(Examples),
    Questions(QuestionExamples),
}

impl PreparedSet {
    pub fn development(&self) -> Development<'_> {
        match &self.content {
            SetContent::Rows(rows) => Development::Rows(rows),
            SetContent::Questions(questions) => Development::Questions(questions),
        }
    }

    pub fn evaluate(
        &self,
        model: &PeftModel<pelt_methods::Adapter>,
        metrics: &[Metric],
        batch_size: usize,
    ) -> Result<Evaluation> {
        Ok(match &self.content {
            SetContent::Rows(rows) => pelt_train::evaluate(model, rows, metrics, batch_size)?,
            SetContent::Questions(questions) => {
                pelt_train::evaluate_questions(model, questions, batch_size)?
            }
        })
    }
}

impl Source {
    pub fn read(args: &TrainArgs) -> Result<Self> {
        let card = args.task.as_deref().and_then(Card::builtin);
        match card {
            Some(card) if card.target == Target::Span => {
                Ok(Self::Questions(Box::new(QuestionRows::read(args, card)?)))
            }
            _ => Ok(Self::Rows(Box::new(Rows::read(args)?))),
        }
    }

    pub fn target(&self) -> Target {
        match self {
            Self::Rows(rows) => rows.train.target.clone(),
            Self::Questions(_) => Target::Span,
        }
    }

    /// The metrics, and the one that chooses the best weights.
    pub fn metrics(&self) -> (&[Metric], Metric) {
        match self {
            Self::Rows(rows) => (&rows.metrics, rows.primary),
            Self::Questions(rows) => (&rows.card.metrics, rows.card.primary_metric),
        }
    }

    pub fn note(&self) -> Option<String> {
        match self {
            Self::Rows(rows) => rows.note.clone(),
            Self::Questions(rows) => crate::data::note(&rows.card),
        }
    }

    pub fn settings(&self) -> Option<QuestionSettings> {
        match self {
            Self::Rows(_) => None,
            Self::Questions(rows) => Some(rows.settings),
        }
    }

    pub fn head(&self, base: &Base, args: &TrainArgs) -> HeadConfig {
        let config = base.config();
        match self {
            Self::Rows(rows) => {
                let outputs = rows.train.target.outputs();
                model::head_config(config, args.head, outputs, args.optimiser.dropout)
            }
            Self::Questions(rows) => model::span_head_config(
                config,
                args.head,
                rows.prompt_labels,
                args.optimiser.dropout,
            ),
        }
    }

    pub fn describe(&self, args: &TrainArgs) -> RunData {
        match self {
            Self::Rows(rows) => rows.describe(args),
            Self::Questions(rows) => rows.describe(args),
        }
    }

    pub fn prepare(&self, reading: &Reading<'_>) -> Result<Prepared> {
        match self {
            Self::Rows(rows) => rows.prepare(reading),
            Self::Questions(rows) => rows.prepare(reading),
        }
    }
}
