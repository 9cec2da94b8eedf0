//! The results of a plan, brought together.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::cards::{Standing, standing};
use super::read::{Outcome, read_cells};
use super::score::Unit;
use super::significance::{Run, Tested, test_task};
use super::statistics::{deviation, mean, median};
use crate::{CurvePoint, Failure, GateMean, GridError, Plan, Record, chosen_rate};

/// All that a report says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What was compared. Of the places of model and data, only the last part is kept.
    pub plan: Plan,
    /// The tasks, in the plan's order.
    pub tasks: Vec<TaskSummary>,
    /// Of every method, in the plan's order, the mean score over all tasks; `None` unless it has every seed of every task.
    pub averages: Vec<Average>,
    /// Finished runs of the plan, in its order.
    pub records: Vec<Record>,
    /// Runs that failed.
    pub failures: Vec<Failure>,
    /// Names of the runs that are still to be made, or are being made.
    pub missing: Vec<String>,
}

/// The mean over tasks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Average {
    /// The mean, as it is shown.
    pub score: Option<f64>,
    /// Its place among the methods.
    pub mark: Option<Mark>,
}

/// The place of a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The best one, or as good.
    Best,
    /// The best of the others, where a single one is the best.
    Second,
}

/// The results of one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskSummary {
    /// Its name.
    pub name: String,
    /// The metric that is compared; `None` as long as nothing is finished, as all of the next fields.
    pub metric: Option<String>,
    /// The unit of its scores.
    pub unit: Option<Unit>,
    /// The set whose rows are reported.
    pub set: Option<String>,
    /// Number of those rows.
    pub rows: Option<u64>,
    /// Number of rows of the published split, where it is another one.
    pub published_rows: Option<u64>,
    /// The set whose rows choose learning rates and weights.
    pub development: Option<String>,
    /// Number of those rows.
    pub development_rows: Option<u64>,
    /// The set that was trained on.
    pub train: Option<String>,
    /// Number of those rows.
    pub train_rows: Option<u64>,
    /// The methods, in the plan's order.
    pub methods: Vec<MethodSummary>,
}

/// The results of one method on one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodSummary {
    /// Its name in the plan.
    pub name: String,
    /// The learning rate that the development rows chose.
    pub learning_rate: Option<f64>,
    /// The score of every rate on the development rows with the first seed, as it is shown; `None` where there is no record.
    pub trials: Vec<Trial>,
    /// Every seed of the plan.
    pub seeds: Vec<SeedResult>,
    /// Mean score over the finished seeds, as it is shown.
    pub mean: Option<f64>,
    /// The sample's standard deviation over them.
    pub deviation: Option<f64>,
    /// Its place on this task, among the methods that have all seeds.
    pub mark: Option<Mark>,
    /// The test against the reference.
    pub tested: Tested,
    /// Means over the finished seeds of all values, in the unit of the record.
    pub values: BTreeMap<String, f64>,
    /// Sizes and costs.
    pub cost: Option<CostSummary>,
    /// The learning curve of every finished seed.
    pub curves: Vec<Curve>,
    /// Mean gates over the finished seeds.
    pub gates: Vec<GateMean>,
}

/// One learning rate that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The rate.
    pub learning_rate: f64,
    /// Its score on the development rows, as it is shown.
    pub score: Option<f64>,
}

/// A seed of a method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedResult {
    /// The seed.
    pub seed: u64,
    /// The score, as it is shown.
    pub score: Option<f64>,
    /// Why there is none, where the run failed.
    pub failure: Option<String>,
}

/// A learning curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The seed.
    pub seed: u64,
    /// The evaluations; scores are in the unit of the record.
    pub points: Vec<CurvePoint>,
}

