//! Whether a method differs from the reference on the reported rows: a paired bootstrap.

use std::collections::HashMap;
use std::path::Path;

use pelt_metrics::Metric;
use serde::{Deserialize, Serialize};

use super::cards::{class_order, parts_of_combined};
use super::predictions::{Values, read_predictions};
use super::resample::{RESAMPLES, Ranked, Series, resampled};
use super::score::{Unit, metric_named};
use super::statistics::mean;
use crate::Record;

/// The largest difference of a recorded score and the one computed from predictions, which may be rounded.
const TOLERANCE: f64 = 1e-3;

/// The level at which a difference is marked.
pub(crate) const LEVEL: f64 = 0.05;

/// The outcome of the test of one method on one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tested {
    /// The method is the one that the others are tested against.
    Reference,
    /// It was tested.
    Compared(Significance),
    /// It could not be tested, and this is why.
    Untested(String),
}

/// A method's difference from the reference, in the unit in which scores are shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Significance {
    /// The seeds that both have.
    pub seeds: Vec<u64>,
    /// Number of rows.
    pub rows: usize,
    /// The method's mean score less the reference's.
    pub difference: f64,
    /// Lower end of the 95 % interval of the difference.
    pub low: f64,
    /// Upper end of that interval.
    pub high: f64,
    /// Two-sided p value, at least 2 / (number of draws + 1).
    pub p: f64,
}

impl Significance {
    /// Whether the difference is marked.
    pub fn is_marked(&self) -> bool {
        self.p < LEVEL
    }
}

/// A finished run of a method.
pub(crate) struct Run<'a> {
    pub method: usize,
    pub record: &'a Record,
}

/// A run whose predictions were read.
struct Read {
    method: usize,
    seed: u64,
    series: Series,
}

/// Tests every method of a task against the reference; `runs` are those at the chosen learning rates.
pub(crate) fn test_task(
    task: &str,
    methods: usize,
    reference: Option<usize>,
    runs: &[Run],
    results: &Path,
) -> Vec<Tested> {
    let untested = |why: &str| Tested::Untested(why.to_string());
    let Some(reference) = reference else {
        return vec![untested("the plan's reference is none of its methods"); methods];
    };
    let mut problems: Vec<Option<String>> = vec![None; methods];
    let mut reader = Reader::default();
    // The reference comes first, because the others' rows are compared with its.
    let first = runs.iter().filter(|run| run.method == reference);
    let others = runs.iter().filter(|run| run.method != reference);
    let mut metric: Option<&str> = None;
    for run in first.chain(others) {
        let same = *metric.get_or_insert(&run.record.metric) == run.record.metric;
        let outcome = match same {
            true => reader.read(run, results),
            false => Err("it has another metric".into()),
        };
        if let Err(problem) = outcome {
            problems[run.method].get_or_insert(problem);
        }
    }
    let Some((metrics, unit)) = metrics_of(runs) else {
        return vec![untested("there is no finished run"); methods];
    };
    let (read, wrong) = reader.finish(task, &metrics);
    for (method, problem) in wrong {
        problems[method].get_or_insert(problem);
    }
    let series: Vec<&Series> = read.iter().map(|one| &one.series).collect();
    let rows = reader.rows.len();
    let draws = resampled(&series, &metrics, rows);
    let all: Vec<u32> = (0..rows as u32).collect();
    let observed: Vec<f64> = series.iter().map(|one| one.score(&metrics, &all)).collect();
    (0..methods)
        .map(|method| {
            if method == reference {
                return Tested::Reference;
            }
            let pairs = pairs(&read, method, reference);
            if pairs.is_empty() {
                let why = problems[method].as_ref().or(problems[reference].as_ref());
                return untested(why.map_or("no seed has predictions of both", String::as_str));
            }
            Tested::Compared(compare(&read, &pairs, &observed, &draws, rows, unit))
        })
        .collect()
}

/// The places of the runs of a method and of the reference with the same seed.
fn pairs(read: &[Read], method: usize, reference: usize) -> Vec<(usize, usize)> {
    let place = |method: usize, seed: u64| {
        let is = |one: &Read| one.method == method && one.seed == seed;
        read.iter().position(is)
    };
    let own = read.iter().enumerate();
    own.filter(|(_, one)| one.method == method)
        .filter_map(|(index, one)| Some((index, place(reference, one.seed)?)))
        .collect()
}

