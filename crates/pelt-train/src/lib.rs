//! Training and evaluation of an encoder with a method and a head.
//!
//! [`PeftModel`] puts the three together, [`Trainer`] runs the steps, and [`predict`] and [`evaluate`] use the result.
//! Nothing here names a method: everything is generic over [`pelt_hooks::Method`].

mod activations;
mod adamw;
mod batch;
mod checkpointing;
mod config;
mod error;
mod evaluate;
mod gates;
mod gradients;
mod loss_scale;
mod masked;
mod model;
mod observer;
mod prefetch;
mod questions;
mod record;
mod schedule;
mod state;
mod trainer;

pub use adamw::{AdamW, AdamWConfig, Decay, clipping_scale, decays, gradient_norm};
pub use batch::Batch;
pub use config::{AdapterDrop, EvaluateEvery, TrainConfig};
pub use error::TrainError;
pub use evaluate::{
    Development, Examples, TrainingRows, evaluate, predict, predict_observing, score_outputs,
};
pub use gates::GateMeans;
pub use gradients::{BatchGradients, Objective, batch_gradients};
pub use masked::{MaskedTexts, evaluate_masked};
pub use model::PeftModel;
pub use observer::{EvaluationReport, NoObserver, Observer, StepReport};
pub use questions::{
    QuestionExamples, answer, answer_observing, evaluate_questions, score_answers,
};
pub use schedule::LinearSchedule;
pub use state::CHECKPOINT_FILE;
pub use trainer::{Outcome, Trainer};