/// Medians over the finished seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CostSummary {
    /// Trained parameters.
    pub trainable: f64,
    /// Parameters of the encoder.
    pub base: f64,
    /// Numbers in the saved tensor files.
    pub stored: f64,
    /// Bytes of the saved tensor files.
    pub bytes: f64,
    /// Seconds of the training steps of an epoch.
    pub seconds_per_epoch: f64,
    /// Seconds of training, evaluations included.
    pub seconds: f64,
    /// Tokens that a second of training steps takes.
    pub tokens_per_second: f64,
    /// Largest resident memory of the process.
    pub peak_memory_mib: Option<f64>,
    /// Largest memory of the GPU.
    pub peak_gpu_memory_mib: Option<f64>,
}

impl Summary {
    /// Name of the pretrained encoder.
    pub fn encoder(&self) -> &str {
        let named = self.records.first().map(|record| record.encoder.as_str());
        named.or(self.plan.model.as_deref()).unwrap_or("not named")
    }

    /// Reads the cells of a plan below a results folder, and tests every method against the plan's reference. Cells that are not
    /// finished are no error.
    ///
    /// # Errors
    /// If a record cannot be read, or is that of another cell.
    pub fn of(plan: &Plan, results: &Path) -> Result<Self, GridError> {
        let mut summary = Self::untested(plan, results)?;
        let position = |name: &str| plan.methods.iter().position(|one| one.name == name);
        for task in &mut summary.tasks {
            let runs: Vec<Run> = summary
                .records
                .iter()
                .filter(|record| record.cell.task == task.name)
                .filter_map(|record| {
                    let method = position(&record.cell.method)?;
                    let chosen = task.methods[method].learning_rate;
                    (chosen == Some(record.cell.learning_rate)).then_some(Run { method, record })
                })
                .collect();
            let reference = position(&plan.reference);
            let tested = test_task(&task.name, plan.methods.len(), reference, &runs, results);
            for (method, tested) in task.methods.iter_mut().zip(tested) {
                method.tested = tested;
            }
        }
        Ok(summary)
    }

    /// Reads the cells only.
    pub(crate) fn untested(plan: &Plan, results: &Path) -> Result<Self, GridError> {
        let found = read_cells(plan, results)?;
        let mut summary = Self {
            plan: without_places(plan),
            tasks: Vec::new(),
            averages: Vec::new(),
            records: Vec::new(),
            failures: Vec::new(),
            missing: Vec::new(),
        };
        for one in found {
            match one.outcome {
                Outcome::Done(record) => summary.records.push(*record),
                Outcome::Failed(message) => summary.failures.push(Failure {
                    cell: one.cell,
                    message,
                }),
                Outcome::Missing => summary.missing.push(one.cell.id()),
            }
        }
        for task in &plan.tasks {
            let task = summary.task(&task.name);
            summary.tasks.push(task);
        }
        summary.averages = averages(&summary.tasks, plan.methods.len());
        Ok(summary)
    }

    fn task(&self, name: &str) -> TaskSummary {
        let first = self.records.iter().find(|record| record.cell.task == name);
        let scored = first.and_then(|record| record.reported.first());
        let unit = first
            .zip(scored)
            .map(|(first, scored)| Unit::of(&first.metric, scored));
        let mut task = TaskSummary {
            name: name.into(),
            metric: first.map(|record| record.metric.clone()),
            unit,
            set: scored.map(|scored| scored.set.clone()),
            rows: scored.map(|scored| scored.rows),
            published_rows: scored.and_then(|scored| scored.published_rows),
            development: first.map(|record| record.development.set.clone()),
            development_rows: first.map(|record| record.development.rows),
            train: first.map(|record| record.data.train.clone()),
            train_rows: first.map(|record| record.data.train_rows),
            methods: self
                .plan
                .methods
                .iter()
                .map(|method| self.method(name, &method.name, unit))
                .collect(),
        };
        let complete = |method: &MethodSummary| match method.is_complete() {
            true => method.mean,
            false => None,
        };
        let scores: Vec<Option<f64>> = task.methods.iter().map(complete).collect();
        let marks = marks(&scores, unit.unwrap_or(Unit::Fraction));
        for (method, mark) in task.methods.iter_mut().zip(marks) {
            method.mark = mark;
        }
        task
    }

