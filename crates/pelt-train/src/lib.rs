//! Training and evaluation of an encoder with a method and a head.
//!
//! [`PeftModel`] puts the three together, [`Trainer`] runs the steps, and [`predict`] and [`evaluate`] use the result.
//! Nothing here names a method: everything is generic over [`pelt_hooks::Method`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use burn::tensor::Device;
//! use pelt_data::Label;
//! use pelt_encoder::{Checkpoint, Head, HeadConfig, HeadKind};
//! use pelt_hooks::Sequence;
//! use pelt_methods::AdapterConfig;
//! use pelt_metrics::Metric;
//! use pelt_train::{Examples, NoObserver, PeftModel, TrainConfig, Trainer, TrainingRows, predict};
//! # let folder = pelt_testkit::fixture("models/bert/base");
//!
//! // `folder` holds a tiny BERT. What is trained is on a device with autodiff, the frozen encoder is not.
//! let device = Device::flex();
//! let training = device.clone().autodiff();
//! let encoder = Arc::new(Checkpoint::open(&folder)?.encoder(&device)?);
//! let shape = *encoder.shape();
//! let lora = AdapterConfig::preset("lora")?.init(&shape, &training, &|_| None)?;
//! let config = HeadConfig { kind: HeadKind::Flexible, labels: 2, dropout: 0.0 };
//! let head = Head::new(config, shape.hidden_size, &training);
//! let model = PeftModel::new(encoder, lora, head);
//!
//! // Two sequences, both of class 1: that is all there is to learn.
//! let sequence = |token: u32| Sequence { input_ids: vec![2, token, 3], token_type_ids: vec![0; 3] };
//! let sequences = vec![sequence(10), sequence(11)];
//! let examples = Examples { sequences, labels: vec![Label::Class(1); 2] };
//! let settings = TrainConfig { epochs: 20, learning_rate: 1e-2, ..TrainConfig::default() };
//! let out = tempfile::tempdir()?;
//! let trainer = Trainer {
//!     config: &settings,
//!     train: TrainingRows::Labelled(&examples),
//!     development: None,
//!     metrics: &[Metric::Accuracy],
//!     primary_metric: Metric::Accuracy,
//!     folder: out.path(),
//!     identity: "{}",
//! };
//! let trained = trainer.run(model, false, &mut NoObserver)?;
//! assert_eq!(trained.steps, 20);
//! let logits = predict(&trained.model, &examples.sequences, 8)?;
//! assert!(logits.iter().all(|logits| logits[1] > logits[0]), "{logits:?}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
pub use state::{CHECKPOINT_FILE, SettingDifference, first_difference};
pub use trainer::{Outcome, Trainer};