fn compare(
    read: &[Read],
    pairs: &[(usize, usize)],
    observed: &[f64],
    draws: &[Vec<f64>],
    rows: usize,
    unit: Unit,
) -> Significance {
    let difference = |scores: &[f64]| {
        let differences: Vec<f64> = pairs
            .iter()
            .map(|(own, reference)| unit.shown(scores[*own]) - unit.shown(scores[*reference]))
            .collect();
        mean(&differences).unwrap_or_default()
    };
    let mut drawn: Vec<f64> = draws.iter().map(|scores| difference(scores)).collect();
    drawn.sort_by(f64::total_cmp);
    // One is added so that no p value is zero: the observed rows are a draw as well.
    let share = |count: usize| (count + 1) as f64 / (RESAMPLES + 1) as f64;
    let below = drawn.iter().filter(|value| **value <= 0.0).count();
    let above = drawn.iter().filter(|value| **value >= 0.0).count();
    let at = |part: f64| drawn[((drawn.len() - 1) as f64 * part).round() as usize];
    let mut seeds: Vec<u64> = pairs.iter().map(|(own, _)| read[*own].seed).collect();
    seeds.sort_unstable();
    Significance {
        seeds,
        rows,
        difference: difference(observed),
        low: at(0.025),
        high: at(0.975),
        p: (2.0 * share(below).min(share(above))).min(1.0),
    }
}

/// The metrics whose mean is compared, and their unit.
fn metrics_of(runs: &[Run]) -> Option<(Vec<Metric>, Unit)> {
    let record = runs.first()?.record;
    let scored = record.reported.first()?;
    let metrics = match metric_named(&record.metric)? {
        Metric::CombinedScore => parts_of_combined(scored.values.keys()),
        metric => vec![metric],
    };
    Some((metrics, Unit::of(&record.metric, scored)))
}

/// Reads predictions and brings all onto the same rows. Names of classes are kept once.
#[derive(Default)]
struct Reader {
    rows: Vec<String>,
    gold: Option<Gold>,
    names: Vec<String>,
    numbers: HashMap<String, usize>,
    read: Vec<(usize, u64, f64, Said)>,
}

#[derive(PartialEq)]
enum Gold {
    Classes(Vec<usize>),
    Scores(Vec<f64>),
    Answers,
}

enum Said {
    Classes(Vec<usize>),
    Scores(Vec<f64>),
    Answers(Vec<f64>),
}

impl Reader {
    fn read(&mut self, run: &Run, results: &Path) -> Result<(), String> {
        let record = run.record;
        let seed = record.cell.seed;
        let predicted = read_predictions(record, &record.cell.folder(results))
            .map_err(|error| relative(&error.to_string(), results))?
            .ok_or_else(|| format!("seed {seed} kept no predictions"))?;
        let (gold, said) = match predicted.values {
            Values::Classes { gold, predicted } => (
                Gold::Classes(self.numbers(gold)),
                Said::Classes(self.numbers(predicted)),
            ),
            Values::Scores { gold, predicted } => (Gold::Scores(gold), Said::Scores(predicted)),
            Values::Answers { exact_match, f1 } => {
                let exact = record.metric == Metric::ExactMatch.name();
                let scores = if exact { exact_match } else { f1 };
                (Gold::Answers, Said::Answers(scores))
            }
        };
        match &self.gold {
            None => {
                self.rows = predicted.rows;
                self.gold = Some(gold);
            }
            Some(known) if *known == gold && self.rows == predicted.rows => {}
            Some(_) => return Err(format!("seed {seed} has predictions of other rows")),
        }
        self.read.push((run.method, seed, record.score(), said));
        Ok(())
    }

    fn numbers(&mut self, names: Vec<String>) -> Vec<usize> {
        let number = |name: String| match self.numbers.get(&name) {
            Some(number) => *number,
            None => {
                self.names.push(name.clone());
                self.numbers.insert(name, self.names.len() - 1);
                self.names.len() - 1
            }
        };
        names.into_iter().map(number).collect()
    }

