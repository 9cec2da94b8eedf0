//! The cells of a plan that a results folder holds.

use std::path::Path;

use crate::{Cell, Failure, GridError, Plan, Record, chosen_rate, trials};

/// What became of a cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// It is finished.
    Done(Box<Record>),
    /// It failed, and this is why.
    Failed(String),
    /// It has not been run, or is running.
    Missing,
}

/// A cell that the plan wants, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub cell: Cell,
    pub outcome: Outcome,
}

impl Found {
    pub(crate) fn record(&self) -> Option<&Record> {
        match &self.outcome {
            Outcome::Done(record) => Some(record),
            Outcome::Failed(_) | Outcome::Missing => None,
        }
    }
}

/// All trials, and the runs of the other seeds at the learning rates that were chosen, in the plan's order of tasks and methods.
/// Where no rate is chosen yet, the other seeds are missing at the plan's first one.
pub(crate) fn read_cells(plan: &Plan, results: &Path) -> Result<Vec<Found>, GridError> {
    let mut found = Vec::new();
    for cell in trials(plan) {
        found.push(read_cell(cell, results)?);
    }
    let records: Vec<Record> = found
        .iter()
        .filter_map(|one| one.record().cloned())
        .collect();
    for task in &plan.tasks {
        for method in &plan.methods {
            let chosen = chosen_rate(plan, &task.name, &method.name, &records);
            let Some(learning_rate) = chosen.or(method.learning_rates.first().copied()) else {
                continue;
            };
            for seed in plan.seeds.iter().skip(1) {
                let cell = Cell {
                    task: task.name.clone(),
                    method: method.name.clone(),
                    learning_rate,
                    seed: *seed,
                };
                found.push(match chosen {
                    Some(_) => read_cell(cell, results)?,
                    None => Found {
                        cell,
                        outcome: Outcome::Missing,
                    },
                });
            }
        }
    }
    let place = |cell: &Cell| {
        let task = plan.tasks.iter().position(|task| task.name == cell.task);
        let method = plan.methods.iter().position(|one| one.name == cell.method);
        (task, method)
    };
    // The sort keeps the order within a method: the trials, then the other seeds.
    found.sort_by_key(|one| place(&one.cell));
    Ok(found)
}

fn read_cell(cell: Cell, results: &Path) -> Result<Found, GridError> {
    let folder = cell.folder(results);
    let outcome = match Record::read(&folder)? {
        Some(record) if record.cell != cell => {
            let other = format!("it holds the record of {}", record.cell.id());
            return Err(GridError::file(&folder, other));
        }
        Some(record) => Outcome::Done(Box::new(record)),
        None => match Failure::read(&folder)? {
            Some(failure) => Outcome::Failed(failure.message),
            None => Outcome::Missing,
        },
    };
    Ok(Found { cell, outcome })
}
