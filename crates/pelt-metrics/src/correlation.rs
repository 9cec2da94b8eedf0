//! Metrics of predicted scores.

/// Pearson correlation of two vectors of equal length.
///
/// `None` where it is undefined: a constant vector, or fewer than two rows.
pub fn pearson(left: &[f64], right: &[f64]) -> Option<f64> {
    let left = unit_deviations(left)?;
    let right = unit_deviations(right)?;
    let product: f64 = left
        .iter()
        .zip(&right)
        .map(|(left, right)| left * right)
        .sum();
    Some(product.clamp(-1.0, 1.0))
}

/// Spearman correlation of two vectors of equal length: Pearson's of the ranks, equal values sharing their mean rank.
///
/// `None` where it is undefined: a constant vector, or fewer than two rows.
pub fn spearman(left: &[f64], right: &[f64]) -> Option<f64> {
    pearson(&average_ranks(left), &average_ranks(right))
}

/// Mean of the squared differences; 0 for no rows.
pub fn mean_squared_error(predicted: &[f64], gold: &[f64]) -> f64 {
    if predicted.is_empty() {
        return 0.0;
    }
    let sum: f64 = predicted
        .iter()
        .zip(gold)
        .map(|(predicted, gold)| (predicted - gold).powi(2))
        .sum();
    sum / predicted.len() as f64
}

/// The deviations from the mean, scaled to a vector of length 1.
fn unit_deviations(values: &[f64]) -> Option<Vec<f64>> {
    let first = values.first()?;
    // Rounding can leave tiny deviations in a constant vector, so equality is tested on the values themselves.
    if values.iter().all(|value| value == first) {
        return None;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let deviations: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let largest = deviations
        .iter()
        .fold(0.0_f64, |largest, value| largest.max(value.abs()));
    // Dividing by the largest deviation first keeps the squares from overflowing or vanishing.
    let length = deviations
        .iter()
        .map(|value| (value / largest).powi(2))
        .sum::<f64>()
        .sqrt();
    Some(
        deviations
            .iter()
            .map(|value| value / largest / length)
            .collect(),
    )
}

/// Ranks from 1; equal values share the mean of the ranks they take up.
fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&left, &right| values[left].total_cmp(&values[right]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let mut end = start + 1;
        while end < order.len() && values[order[end]] == values[order[start]] {
            end += 1;
        }
        let rank = (start + 1 + end) as f64 / 2.0;
        for &row in &order[start..end] {
            ranks[row] = rank;
        }
        start = end;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_their_mean_rank() {
        assert_eq!(average_ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
    }

    #[test]
    fn both_zeros_are_one_value() {
        assert_eq!(average_ranks(&[0.0, -0.0, 1.0]), [1.5, 1.5, 3.0]);
    }

    #[test]
    fn constant_vectors_have_no_correlation() {
        assert_eq!(pearson(&[0.1, 0.1, 0.1], &[1.0, 2.0, 3.0]), None);
        assert_eq!(spearman(&[1.0, 2.0], &[5.0, 5.0]), None);
        assert_eq!(pearson(&[1.0], &[2.0]), None);
    }
}
