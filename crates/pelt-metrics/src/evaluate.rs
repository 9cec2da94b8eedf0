//! Several metrics of one set of predictions.

use std::collections::BTreeMap;

use crate::answers::{exact_match, token_f1};
use crate::classification::ClassCounts;
use crate::correlation::{mean_squared_error, pearson, spearman};
use crate::error::MetricError;
use crate::metric::{COMBINED_SCORE, Metric, PredictionKind};

/// What a model predicted, beside the gold labels; one entry per row in both.
#[derive(Debug, Clone, Copy)]
pub enum Predictions<'a> {
    /// Class numbers below `labels`.
    Classes {
        /// Predicted class of every row.
        predicted: &'a [usize],
        /// Gold class of every row.
        gold: &'a [usize],
        /// Number of labels of the task.
        labels: usize,
    },
    /// Scores of a regression, in the unit of the gold scores.
    Scores {
        /// Predicted score of every row.
        predicted: &'a [f64],
        /// Gold score of every row.
        gold: &'a [f64],
    },
    /// Answers to questions.
    Answers {
        /// Predicted answer to every question.
        predicted: &'a [&'a str],
        /// All right answers to every question.
        gold: &'a [Vec<&'a str>],
    },
}

impl Predictions<'_> {
    fn kind(&self) -> PredictionKind {
        match self {
            Self::Classes { .. } => PredictionKind::Classes,
            Self::Scores { .. } => PredictionKind::Scores,
            Self::Answers { .. } => PredictionKind::Answers,
        }
    }
}

/// Values by the names of [`Metric::name`], and what a reader should know about them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluation {
    /// Values by name.
    pub values: BTreeMap<String, f64>,
    /// One sentence for each value that is undefined and therefore reported as 0.
    pub warnings: Vec<String>,
}

/// Computes the metrics, and `combined_score` (their mean) where there are several; not of answers, of which both metrics
/// are given side by side.
///
/// # Errors
/// Different numbers of predictions and gold labels, no rows, a class number that is not below the number of labels,
/// a score that is not finite, or a metric that does not fit the kind of prediction.
pub fn evaluate(
    metrics: &[Metric],
    predictions: &Predictions<'_>,
) -> Result<Evaluation, MetricError> {
    check_predictions(predictions)?;
    let mut evaluation = Evaluation::default();
    let mut scores = Vec::new();
    for &metric in metrics {
        if metric == Metric::CombinedScore || evaluation.values.contains_key(metric.name()) {
            continue;
        }
        let value = value_of(metric, predictions)?.unwrap_or_else(|| {
            evaluation.warnings.push(format!(
                "{} is undefined because all predictions or all gold scores are equal; it is reported as 0",
                metric.name()
            ));
            0.0
        });
        evaluation.values.insert(metric.name().to_owned(), value);
        if metric.larger_is_better() {
            scores.push(value);
        }
    }
    if scores.len() > 1 && predictions.kind() != PredictionKind::Answers {
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        evaluation.values.insert(COMBINED_SCORE.to_owned(), mean);
    }
    Ok(evaluation)
}

/// The value of one metric, `None` where it is undefined.
fn value_of(metric: Metric, predictions: &Predictions<'_>) -> Result<Option<f64>, MetricError> {
    let wrong_kind = |expected: PredictionKind| MetricError::WrongKind {
        metric: metric.name(),
        expected: expected.name(),
        found: predictions.kind().name(),
    };
    match *predictions {
        Predictions::Classes {
            predicted,
            gold,
            labels,
        } => {
            let counts = ClassCounts::new(predicted, gold, labels);
            match (counts.value(metric), metric) {
                (Some(value), _) => Ok(Some(value)),
                (None, Metric::ExactMatch) => Err(wrong_kind(PredictionKind::Answers)),
                (None, _) => Err(wrong_kind(PredictionKind::Scores)),
            }
        }
        Predictions::Scores { predicted, gold } => match metric {
            Metric::Pearson => Ok(pearson(predicted, gold)),
            Metric::Spearmanr => Ok(spearman(predicted, gold)),
            Metric::Mse => Ok(Some(mean_squared_error(predicted, gold))),
            Metric::ExactMatch => Err(wrong_kind(PredictionKind::Answers)),
            _ => Err(wrong_kind(PredictionKind::Classes)),
        },
        Predictions::Answers { predicted, gold } => {
            let rows = || predicted.iter().zip(gold);
            let sum: f64 = match metric {
                Metric::ExactMatch => rows()
                    .map(|(answer, gold)| f64::from(u8::from(exact_match(answer, gold))))
                    .sum(),
                Metric::F1 => rows().map(|(answer, gold)| token_f1(answer, gold)).sum(),
                Metric::Pearson | Metric::Spearmanr | Metric::Mse => {
                    return Err(wrong_kind(PredictionKind::Scores));
                }
                _ => return Err(wrong_kind(PredictionKind::Classes)),
            };
            Ok(Some(100.0 * sum / gold.len() as f64))
        }
    }
}

