//! GLUE metrics
//!
//! Names and values follow Hugging Face's `glue` metric: `accuracy`, `f1`, `matthews_correlation`, `pearson`,
//! `spearmanr` and, where a task has several of them, their mean as `combined_score`. Fractions, not percentages.

mod classification;
mod correlation;
mod error;
mod evaluate;
mod metric;

pub use classification::ClassCounts;
pub use correlation::{mean_squared_error, pearson, spearman};
pub use error::MetricError;
pub use evaluate::{Evaluation, Predictions, evaluate};
pub use metric::{COMBINED_SCORE, Metric};