    fn method(&self, task: &str, name: &str, unit: Option<Unit>) -> MethodSummary {
        let shown = |score: f64| unit.unwrap_or(Unit::Fraction).shown(score);
        let own: Vec<&Record> = self
            .records
            .iter()
            .filter(|record| record.cell.task == task && record.cell.method == name)
            .collect();
        let rate = chosen_rate(&self.plan, task, name, &self.records);
        let first_seed = self.plan.seeds.first();
        let chosen: Vec<&Record> = own
            .iter()
            .copied()
            .filter(|record| Some(record.cell.learning_rate) == rate)
            .collect();
        let rates = self.plan.methods.iter().find(|method| method.name == name);
        let rates = rates.map_or(&[][..], |method| &method.learning_rates);
        let trials = rates.iter().map(|rate| {
            let tried = own.iter().find(|record| {
                record.cell.learning_rate == *rate && Some(&record.cell.seed) == first_seed
            });
            Trial {
                learning_rate: *rate,
                score: tried.map(|record| shown(record.development.score)),
            }
        });
        let seeds: Vec<SeedResult> = self
            .plan
            .seeds
            .iter()
            .map(|seed| {
                let record = chosen.iter().find(|record| record.cell.seed == *seed);
                let failed = self.failures.iter().find(|failure| {
                    let cell = &failure.cell;
                    let here = cell.task == task && cell.method == name && cell.seed == *seed;
                    // The trial of a rate that was not chosen may fail without loss.
                    here && rate.is_none_or(|rate| cell.learning_rate == rate)
                });
                SeedResult {
                    seed: *seed,
                    score: record
                        .map(|record| shown(record.score()))
                        .filter(|score| score.is_finite()),
                    failure: failed.map(|failure| failure.message.clone()),
                }
            })
            .collect();
        let scores: Vec<f64> = seeds.iter().filter_map(|seed| seed.score).collect();
        MethodSummary {
            name: name.into(),
            learning_rate: rate,
            trials: trials.collect(),
            mean: mean(&scores),
            deviation: deviation(&scores),
            mark: None,
            tested: Tested::Untested("it was not asked for".into()),
            values: mean_values(&chosen),
            cost: cost(&chosen),
            curves: chosen
                .iter()
                .map(|record| Curve {
                    seed: record.cell.seed,
                    points: record.curve.clone(),
                })
                .collect(),
            gates: mean_gates(&chosen),
            seeds,
        }
    }

    /// Whether every run of the plan is finished.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty() && self.missing.is_empty()
    }
}

impl MethodSummary {
    /// Whether every seed has a score.
    pub fn is_complete(&self) -> bool {
        self.seeds.iter().all(|seed| seed.score.is_some())
    }

    /// Whether every learning rate was tried, so that the chosen one will stay.
    pub fn rate_is_final(&self) -> bool {
        self.trials.iter().all(|trial| trial.score.is_some())
    }
}

impl TaskSummary {
    /// Whether the rows that chose learning rates and weights are reported.
    pub(crate) fn chose_on_reported(&self) -> bool {
        self.set.is_some() && self.set == self.development
    }

    /// Whether the rows, both of training and of the report, are those that were published; `None` where nothing is finished.
    pub(crate) fn standing(&self) -> Option<Standing> {
        let (set, train) = (standing(self.set.as_ref()?), standing(self.train.as_ref()?));
        let part = self.published_rows.is_some() && self.published_rows != self.rows;
        Some(match (set, train) {
            (Standing::StandIn, _) | (_, Standing::StandIn) => Standing::StandIn,
            (Standing::Published, Standing::Published) if !part => Standing::Published,
            _ => Standing::Other,
        })
    }
}