    /// The series whose scores on all rows are those that were recorded, and what is wrong with the others, by method.
    fn finish(&mut self, task: &str, metrics: &[Metric]) -> (Vec<Read>, Vec<(usize, String)>) {
        let order = class_order(task, self.names.iter().map(String::as_str));
        let class = |number: &usize| {
            let name = &self.names[*number];
            order.iter().position(|label| label == name).unwrap_or(0)
        };
        let classes = |numbers: &[usize]| numbers.iter().map(class).collect::<Vec<usize>>();
        let all: Vec<u32> = (0..self.rows.len() as u32).collect();
        let (mut found, mut wrong) = (Vec::new(), Vec::new());
        for (method, seed, recorded, said) in self.read.drain(..) {
            let series = match (&self.gold, said) {
                (Some(Gold::Classes(gold)), Said::Classes(predicted)) => {
                    Series::classes(&classes(gold), &classes(&predicted), order.len())
                }
                (Some(Gold::Scores(gold)), Said::Scores(predicted)) => Series::Scores {
                    gold: Ranked::new(gold.clone()),
                    predicted: Ranked::new(predicted),
                },
                (_, Said::Answers(scores)) => Series::Answers { scores },
                _ => continue,
            };
            let score = series.score(metrics, &all);
            let tolerance = TOLERANCE * recorded.abs().max(1.0);
            if (score - recorded).abs() > tolerance || !score.is_finite() {
                wrong.push((method, format!(
                    "the predictions of seed {seed} give a score of {score:.4}, but {recorded:.4} was recorded"
                )));
                continue;
            }
            found.push(Read {
                method,
                seed,
                series,
            });
        }
        (found, wrong)
    }
}

/// A message without the place of the results folder, which is another one on every machine.
fn relative(message: &str, results: &Path) -> String {
    message.replace(&format!("{}/", results.display()), "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{Sample, sample};
    use crate::report::summary::Summary;

    fn tested(change: impl FnOnce(&mut Sample)) -> Vec<Tested> {
        let folder = tempfile::tempdir().unwrap();
        let mut sample = sample();
        change(&mut sample);
        sample.write(folder.path()).unwrap();
        let summary = Summary::of(&sample.plan, folder.path()).unwrap();
        let methods = summary.tasks[0].methods.iter();
        methods.map(|method| method.tested.clone()).collect()
    }

    #[test]
    fn equal_predictions_do_not_differ() {
        // The second method says what the reference says, whatever the seed.
        let found = tested(|sample| sample.copy_predictions("mrpc", "full", "lora"));
        assert_eq!(found[0], Tested::Reference);
        let Tested::Compared(test) = &found[1] else {
            panic!("{found:?}");
        };
        assert_eq!((test.difference, test.low, test.high), (0.0, 0.0, 0.0));
        assert_eq!((test.p, test.rows), (1.0, 200));
        assert!(!test.is_marked());
    }

    #[test]
    fn a_clearly_better_method_is_found_each_time() {
        let better = |sample: &mut Sample| sample.all_right("mrpc", "lora");
        let found = tested(better);
        let Tested::Compared(test) = &found[1] else {
            panic!("{found:?}");
        };
        assert!(test.p < 0.01 && test.is_marked(), "{test:?}");
        assert!(test.low > 0.0 && test.low < test.difference && test.difference < test.high);
        assert_eq!(test.seeds, [42, 43, 44]);
        assert_eq!(found, tested(better));
    }

    #[test]
    fn without_predictions_or_with_wrong_ones_nothing_is_tested() {
        let found = tested(|sample| {
            for record in sample.of("mrpc", "lora") {
                record.reported[0].predictions = None;
            }
            for record in sample.of("mrpc", "unipelt") {
                record.reported[0].score += 0.1;
            }
        });
        let why = |index: usize| match &found[index] {
            Tested::Untested(why) => why.clone(),
            other => panic!("{other:?}"),
        };
        assert!(why(1).contains("kept no predictions"), "{}", why(1));
        assert!(why(3).contains("was recorded"), "{}", why(3));
        let found = tested(|sample| sample.plan.reference = "nobody".into());
        assert!(matches!(&found[0], Tested::Untested(why) if why.contains("reference")));
    }
}
