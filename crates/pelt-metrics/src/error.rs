//! What can be wrong with the input of a metric.

/// Why an evaluation is impossible.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MetricError {
    /// Predictions and gold labels differ in number.
    #[error("there are {predicted} predictions for {gold} gold labels")]
    LengthMismatch {
        /// Number of predictions.
        predicted: usize,
        /// Number of gold labels.
        gold: usize,
    },
    /// There is nothing to evaluate.
    #[error("there are no predictions to evaluate")]
    NoRows,
    /// A class number is not below the number of labels.
    #[error("row {row} holds the class number {found}, but there are only {labels} labels")]
    ClassOutside {
        /// Row, from 1.
        row: usize,
        /// The class number found.
        found: usize,
        /// Number of labels of the task.
        labels: usize,
    },
    /// A score is NaN or infinite.
    #[error("row {row} holds the score {found}, expected a finite number")]
    NotFinite {
        /// Row, from 1.
        row: usize,
        /// The score found.
        found: f64,
    },
    /// A question has no right answer.
    #[error("question {row} has no right answer to compare with")]
    NoAnswer {
        /// Question, from 1.
        row: usize,
    },
    /// A metric of classes was asked for scores, or the other way round.
    #[error("the metric {metric} needs {expected}, found {found}")]
    WrongKind {
        /// Name of the metric.
        metric: &'static str,
        /// What the metric needs.
        expected: &'static str,
        /// What was given.
        found: &'static str,
    },
}