fn without_places(plan: &Plan) -> Plan {
    let last = |place: &Option<String>| {
        let place = place.as_ref()?;
        let name = Path::new(place).file_name();
        Some(name.map_or(place.clone(), |name| name.to_string_lossy().into_owned()))
    };
    Plan {
        model: last(&plan.model),
        data: last(&plan.data),
        ..plan.clone()
    }
}

fn averages(tasks: &[TaskSummary], methods: usize) -> Vec<Average> {
    let score = |method: usize| {
        let scores: Option<Vec<f64>> = tasks
            .iter()
            .map(|task| match task.unit {
                Some(Unit::Fraction | Unit::Percent) => task.methods[method]
                    .mean
                    .filter(|_| task.methods[method].is_complete()),
                Some(Unit::Error) | None => None,
            })
            .collect();
        mean(&scores?)
    };
    let scores: Vec<Option<f64>> = (0..methods).map(score).collect();
    let marks = marks(&scores, Unit::Percent);
    let both = scores.into_iter().zip(marks);
    both.map(|(score, mark)| Average { score, mark }).collect()
}

fn marks(scores: &[Option<f64>], unit: Unit) -> Vec<Option<Mark>> {
    let best = |without: Option<f64>| {
        let others = scores
            .iter()
            .flatten()
            .filter(|score| Some(**score) != without);
        others.copied().reduce(|best, score| {
            if unit.better(score, best) {
                score
            } else {
                best
            }
        })
    };
    let first = best(None);
    let alone = scores.iter().filter(|score| **score == first).count() == 1;
    let second = first.filter(|_| alone).and_then(|first| best(Some(first)));
    scores
        .iter()
        .map(|score| match score {
            None => None,
            score if *score == first => Some(Mark::Best),
            score if *score == second => Some(Mark::Second),
            Some(_) => None,
        })
        .collect()
}

fn mean_values(records: &[&Record]) -> BTreeMap<String, f64> {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for scored in records.iter().filter_map(|record| record.reported.first()) {
        for (name, value) in &scored.values {
            all.entry(name.clone()).or_default().push(*value);
        }
    }
    let means = all
        .into_iter()
        .filter_map(|(name, values)| Some((name, mean(&values)?)));
    means.collect()
}

fn mean_gates(records: &[&Record]) -> Vec<GateMean> {
    let mut all: BTreeMap<(String, u64), Vec<f64>> = BTreeMap::new();
    for gate in records.iter().flat_map(|record| &record.gates) {
        let place = (gate.component.clone(), gate.layer);
        all.entry(place).or_default().push(gate.mean);
    }
    let means = all.into_iter().filter_map(|((component, layer), values)| {
        Some(GateMean {
            layer,
            component,
            mean: mean(&values)?,
        })
    });
    means.collect()
}

