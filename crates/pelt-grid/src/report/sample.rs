//! Made-up results, for tests and to look at the report.

use std::collections::BTreeMap;
use std::path::Path;

use crate::{
    Cell, Cost, CurvePoint, DataUsed, Failure, GateMean, GridError, Machine, Plan, Record, Scored,
    Size,
};

/// The plan of the made-up results: a task of two metrics, one with a single metric and a regression.
const PLAN: &str = r#"
name = "sample"
description = "Made-up results of three tasks"
model = "models/roberta-base"
data = "data"
seeds = [42, 43, 44]
[budget]
epochs = 6
batch_size = 16
max_length = 128
dev_rows = 400
[[tasks]]
name = "mrpc"
[[tasks]]
name = "sst2"
[[tasks]]
name = "stsb"
[[methods]]
name = "full"
learning_rates = [5e-5, 1e-4]
[[methods]]
name = "lora"
learning_rates = [5e-4, 2e-3]
head = "flexible"
[[methods]]
name = "bitfit"
learning_rates = [5e-4, 2e-3]
[[methods]]
name = "unipelt"
learning_rates = [5e-4, 1e-3]
head = "flexible"
"#;

/// Rows of every set.
const ROWS: usize = 200;

/// Of every method: share of right rows, trained parameters and seconds of an epoch.
const METHODS: [(f64, u64, f64); 4] = [
    (0.86, 124_647_170, 310.0),
    (0.85, 887_042, 182.0),
    (0.80, 694_274, 171.0),
    (0.875, 11_083_376, 236.0),
];

/// Results that are not written yet, so that a test can change them.
pub(crate) struct Sample {
    pub plan: Plan,
    pub records: Vec<Record>,
    pub failures: Vec<Failure>,
    /// The lines of predictions, by cell.
    pub predictions: BTreeMap<String, Vec<(String, String)>>,
}

/// Numbers in 0..1 that look like chance and are always the same.
fn chance(parts: [u64; 4]) -> f64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for part in parts {
        state = (state ^ part).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state ^= state >> 29;
        state = state.wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 32;
    }
    (state >> 11) as f64 / (1_u64 << 53) as f64
}

/// Three tasks, four methods, three seeds; one run failed and one is missing.
pub(crate) fn sample() -> Sample {
    let plan: Plan = toml::from_str(PLAN).unwrap();
    let mut sample = Sample {
        plan: plan.clone(),
        records: Vec::new(),
        failures: Vec::new(),
        predictions: BTreeMap::new(),
    };
    for (task_number, task) in plan.tasks.iter().enumerate() {
        for (method_number, method) in plan.methods.iter().enumerate() {
            for seed in &plan.seeds {
                for (rate_number, rate) in method.learning_rates.iter().enumerate() {
                    // The second rate is the better one, and the only one of the later seeds.
                    if *seed != plan.seeds[0] && rate_number == 0 {
                        continue;
                    }
                    let cell = Cell {
                        task: task.name.clone(),
                        method: method.name.clone(),
                        learning_rate: *rate,
                        seed: *seed,
                    };
                    let numbers = [task_number as u64, method_number as u64, *seed];
                    match (task.name.as_str(), method.name.as_str(), seed) {
                        ("sst2", "bitfit", 44) => sample.failures.push(Failure {
                            cell,
                            message: "`pelt train` failed: the loss is not finite at step 31 <of \"60\"> & later".into(),
                        }),
                        ("stsb", "unipelt", 43) => {}
                        _ => sample.add(cell, numbers, 0.04 * rate_number as f64 - 0.04),
                    }
                }
            }
        }
    }
    sample
}