fn check_predictions(predictions: &Predictions<'_>) -> Result<(), MetricError> {
    match *predictions {
        Predictions::Classes {
            predicted,
            gold,
            labels,
        } => {
            check_lengths(predicted.len(), gold.len())?;
            for (index, (&prediction, &label)) in predicted.iter().zip(gold).enumerate() {
                let found = prediction.max(label);
                if found >= labels {
                    return Err(MetricError::ClassOutside {
                        row: index + 1,
                        found,
                        labels,
                    });
                }
            }
        }
        Predictions::Scores { predicted, gold } => {
            check_lengths(predicted.len(), gold.len())?;
            for (index, (&prediction, &score)) in predicted.iter().zip(gold).enumerate() {
                if let Some(found) = [prediction, score]
                    .into_iter()
                    .find(|value| !value.is_finite())
                {
                    return Err(MetricError::NotFinite {
                        row: index + 1,
                        found,
                    });
                }
            }
        }
        Predictions::Answers { predicted, gold } => {
            check_lengths(predicted.len(), gold.len())?;
            if let Some(row) = gold.iter().position(Vec::is_empty) {
                return Err(MetricError::NoAnswer { row: row + 1 });
            }
        }
    }
    Ok(())
}

fn check_lengths(predicted: usize, gold: usize) -> Result<(), MetricError> {
    if predicted != gold {
        return Err(MetricError::LengthMismatch { predicted, gold });
    }
    if gold == 0 {
        return Err(MetricError::NoRows);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_scores_are_reported_as_zero_with_a_warning() {
        let predictions = Predictions::Scores {
            predicted: &[1.0, 1.0],
            gold: &[1.0, 2.0],
        };
        let evaluation = evaluate(&[Metric::Pearson, Metric::Spearmanr], &predictions).unwrap();
        assert_eq!(evaluation.values["pearson"], 0.0);
        assert_eq!(evaluation.values["combined_score"], 0.0);
        assert_eq!(evaluation.warnings.len(), 2);
        assert!(evaluation.warnings[1].contains("spearmanr"));
    }

    #[test]
    fn answers_are_scored_in_percent_and_not_combined() {
        let gold = [vec!["a dog", "cat"], vec!["blue house"]];
        let predictions = Predictions::Answers {
            predicted: &["The cat", "green house"],
            gold: &gold,
        };
        let evaluation = evaluate(&[Metric::ExactMatch, Metric::F1], &predictions).unwrap();
        let expected = [("exact_match".to_owned(), 50.0), ("f1".to_owned(), 75.0)];
        assert_eq!(evaluation.values, expected.into());
        assert!(evaluate(&[Metric::Accuracy], &predictions).is_err());
        let predictions = Predictions::Answers {
            predicted: &["x"],
            gold: &[vec![]],
        };
        let error = evaluate(&[Metric::F1], &predictions).unwrap_err();
        assert_eq!(error, MetricError::NoAnswer { row: 1 });
    }

    #[test]
    fn one_metric_has_no_combined_score() {
        let predictions = Predictions::Classes {
            predicted: &[1],
            gold: &[1],
            labels: 2,
        };
        let evaluation = evaluate(&[Metric::Accuracy], &predictions).unwrap();
        assert_eq!(evaluation.values.keys().collect::<Vec<_>>(), ["accuracy"]);
    }

    #[test]
    fn wrong_input_is_named() {
        let classes = |predicted, gold| Predictions::Classes {
            predicted,
            gold,
            labels: 2,
        };
        let accuracy = |predictions| evaluate(&[Metric::Accuracy], &predictions).unwrap_err();
        assert_eq!(accuracy(classes(&[], &[])), MetricError::NoRows);
        assert_eq!(
            accuracy(classes(&[0, 1], &[0])),
            MetricError::LengthMismatch {
                predicted: 2,
                gold: 1
            }
        );
        assert_eq!(
            accuracy(classes(&[0, 2], &[0, 1])),
            MetricError::ClassOutside {
                row: 2,
                found: 2,
                labels: 2
            }
        );
        let scores = Predictions::Scores {
            predicted: &[f64::NAN],
            gold: &[0.0],
        };
        assert!(matches!(
            evaluate(&[Metric::Pearson], &scores),
            Err(MetricError::NotFinite { row: 1, .. })
        ));
        let scores = Predictions::Scores {
            predicted: &[0.0],
            gold: &[0.0],
        };
        assert!(matches!(
            evaluate(&[Metric::F1], &scores),
            Err(MetricError::WrongKind { metric: "f1", .. })
        ));
    }
}