fn cost(records: &[&Record]) -> Option<CostSummary> {
    let middle = |value: &dyn Fn(&Record) -> f64| {
        let values: Vec<f64> = records.iter().map(|record| value(record)).collect();
        median(&values)
    };
    let memory = |value: &dyn Fn(&Record) -> Option<u64>| {
        let values: Vec<f64> = records
            .iter()
            .filter_map(|record| Some(value(record)? as f64))
            .collect();
        median(&values)
    };
    Some(CostSummary {
        trainable: middle(&|record| record.size.trainable as f64)?,
        base: middle(&|record| record.size.base as f64)?,
        stored: middle(&|record| record.size.stored as f64)?,
        bytes: middle(&|record| record.size.bytes as f64)?,
        seconds_per_epoch: middle(&|record| record.cost.seconds_per_epoch)?,
        seconds: middle(&|record| record.cost.seconds)?,
        tokens_per_second: middle(&|record| record.cost.tokens_per_second)?,
        peak_memory_mib: memory(&|record| record.cost.peak_memory_mib),
        peak_gpu_memory_mib: memory(&|record| record.cost.peak_gpu_memory_mib),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::sample;

    #[test]
    fn the_best_and_the_second_are_marked() {
        let found = |scores: &[Option<f64>], unit| {
            let letter = |mark: Option<Mark>| match mark {
                Some(Mark::Best) => 'b',
                Some(Mark::Second) => 's',
                None => '-',
            };
            let marks = marks(scores, unit);
            marks.into_iter().map(letter).collect::<String>()
        };
        let scores = [Some(1.0), Some(3.0), None, Some(2.0)];
        assert_eq!(found(&scores, Unit::Percent), "-b-s");
        assert_eq!(found(&scores, Unit::Error), "b--s");
        let two = [Some(3.0), Some(3.0), Some(2.0)];
        assert_eq!(found(&two, Unit::Percent), "bb-");
        assert_eq!(found(&[None, None], Unit::Percent), "--");
    }

    #[test]
    fn seeds_become_means_and_what_is_not_there_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let sample = sample();
        sample.write(folder.path()).unwrap();
        let summary = Summary::of(&sample.plan, folder.path()).unwrap();
        assert_eq!(summary.failures.len(), 1);
        assert_eq!(summary.missing.len(), 1);
        assert!(!summary.is_complete());
        let full = &summary.tasks[0].methods[0];
        let scores: Vec<f64> = full.seeds.iter().map(|seed| seed.score.unwrap()).collect();
        let mean = scores.iter().sum::<f64>() / 3.0;
        assert!((full.mean.unwrap() - mean).abs() < 1e-9);
        let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
        assert!((full.deviation.unwrap() - (squares / 2.0).sqrt()).abs() < 1e-9);
        assert_eq!(full.learning_rate, Some(1e-4));
        assert_eq!(full.trials.len(), 2);
        assert_eq!(full.curves.len(), 3);
        // The averages of the methods with gaps are not there.
        let averaged: Vec<bool> = summary
            .averages
            .iter()
            .map(|one| one.score.is_some())
            .collect();
        assert_eq!(averaged, [true, true, false, false]);
        let gaps: Vec<_> = summary
            .tasks
            .iter()
            .flat_map(|task| &task.methods)
            .flat_map(|method| &method.seeds)
            .filter(|seed| seed.score.is_none())
            .collect();
        assert_eq!(gaps.len(), 2);
        assert!(gaps.iter().any(|seed| seed.failure.is_some()));
        assert!(!summary.tasks[2].methods[3].gates.is_empty());
    }

    #[test]
    fn an_empty_folder_is_a_grid_of_which_all_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let plan = sample().plan;
        let summary = Summary::of(&plan, folder.path()).unwrap();
        // Every method is tried with two rates, and has two more seeds, on three tasks.
        assert_eq!(summary.missing.len(), 3 * 4 * 4);
        assert_eq!(summary.tasks[0].methods[0].mean, None);
        assert!(matches!(
            summary.tasks[0].methods[1].tested,
            Tested::Untested(_)
        ));
    }

    #[test]
    fn records_of_other_cells_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let mut sample = sample();
        sample.write(folder.path()).unwrap();
        let all = Summary::untested(&sample.plan, folder.path()).unwrap();
        sample.plan.methods.truncate(1);
        sample.plan.seeds.truncate(1);
        let some = Summary::untested(&sample.plan, folder.path()).unwrap();
        assert_eq!(some.records.len(), 3 * 2);
        assert!(all.records.len() > some.records.len());
        assert_eq!(some.tasks[0].methods[0].deviation, None);
    }

    #[test]
    fn a_record_in_another_cells_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let sample = sample();
        sample.write(folder.path()).unwrap();
        let (one, other) = (&sample.records[0], &sample.records[1]);
        other.write(&one.cell.folder(folder.path())).unwrap();
        let message = Summary::untested(&sample.plan, folder.path()).unwrap_err();
        assert!(message.to_string().contains(&other.cell.id()), "{message}");
    }
}
