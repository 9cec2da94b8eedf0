//! Scores in the unit that people compare.

use pelt_metrics::Metric;
use serde::{Deserialize, Serialize};

use crate::Scored;

/// The unit of a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A fraction, shown times 100.
    Fraction,
    /// A percentage, as the metrics of answers are.
    Percent,
    /// An error in a unit of its own, of which less is better.
    Error,
}

impl Unit {
    /// The unit of a metric. Both metrics of answers are always computed together, so that `exact_match` tells them from the F1 of
    /// classes.
    pub(crate) fn of(metric: &str, scored: &Scored) -> Self {
        match metric {
            "mse" | "loss" => Self::Error,
            _ if scored.values.contains_key(Metric::ExactMatch.name()) => Self::Percent,
            _ => Self::Fraction,
        }
    }

    /// The score as it is shown: 0 to 100, but for errors.
    pub(crate) fn shown(self, score: f64) -> f64 {
        match self {
            Self::Fraction => 100.0 * score,
            Self::Percent | Self::Error => score,
        }
    }

    /// Whether the first score is better than the second.
    pub(crate) fn better(self, score: f64, than: f64) -> bool {
        match self {
            Self::Error => score < than,
            Self::Fraction | Self::Percent => score > than,
        }
    }
}

/// The metric of a name.
pub(crate) fn metric_named(name: &str) -> Option<Metric> {
    serde_json::from_value(name.into()).ok()
}

/// A metric's name for people.
pub(crate) fn metric_title(name: &str) -> String {
    match metric_named(name) {
        Some(Metric::Accuracy) => "accuracy".into(),
        Some(Metric::F1) => "F1".into(),
        Some(Metric::ExactMatch) => "exact match".into(),
        Some(Metric::MatthewsCorrelation) => "Matthews correlation".into(),
        Some(Metric::Pearson) => "Pearson".into(),
        Some(Metric::Spearmanr) => "Spearman".into(),
        Some(Metric::MicroF1) => "micro-F1".into(),
        Some(Metric::MacroF1) => "macro-F1".into(),
        Some(Metric::MacroF1Present) => "macro-F1 of occurring labels".into(),
        Some(Metric::WeightedF1) => "weighted F1".into(),
        Some(Metric::Mse) => "mean squared error".into(),
        Some(Metric::CombinedScore) => "mean of the task's metrics".into(),
        None => name.replace('_', " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;

    #[test]
    fn fractions_become_percentages_and_percentages_stay() {
        let mut scored = record("mrpc", "lora", 1e-4, 1, 0.5).reported.remove(0);
        assert_eq!(Unit::of("f1", &scored).shown(0.5), 50.0);
        assert!(Unit::of("mse", &scored).better(1.0, 2.0));
        scored.values.insert("exact_match".into(), 80.0);
        assert_eq!(Unit::of("f1", &scored).shown(88.0), 88.0);
        assert!(Unit::of("f1", &scored).better(88.0, 80.0));
    }

    #[test]
    fn every_metric_has_a_title() {
        assert_eq!(metric_title("macro_f1"), "macro-F1");
        assert_eq!(metric_title("masked_loss"), "masked loss");
    }
}