impl Sample {
    fn add(&mut self, cell: Cell, numbers: [u64; 3], shift: f64) {
        let [task, method, seed] = numbers;
        let (share, trainable, epoch) = METHODS[method as usize];
        let share = share + shift + 0.01 * (chance([task, method, seed, 0]) - 0.5);
        let lines: Vec<(String, String)> = (0..ROWS)
            .map(|row| {
                let draw = chance([task, method, seed, 100 + row as u64]);
                // Some rows are hard for every method.
                let hard = chance([task, 77, 0, row as u64]);
                let right = 0.7 * hard + 0.3 * draw < share;
                let positive = chance([task, 78, 0, row as u64]) < 0.6;
                match cell.task.as_str() {
                    "mrpc" => pair(["not_equivalent", "equivalent"], positive, right),
                    "sst2" => pair(["negative", "positive"], positive, right),
                    _ => {
                        let gold = (chance([task, 79, 0, row as u64]) * 26.0).floor() / 5.0;
                        let noise = (draw + hard - 1.0) * 6.0 * (1.2 - share);
                        (gold.to_string(), (gold + noise).to_string())
                    }
                }
            })
            .collect();
        self.predictions.insert(cell.id(), lines);
        let steps = 200;
        let curve = (1..=6).map(|epoch: u64| CurvePoint {
            step: epoch * steps,
            epoch,
            score: share - 0.25 / (epoch * epoch) as f64
                + 0.015 * (chance([task, method, seed, epoch]) - 0.5),
            training_loss: 0.7 / epoch as f64,
        });
        let gates = match cell.method.as_str() {
            "unipelt" => (0..12)
                .flat_map(|layer| {
                    ["adapter", "lora", "prefix"].map(|component| GateMean {
                        layer,
                        component: component.into(),
                        mean: gate(component, layer, task)
                            + 0.04 * (chance([layer, task, seed, 3]) - 0.5),
                    })
                })
                .collect(),
            _ => Vec::new(),
        };
        let name = cell.task.clone();
        let scored = |split: &str| Scored {
            set: format!("{name} {split}"),
            rows: ROWS as u64,
            fingerprint: None,
            published_rows: (name == "stsb").then_some(1500),
            score: share,
            values: BTreeMap::new(),
            predictions: None,
        };
        let mut reported = scored("validation");
        reported.predictions = Some("predictions-validation.jsonl".into());
        let metric = match name.as_str() {
            "sst2" => "accuracy",
            _ => "combined_score",
        };
        self.records.push(Record {
            arguments: vec!["--task".into(), name.clone()],
            configuration: "0c0ffee0".into(),
            encoder: "roberta-base".into(),
            model: "5eedbeef5eedbeef".into(),
            data: DataUsed {
                train: format!("{name} train"),
                train_rows: 3268,
                train_fingerprint: "f00d".into(),
                development_fingerprint: Some("d00d".into()),
            },
            metric: metric.into(),
            development: scored("train"),
            reported: vec![reported],
            size: Size {
                trainable,
                base: 124_645_632,
                stored: trainable,
                bytes: trainable * 4 + 900,
            },
            steps: 6 * steps,
            best_step: 5 * steps,
            curve: curve.collect(),
            gates,
            cost: Cost {
                seconds: epoch * 6.6 * (1.0 + task as f64) + 3.0 * chance([task, method, seed, 9]),
                seconds_per_epoch: epoch * (1.0 + task as f64),
                tokens: 1_100_000,
                tokens_per_second: 183_000.0 / epoch,
                peak_memory_mib: Some(900 + trainable / 60_000),
                peak_gpu_memory_mib: None,
                jobs: 1,
            },
            machine: Machine {
                cpu: "Example CPU @ 2.50GHz".into(),
                cores: 2,
                memory_mib: 15_990,
                device: "cpu".into(),
                gpu: None,
                system: "linux x86_64".into(),
                pelt: "pelt 0.1.0".into(),
                commit: Some("0123456789ab".into()),
                finished: 1_700_000_000 + seed,
            },
            cell,
        });
    }

    /// The records of a method on a task.
    #[allow(dead_code)] // The example has no need of it.
    pub(crate) fn of(&mut self, task: &str, method: &str) -> impl Iterator<Item = &mut Record> {
        let is =
            move |record: &&mut Record| record.cell.task == task && record.cell.method == method;
        self.records.iter_mut().filter(is)
    }

    /// Gives one method the predictions of another, seed by seed, and the first rate's scores.
    #[allow(dead_code)] // The example has no need of it.
    pub(crate) fn copy_predictions(&mut self, task: &str, from: &str, to: &str) {
        let seeds = self.plan.seeds.clone();
        for seed in seeds {
            let lines = |method: &str| {
                let mut cells = self
                    .records
                    .iter()
                    .map(|record| &record.cell)
                    .filter(|cell| cell.task == task && cell.method == method && cell.seed == seed);
                cells.next_back().unwrap().id()
            };
            let copied = self.predictions[&lines(from)].clone();
            self.predictions.insert(lines(to), copied);
        }
    }

