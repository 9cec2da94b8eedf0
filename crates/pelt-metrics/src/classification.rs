//! Metrics of predicted classes, all computed from counts per class.

use crate::Metric;

/// How often each class is predicted, is right, and is in the gold labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassCounts {
    correct: Vec<u64>,
    predicted: Vec<u64>,
    gold: Vec<u64>,
}

impl ClassCounts {
    /// Counts rows; `predicted` and `gold` have one class number below `labels` per row.
    ///
    /// # Panics
    /// If a class number is not below `labels`; [`crate::evaluate`] checks that beforehand.
    pub fn new(predicted: &[usize], gold: &[usize], labels: usize) -> Self {
        let pairs = predicted.iter().copied().zip(gold.iter().copied());
        Self::weighted(pairs.map(|pair| (pair, 1)), labels)
    }

    /// Counts pairs of predicted and gold class, each as often as its number says: rows that are alike need not be walked one by
    /// one.
    ///
    /// # Panics
    /// If a class number is not below `labels`.
    pub fn weighted(pairs: impl IntoIterator<Item = ((usize, usize), u64)>, labels: usize) -> Self {
        let mut counts = Self {
            correct: vec![0; labels],
            predicted: vec![0; labels],
            gold: vec![0; labels],
        };
        for ((prediction, label), rows) in pairs {
            counts.predicted[prediction] += rows;
            counts.gold[label] += rows;
            if prediction == label {
                counts.correct[label] += rows;
            }
        }
        counts
    }

    /// The value of a metric of classes; `None` of a metric of something else.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Accuracy | Metric::MicroF1 => Some(self.accuracy()),
            Metric::F1 => Some(self.f1(1)),
            Metric::MatthewsCorrelation => Some(self.matthews_correlation()),
            Metric::MacroF1 => Some(self.macro_f1()),
            Metric::MacroF1Present => Some(self.macro_f1_present()),
            Metric::WeightedF1 => Some(self.weighted_f1()),
            Metric::Pearson
            | Metric::Spearmanr
            | Metric::Mse
            | Metric::ExactMatch
            | Metric::CombinedScore => None,
        }
    }

    /// Share of rows whose class is right.
    pub fn accuracy(&self) -> f64 {
        ratio(self.correct.iter().sum(), self.gold.iter().sum())
    }

    /// F1 of one class; 0 where the class occurs neither in gold nor in prediction, or is no class at all.
    pub fn f1(&self, class: usize) -> f64 {
        let occurrences = self.predicted.get(class).zip(self.gold.get(class));
        match occurrences {
            Some((predicted, gold)) => ratio(2 * self.correct[class], predicted + gold),
            None => 0.0,
        }
    }

    /// F1 of every class, in the order of the class numbers.
    pub fn f1_per_class(&self) -> Vec<f64> {
        (0..self.gold.len()).map(|class| self.f1(class)).collect()
    }

    /// Mean F1 over all labels of the task.
    pub fn macro_f1(&self) -> f64 {
        mean(&self.f1_per_class())
    }

    /// Mean F1 over the labels that occur in gold or prediction.
    pub fn macro_f1_present(&self) -> f64 {
        let present: Vec<f64> = (0..self.gold.len())
            .filter(|&class| self.gold[class] + self.predicted[class] > 0)
            .map(|class| self.f1(class))
            .collect();
        mean(&present)
    }

    /// Mean F1 over the labels, weighted with their number of gold rows.
    pub fn weighted_f1(&self) -> f64 {
        let weighted: f64 = (0..self.gold.len())
            .map(|class| self.f1(class) * self.gold[class] as f64)
            .sum();
        let rows: u64 = self.gold.iter().sum();
        if rows == 0 {
            0.0
        } else {
            weighted / rows as f64
        }
    }

    /// Matthews correlation in its form for any number of classes.
    ///
    /// With `s` rows, `c` right ones, and `p_k` and `t_k` rows of class `k` in prediction and gold:
    /// `(c s - Σ p_k t_k) / sqrt((s² - Σ p_k²) (s² - Σ t_k²))`. It is 0 where the denominator is.
    pub fn matthews_correlation(&self) -> f64 {
        let rows: u64 = self.gold.iter().sum();
        let correct: u64 = self.correct.iter().sum();
        let squared = (rows as f64).powi(2);
        let covariance = correct as f64 * rows as f64 - dot(&self.predicted, &self.gold);
        let predicted_variance = squared - dot(&self.predicted, &self.predicted);
        let gold_variance = squared - dot(&self.gold, &self.gold);
        if predicted_variance == 0.0 || gold_variance == 0.0 {
            return 0.0;
        }
        covariance / (predicted_variance.sqrt() * gold_variance.sqrt())
    }
}

fn dot(left: &[u64], right: &[u64]) -> f64 {
    left.iter()
        .zip(right)
        .map(|(&left, &right)| left as f64 * right as f64)
        .sum()
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        0.0
    } else {
        values.iter().sum::<f64>() / values.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f1_of_a_class_that_does_not_exist_is_zero() {
        assert_eq!(ClassCounts::new(&[0], &[0], 1).f1(1), 0.0);
    }

    #[test]
    fn a_pair_counts_as_often_as_its_number_says() {
        let rows = ClassCounts::new(&[1, 1, 0, 1], &[0, 0, 0, 1], 2);
        let pairs = [((1, 0), 2), ((0, 0), 1), ((1, 1), 1)];
        assert_eq!(ClassCounts::weighted(pairs, 2), rows);
    }

    #[test]
    fn matthews_of_opposite_predictions_is_minus_one() {
        let counts = ClassCounts::new(&[1, 0, 1, 0], &[0, 1, 0, 1], 2);
        assert!((counts.matthews_correlation() + 1.0).abs() < 1e-12);
    }
}
