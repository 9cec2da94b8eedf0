//! One run of the grid.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{MethodPlan, Plan, Record, TaskPlan};

/// A task, a method, a learning rate and a seed: one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Name of the task.
    pub task: String,
    /// Name of the method in the plan.
    pub method: String,
    /// Largest learning rate.
    pub learning_rate: f64,
    /// Seed of everything random.
    pub seed: u64,
}

impl Cell {
    /// `mrpc/lora/lr-0.0005-seed-42`: the cell's folder below `cells`, and its name to people.
    pub fn id(&self) -> String {
        format!(
            "{}/{}/lr-{}-seed-{}",
            self.task, self.method, self.learning_rate, self.seed
        )
    }

    /// The cell's folder in a results folder.
    pub fn folder(&self, results: &Path) -> PathBuf {
        results.join("cells").join(self.id())
    }

    /// What `pelt train` is called with, but for the places of model, data and run.
    pub fn train_arguments(
        &self,
        task: &TaskPlan,
        method: &MethodPlan,
        plan: &Plan,
    ) -> Vec<String> {
        let budget = task.budget.or(&plan.budget);
        let mut arguments: Vec<String> = [
            ("--task", Some(task.name.clone())),
            ("--train-split", task.train.clone()),
            ("--method", Some(method.pelt_name().into())),
            ("--head", method.head.clone()),
            ("--lr", Some(self.learning_rate.to_string())),
            ("--seed", Some(self.seed.to_string())),
            ("--epochs", text(budget.epochs)),
            ("--batch-size", text(budget.batch_size)),
            ("--max-length", text(budget.max_length)),
            ("--train-rows", text(budget.train_rows)),
            ("--dev-rows", text(budget.dev_rows)),
            ("--patience", text(budget.patience)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some([name.to_string(), value?]))
        .flatten()
        .collect();
        for setting in &method.set {
            arguments.extend(["--set".to_string(), setting.clone()]);
        }
        arguments
    }
}

fn text(value: Option<u32>) -> Option<String> {
    value.map(|value| value.to_string())
}

/// The runs that choose learning rates: every task, method and rate with the first seed.
pub fn trials(plan: &Plan) -> Vec<Cell> {
    let Some(seed) = plan.seeds.first() else {
        return Vec::new();
    };
    let mut cells = Vec::new();
    for task in &plan.tasks {
        for method in &plan.methods {
            for rate in &method.learning_rates {
                cells.push(Cell {
                    task: task.name.clone(),
                    method: method.name.clone(),
                    learning_rate: *rate,
                    seed: *seed,
                });
            }
        }
    }
    cells
}

/// The learning rate with the best score on the development rows, the smaller one where two are equal; `None` where no trial
/// has a score.
pub fn chosen_rate(plan: &Plan, task: &str, method: &str, records: &[Record]) -> Option<f64> {
    let seed = plan.seeds.first()?;
    let mut tried: Vec<(f64, f64)> = records
        .iter()
        .filter(|record| {
            let cell = &record.cell;
            cell.task == task && cell.method == method && cell.seed == *seed
        })
        .map(|record| (record.cell.learning_rate, record.development.score))
        .filter(|(_, score)| score.is_finite())
        .collect();
    tried.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.total_cmp(&right.0)));
    tried.first().map(|(rate, _)| *rate)
}

/// A run whose learning rate is chosen by trials.
#[derive(Debug, Clone, PartialEq)]
pub struct Final {
    /// Name of the task.
    pub task: String,
    /// Name of the method in the plan.
    pub method: String,
    /// Seed of everything random.
    pub seed: u64,
}

impl Final {
    /// The cell with the learning rate that the trials chose; `None` where none of them has a score.
    pub fn cell(&self, plan: &Plan, records: &[Record]) -> Option<Cell> {
        let learning_rate = chosen_rate(plan, &self.task, &self.method, records)?;
        Some(Cell {
            task: self.task.clone(),
            method: self.method.clone(),
            learning_rate,
            seed: self.seed,
        })
    }
}

/// The runs with the other seeds, seed by seed. That with the first seed is among the trials.
pub fn finals(plan: &Plan) -> Vec<Final> {
    let mut finals = Vec::new();
    for seed in plan.seeds.iter().skip(1) {
        for task in &plan.tasks {
            finals.extend(plan.methods.iter().map(|method| Final {
                task: task.name.clone(),
                method: method.name.clone(),
                seed: *seed,
            }));
        }
    }
    finals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;

    fn plan() -> Plan {
        let mut plan = Plan::suite("smoke").unwrap();
        plan.seeds = vec![7, 8, 9];
        plan.tasks.truncate(1);
        plan.methods.truncate(2);
        plan.methods[0].learning_rates = vec![1e-4, 2e-4];
        plan.methods[1].learning_rates = vec![5e-4];
        plan
    }

    #[test]
    fn a_rate_is_chosen_on_the_development_rows_with_the_first_seed() {
        let plan = plan();
        let (task, method) = (&plan.tasks[0].name, &plan.methods[0].name);
        let found = |scores: &[(f64, u64, f64)]| {
            let records: Vec<Record> = scores
                .iter()
                .map(|(rate, seed, score)| record(task, method, *rate, *seed, *score))
                .collect();
            chosen_rate(&plan, task, method, &records)
        };
        assert_eq!(
            found(&[(1e-4, 7, 0.5), (2e-4, 7, 0.6), (1e-4, 8, 0.9)]),
            Some(2e-4)
        );
        assert_eq!(found(&[(2e-4, 7, 0.5), (1e-4, 7, 0.5)]), Some(1e-4));
        assert_eq!(found(&[(2e-4, 7, f64::NAN), (1e-4, 7, 0.1)]), Some(1e-4));
        assert_eq!(found(&[(2e-4, 8, 0.5)]), None);
    }

    #[test]
    fn trials_have_every_rate_and_finals_the_chosen_one() {
        let plan = plan();
        assert_eq!(trials(&plan).len(), 3);
        assert!(trials(&plan).iter().all(|cell| cell.seed == 7));
        let records = [
            record(&plan.tasks[0].name, &plan.methods[0].name, 1e-4, 7, 0.1),
            record(&plan.tasks[0].name, &plan.methods[0].name, 2e-4, 7, 0.2),
        ];
        let cells = finals(&plan)
            .into_iter()
            .map(|one| one.cell(&plan, &records));
        let found: Vec<_> = cells
            .map(|cell| cell.map(|cell| (cell.learning_rate, cell.seed)))
            .collect();
        // The second method has no trial, and so no rate.
        assert_eq!(found, [Some((2e-4, 8)), None, Some((2e-4, 9)), None]);
    }

    #[test]
    fn a_task_s_budget_reaches_the_command_line() {
        let mut plan = plan();
        plan.tasks[0].budget.epochs = Some(9);
        plan.budget.train_rows = Some(100);
        plan.methods[0].set = vec!["lora.r=4".into()];
        let cell = &trials(&plan)[0];
        let line = cell
            .train_arguments(&plan.tasks[0], &plan.methods[0], &plan)
            .join(" ");
        for part in [
            "--epochs 9",
            "--train-rows 100",
            "--set lora.r=4",
            "--lr 0.0001",
            "--seed 7",
        ] {
            assert!(line.contains(part), "{line}");
        }
        assert!(!line.contains("--patience"), "{line}");
    }
}