    /// Makes all predictions of a method at its last rate right.
    #[allow(dead_code)] // The example has no need of it.
    pub(crate) fn all_right(&mut self, task: &str, method: &str) {
        let own = self.plan.methods.iter().find(|one| one.name == method);
        let rate = own.unwrap().learning_rates.last().unwrap();
        let start = format!("{task}/{method}/lr-{rate}-");
        for (cell, lines) in &mut self.predictions {
            if cell.starts_with(&start) {
                for (gold, predicted) in lines {
                    predicted.clone_from(gold);
                }
            }
        }
    }

    /// Writes the cells below a folder. Scores follow from the predictions, but for those that a test has changed.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), GridError> {
        for record in &self.records {
            let mut record = record.clone();
            let lines = &self.predictions[&record.cell.id()];
            let changed = record.reported[0].score - record.development.score;
            let values = values(&record.cell.task, lines);
            let score = values[&record.metric];
            record.development.score = score;
            record.reported[0].values = values;
            record.reported[0].score = score + changed;
            let place = record.cell.folder(folder);
            std::fs::create_dir_all(&place).unwrap();
            let quoted = |text: &String| match text.parse::<f64>() {
                Ok(_) => text.clone(),
                Err(_) => format!("\"{text}\""),
            };
            let text: String = lines
                .iter()
                .enumerate()
                .map(|(row, (gold, predicted))| {
                    let (gold, predicted) = (quoted(gold), quoted(predicted));
                    format!("{{\"row\":{row},\"gold\":{gold},\"predicted\":{predicted}}}\n")
                })
                .collect();
            std::fs::write(place.join("predictions-validation.jsonl"), text).unwrap();
            record.write(&place)?;
        }
        for failure in &self.failures {
            let place = failure.cell.folder(folder);
            std::fs::create_dir_all(&place).unwrap();
            failure.write(&place)?;
        }
        std::fs::write(
            folder.join("plan.toml"),
            toml::to_string(&self.plan).unwrap(),
        )
        .unwrap();
        Ok(())
    }
}

fn pair(names: [&str; 2], positive: bool, right: bool) -> (String, String) {
    let gold = names[usize::from(positive)];
    let predicted = names[usize::from(positive == right)];
    (gold.into(), predicted.into())
}

fn gate(component: &str, layer: u64, task: u64) -> f64 {
    let layer = layer as f64;
    match component {
        "adapter" => 0.25 + 0.05 * layer + 0.03 * task as f64,
        "lora" => 0.65 - 0.03 * layer,
        _ => 0.3 + 0.2 * (layer / 2.0 + task as f64).sin(),
    }
}

fn values(task: &str, lines: &[(String, String)]) -> BTreeMap<String, f64> {
    use pelt_metrics::{Metric, Predictions, evaluate};
    let classes = |predicted: bool, name: &str| -> Vec<usize> {
        let text = |line: &(String, String)| match predicted {
            true => line.1 == name,
            false => line.0 == name,
        };
        lines.iter().map(|line| usize::from(text(line))).collect()
    };
    let numbers = |predicted: bool| -> Vec<f64> {
        let text = |line: &(String, String)| match predicted {
            true => line.1.parse().unwrap(),
            false => line.0.parse().unwrap(),
        };
        lines.iter().map(text).collect()
    };
    let mut values = match task {
        "stsb" => evaluate(
            &[Metric::Pearson, Metric::Spearmanr],
            &Predictions::Scores {
                predicted: &numbers(true),
                gold: &numbers(false),
            },
        ),
        _ => {
            let (name, metrics): (&str, &[Metric]) = match task {
                "mrpc" => ("equivalent", &[Metric::Accuracy, Metric::F1]),
                _ => ("positive", &[Metric::Accuracy]),
            };
            evaluate(
                metrics,
                &Predictions::Classes {
                    predicted: &classes(true, name),
                    gold: &classes(false, name),
                    labels: 2,
                },
            )
        }
    }
    .unwrap()
    .values;
    values.insert("loss".into(), 0.4);
    values
}
