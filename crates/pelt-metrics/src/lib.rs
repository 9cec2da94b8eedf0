//! The metrics of GLUE and SQuAD
//!
//! Names and values follow Hugging Face's `glue` metric: `accuracy`, `f1`, `matthews_correlation`, `pearson`,
//! `spearmanr` and, where a task has several of them, their mean as `combined_score`. Fractions, not percentages;
//! but `exact_match` and `f1` of answers are percentages, as SQuAD's own script gives them.
//!
//! ```
//! use pelt_metrics::{Metric, Predictions, evaluate};
//!
//! let predictions = Predictions::Classes {
//!     predicted: &[1, 0, 1, 1],
//!     gold: &[1, 0, 0, 1],
//!     labels: 2,
//! };
//! let evaluation = evaluate(&[Metric::Accuracy, Metric::F1], &predictions)?;
//! assert_eq!(evaluation.values["accuracy"], 0.75);
//! assert_eq!(evaluation.values["f1"], 0.8);
//! assert_eq!(evaluation.values["combined_score"], (0.75 + 0.8) / 2.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answers;
mod classification;
mod correlation;
mod error;
mod evaluate;
mod metric;

pub use answers::{exact_match, normalise_answer, token_f1};
pub use classification::ClassCounts;
pub use correlation::{mean_squared_error, pearson, spearman};
pub use error::MetricError;
pub use evaluate::{Evaluation, Predictions, evaluate};
pub use metric::{COMBINED_SCORE, Metric, PredictionKind};
