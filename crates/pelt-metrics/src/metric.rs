//! The metrics by name.

use serde::{Deserialize, Serialize};

/// Name under which the mean of a task's metrics is reported.
pub const COMBINED_SCORE: &str = "combined_score";

/// One metric. The serialised names are those of Hugging Face's `glue` metric where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of rows whose class is right.
    Accuracy,
    /// F1 of class 1; 0 where undefined. Of answers: the mean F1 of their words, in percent.
    F1,
    /// Share of answers that equal a right one, in percent.
    ExactMatch,
    /// Matthews correlation for any number of classes; 0 where gold or prediction holds a single class.
    MatthewsCorrelation,
    /// Pearson correlation of scores.
    Pearson,
    /// Spearman correlation of scores, with average ranks for ties.
    Spearmanr,
    /// F1 over all decisions together; equals accuracy when every row has one class.
    MicroF1,
    /// Mean F1 over all labels of the task, 0 for labels that do not occur.
    MacroF1,
    /// Mean F1 over the labels that occur in gold or prediction.
    MacroF1Present,
    /// Mean F1 over the labels, weighted with their number of gold rows.
    WeightedF1,
    /// Mean squared error of scores. An error, not a score: it is no part of `combined_score`.
    Mse,
    /// Mean of the other metrics that were asked for. It is reported whenever there are several, asked for or not.
    CombinedScore,
}

/// What a model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredictionKind {
    /// One of several classes.
    Classes,
    /// A number.
    Scores,
    /// A text.
    Answers,
}

impl PredictionKind {
    /// The name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Classes => "classes",
            Self::Scores => "scores",
            Self::Answers => "answers",
        }
    }
}

impl Metric {
    /// The name under which the value is reported, equal to the serialised name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::F1 => "f1",
            Self::ExactMatch => "exact_match",
            Self::MatthewsCorrelation => "matthews_correlation",
            Self::Pearson => "pearson",
            Self::Spearmanr => "spearmanr",
            Self::MicroF1 => "micro_f1",
            Self::MacroF1 => "macro_f1",
            Self::MacroF1Present => "macro_f1_present",
            Self::WeightedF1 => "weighted_f1",
            Self::Mse => "mse",
            Self::CombinedScore => COMBINED_SCORE,
        }
    }

    /// Whether the metric compares what is predicted.
    pub fn fits(self, kind: PredictionKind) -> bool {
        match self {
            Self::Pearson | Self::Spearmanr | Self::Mse => kind == PredictionKind::Scores,
            Self::ExactMatch => kind == PredictionKind::Answers,
            Self::F1 => kind != PredictionKind::Scores,
            Self::CombinedScore => kind != PredictionKind::Answers,
            Self::Accuracy
            | Self::MatthewsCorrelation
            | Self::MicroF1
            | Self::MacroF1
            | Self::MacroF1Present
            | Self::WeightedF1 => kind == PredictionKind::Classes,
        }
    }

    /// Whether a larger value is a better one.
    pub fn larger_is_better(self) -> bool {
        self != Self::Mse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialised_names_equal_reported_names() {
        for metric in [
            Metric::Accuracy,
            Metric::F1,
            Metric::ExactMatch,
            Metric::MatthewsCorrelation,
            Metric::Pearson,
            Metric::Spearmanr,
            Metric::MicroF1,
            Metric::MacroF1,
            Metric::MacroF1Present,
            Metric::WeightedF1,
            Metric::Mse,
            Metric::CombinedScore,
        ] {
            let json = serde_json::to_string(&metric).unwrap();
            assert_eq!(json, format!("\"{}\"", metric.name()));
        }
    }
}
