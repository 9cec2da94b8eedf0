//! Means, deviations and medians of a few numbers.

/// The mean; `None` of nothing.
pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    match values {
        [] => None,
        _ => Some(values.iter().sum::<f64>() / values.len() as f64),
    }
}

/// The sample's standard deviation, with n - 1; `None` of fewer than two numbers.
pub(crate) fn deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// The middle value, or the mean of the two middle ones; `None` of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_computed_by_hand() {
        let values = [2.0, 4.0, 9.0];
        assert_eq!(mean(&values), Some(5.0));
        // Squares of the deviations: 9 + 1 + 16 = 26, over 2.
        assert_eq!(deviation(&values), Some(13.0_f64.sqrt()));
        assert_eq!(median(&values), Some(4.0));
        assert_eq!(median(&[8.0, 1.0, 3.0, 2.0]), Some(2.5));
    }

    #[test]
    fn too_few_numbers_have_none() {
        assert_eq!((mean(&[]), median(&[])), (None, None));
        assert_eq!((deviation(&[]), deviation(&[3.0])), (None, None));
    }
}
