//! Scores on rows drawn again and again, with replacement.

use std::collections::HashMap;

use pelt_metrics::{ClassCounts, Metric, pearson};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How often the rows are drawn.
pub(crate) const RESAMPLES: usize = 2000;

/// Seed of the drawing. Every draw is a stream of its own, so that the number of threads changes nothing.
const SEED: u64 = 20_240_508;

/// One cell's predictions, ready to be scored on any selection of rows.
#[derive(Debug, Clone)]
pub(crate) enum Series {
    /// Classes: the different pairs of predicted and gold class, and which one each row has.
    Classes {
        pairs: Vec<(usize, usize)>,
        pair_of_row: Vec<u32>,
        labels: usize,
    },
    /// Numbers.
    Scores { gold: Ranked, predicted: Ranked },
    /// Scores of answers, 0 to 1.
    Answers { scores: Vec<f64> },
}

/// Numbers, and for each its place among the different ones.
#[derive(Debug, Clone)]
pub(crate) struct Ranked {
    values: Vec<f64>,
    places: Vec<u32>,
    different: usize,
}

impl Ranked {
    /// The numbers must be finite.
    pub(crate) fn new(values: Vec<f64>) -> Self {
        // Adding zero makes one number of both zeros.
        let mut sorted: Vec<f64> = values.iter().map(|value| value + 0.0).collect();
        sorted.sort_by(f64::total_cmp);
        sorted.dedup();
        let place = |value: &f64| sorted.partition_point(|other| *other < *value) as u32;
        Self {
            places: values.iter().map(place).collect(),
            different: sorted.len(),
            values,
        }
    }

    fn pick(&self, rows: &[u32]) -> Vec<f64> {
        rows.iter().map(|&row| self.values[row as usize]).collect()
    }

    /// Ranks of the drawn numbers from 1, equal ones sharing their mean rank. Counting places is faster than sorting every time.
    fn ranks(&self, rows: &[u32]) -> Vec<f64> {
        let mut counts = vec![0_u32; self.different];
        for &row in rows {
            counts[self.places[row as usize] as usize] += 1;
        }
        let mut before = 0.0;
        let mut ranks = vec![0.0; self.different];
        for (rank, count) in ranks.iter_mut().zip(&counts) {
            let count = f64::from(*count);
            *rank = before + (count + 1.0) / 2.0;
            before += count;
        }
        rows.iter()
            .map(|&row| ranks[self.places[row as usize] as usize])
            .collect()
    }
}

impl Series {
    /// Classes as numbers below `labels`.
    pub(crate) fn classes(gold: &[usize], predicted: &[usize], labels: usize) -> Self {
        let mut known: HashMap<(usize, usize), u32> = HashMap::new();
        let mut pairs = Vec::new();
        let pair_of_row = predicted
            .iter()
            .copied()
            .zip(gold.iter().copied())
            .map(|pair| {
                *known.entry(pair).or_insert_with(|| {
                    pairs.push(pair);
                    pairs.len() as u32 - 1
                })
            })
            .collect();
        Self::Classes {
            pairs,
            pair_of_row,
            labels,
        }
    }

    /// The mean of the metrics on these rows, in the unit of [`pelt_metrics::evaluate`]; a metric that is undefined counts as 0.
    pub(crate) fn score(&self, metrics: &[Metric], rows: &[u32]) -> f64 {
        let sum: f64 = match self {
            Self::Classes {
                pairs,
                pair_of_row,
                labels,
            } => {
                let mut counts = vec![0_u64; pairs.len()];
                for &row in rows {
                    counts[pair_of_row[row as usize] as usize] += 1;
                }
                let counts = ClassCounts::weighted(pairs.iter().copied().zip(counts), *labels);
                let values = metrics.iter().map(|metric| counts.value(*metric));
                values.map(|value| value.unwrap_or(0.0)).sum()
            }
            Self::Scores { gold, predicted } => metrics
                .iter()
                .map(|metric| of_scores(*metric, gold, predicted, rows).unwrap_or(0.0))
                .sum(),
            Self::Answers { scores } => {
                let sum: f64 = rows.iter().map(|&row| scores[row as usize]).sum();
                100.0 * sum / rows.len().max(1) as f64 * metrics.len() as f64
            }
        };
        sum / metrics.len().max(1) as f64
    }
}

