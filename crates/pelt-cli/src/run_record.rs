//! What a run was started with and what came out: the content of `run.json`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use pelt_data::{AnswerRules, Target};
use pelt_encoder::HeadConfig;
use pelt_hooks::EncoderShape;
use pelt_methods::ModelInfo;
use pelt_metrics::Metric;
use pelt_train::TrainConfig;
use serde::{Deserialize, Serialize};

use crate::levels::{FusedAdapters, LevelsBelow};
use crate::method::Tuning;
use crate::model::{Base, absolute};

/// The base model that a run belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaseModel {
    /// Where it was; the tokenizer is read from there too.
    pub path: String,
    /// SHA-256 of its weights.
    pub fingerprint: String,
    /// `bert` or `roberta`.
    pub architecture: String,
    /// Sizes.
    pub shape: EncoderShape,
}

impl BaseModel {
    /// The base model in `folder`.
    pub fn of(folder: &Path, base: &Base) -> Result<Self> {
        Ok(Self {
            path: absolute(folder)?,
            fingerprint: base.checkpoint.fingerprint()?,
            architecture: base.config().architecture.name().into(),
            shape: *base.encoder.shape(),
        })
    }

    /// Its repository on the Hub, or its folder.
    pub fn name(&self) -> String {
        pelt_hub::repository_of(Path::new(&self.path)).unwrap_or_else(|| self.path.clone())
    }
}

/// The rows of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunData {
    pub task: Option<String>,
    pub train: String,
    pub train_rows: usize,
    pub train_fingerprint: String,
    pub validation: Option<String>,
    pub validation_fingerprint: Option<String>,
    pub validation_rows: usize,
    pub text_column: Option<String>,
    pub pair_column: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    pub pairs: bool,
    /// What is known about the task's rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The rows that are scored once, with the best weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_rows: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_fingerprint: Option<String>,
    /// Seed of the order from which training rows are taken, where it is not that of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u64>,
}

/// Everything that a run was started with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    pub tuning: Tuning,
    pub head: HeadConfig,
    pub target: Target,
    pub metrics: Vec<Metric>,
    pub primary_metric: Metric,
    pub base: BaseModel,
    pub data: RunData,
    pub train: TrainConfig,
    pub dropout: Option<f64>,
    /// How questions are read and answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub questions: Option<QuestionSettings>,
    /// SHA-256 of the adapter's weights that the run went on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_adapter: Option<String>,
    /// SHA-256 of the file of the task head that the run went on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_head: Option<String>,
    /// The frozen adapters that the run's own one was trained on top of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<LevelsBelow>,
    /// The frozen adapters that the run mixes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fused: Option<FusedAdapters>,
}

impl RunConfig {
    /// The adapters that the run in `folder` mixes.
    pub fn fused(&self, folder: &Path) -> Result<&FusedAdapters> {
        self.fused.as_ref().with_context(|| {
            let shown = folder.display();
            format!("{shown}: not a run's record: it does not say which adapters are mixed")
        })
    }
}

/// How questions are read and answered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QuestionSettings {
    /// Tokens that consecutive windows share.
    pub doc_stride: usize,
    #[serde(flatten)]
    pub rules: AnswerRules,
}

/// `run.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunRecord {
    pub version: String,
    pub config: RunConfig,
    pub results: Results,
    /// SHA-256 of every tensor file of the run, by file name.
    pub files: BTreeMap<String, String>,
}

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    pub trainable_parameters: usize,
    pub base_parameters: usize,
    pub steps: usize,
    /// Rows of an optimiser step: those of a batch, times the batches that are added up.
    #[serde(default)]
    pub effective_batch_size: usize,
    /// The device that it was trained on.
    #[serde(default)]
    pub device: String,
    pub best_step: usize,
    pub best: BTreeMap<String, f64>,
    /// The rows that `best` was measured on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_on: Option<ScoredRows>,
    /// Scores of the best weights on rows that chose nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<TestScores>,
    /// Training rows that were cut to the longest sequence.
    #[serde(default)]
    pub truncated_rows: usize,
    pub seconds: f64,
    pub stopped_early: bool,
    pub peak_memory_mib: Option<u64>,
}

/// Rows on which a model was scored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScoredRows {
    /// Data set and split, such as `mrpc validation`.
    pub set: String,
    pub rows: usize,
    /// Rows that were cut to the longest sequence.
    pub truncated_rows: usize,
}

/// Scores on rows that were not used to choose the weights.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TestScores {
    #[serde(flatten)]
    pub on: ScoredRows,
    pub values: BTreeMap<String, f64>,
}

/// The base model of a run as adapter files describe it.
pub fn model_info(config: &RunConfig) -> ModelInfo {
    let family = match config.base.architecture.as_str() {
        "roberta" => "Roberta",
        _ => "Bert",
    };
    let task = match config.target {
        Target::Span => "QuestionAnswering",
        Target::Classification { .. } | Target::Regression { .. } => "SequenceClassification",
    };
    let mut info = ModelInfo {
        model_type: config.base.architecture.clone(),
        model_name: config.base.name(),
        model_class: format!("{family}For{task}"),
        hidden_size: config.base.shape.hidden_size,
    };
    if config.head.kind.is_flexible() {
        info.model_class = info.flexible_class();
    }
    info
}