fn of_scores(metric: Metric, gold: &Ranked, predicted: &Ranked, rows: &[u32]) -> Option<f64> {
    match metric {
        Metric::Spearmanr => pearson(&predicted.ranks(rows), &gold.ranks(rows)),
        Metric::Mse => Some(pelt_metrics::mean_squared_error(
            &predicted.pick(rows),
            &gold.pick(rows),
        )),
        _ => pearson(&predicted.pick(rows), &gold.pick(rows)),
    }
}

/// The scores of all series on the same drawn rows: for each draw, one score per series.
pub(crate) fn resampled(series: &[&Series], metrics: &[Metric], rows: usize) -> Vec<Vec<f64>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = RESAMPLES.div_ceil(threads);
    let mut scores = vec![Vec::new(); RESAMPLES];
    std::thread::scope(|scope| {
        for (part, scores) in scores.chunks_mut(share).enumerate() {
            scope.spawn(move || {
                for (index, scores) in scores.iter_mut().enumerate() {
                    let drawn = draw(part * share + index, rows);
                    *scores = series
                        .iter()
                        .map(|one| one.score(metrics, &drawn))
                        .collect();
                }
            });
        }
    });
    scores
}

/// As many rows as there are, with replacement.
fn draw(number: usize, rows: usize) -> Vec<u32> {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    random.set_stream(number as u64);
    // The high part of a product falls on every row alike, but for a share of rows / 2^32.
    let mut pick = || ((u64::from(random.next_u32()) * rows as u64) >> 32) as u32;
    (0..rows).map(|_| pick()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelt_metrics::{Predictions, evaluate};

    const DRAWN: [u32; 6] = [4, 0, 0, 3, 2, 4];

    #[test]
    fn classes_score_as_their_rows_do_one_by_one() {
        let (gold, predicted) = ([0, 1, 2, 1, 0], [0, 1, 1, 2, 1]);
        let series = Series::classes(&gold, &predicted, 4);
        let pick = |values: &[usize]| DRAWN.map(|row| values[row as usize]);
        let (gold, predicted) = (pick(&gold), pick(&predicted));
        for metric in [
            Metric::Accuracy,
            Metric::F1,
            Metric::MatthewsCorrelation,
            Metric::MacroF1,
            Metric::MacroF1Present,
            Metric::WeightedF1,
            Metric::MicroF1,
        ] {
            let rows = Predictions::Classes {
                predicted: &predicted,
                gold: &gold,
                labels: 4,
            };
            let expected = evaluate(&[metric], &rows).unwrap().values[metric.name()];
            assert!((series.score(&[metric], &DRAWN) - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn numbers_score_as_their_rows_do_one_by_one() {
        let (gold, predicted) = ([0.0, 2.5, 3.0, 1.0, 5.0], [-0.0, 0.0, 4.0, 1.5, 4.0]);
        let series = Series::Scores {
            gold: Ranked::new(gold.into()),
            predicted: Ranked::new(predicted.into()),
        };
        let (gold, predicted) = (
            DRAWN.map(|row| gold[row as usize]),
            DRAWN.map(|row| predicted[row as usize]),
        );
        let metrics = [Metric::Pearson, Metric::Spearmanr];
        let rows = Predictions::Scores {
            predicted: &predicted,
            gold: &gold,
        };
        let expected = evaluate(&metrics, &rows).unwrap().values["combined_score"];
        assert!((series.score(&metrics, &DRAWN) - expected).abs() < 1e-12);
        // All rows alike have no correlation.
        assert_eq!(series.score(&metrics, &[1, 1]), 0.0);
    }

    #[test]
    fn answers_score_in_percent() {
        let scores = vec![1.0, 0.5, 0.0];
        let series = Series::Answers { scores };
        assert_eq!(series.score(&[Metric::F1], &[0, 1, 1, 2]), 50.0);
    }

    #[test]
    fn a_draw_takes_all_rows_into_account_and_is_the_same_each_time() {
        let drawn = draw(3, 50);
        assert_eq!(drawn, draw(3, 50));
        assert_ne!(drawn, draw(4, 50));
        let different: std::collections::BTreeSet<u32> =
            (0..20).flat_map(|number| draw(number, 50)).collect();
        assert_eq!(different, (0..50).collect());
    }
}
