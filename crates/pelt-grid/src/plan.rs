//! What is compared: tasks, methods, seeds and budget, read from TOML.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::GridError;

/// The plans that come with the program.
const SUITES: [(&str, &str); 5] = [
    ("glue", include_str!("../suites/glue.toml")),
    ("domain", include_str!("../suites/domain.toml")),
    ("squad", include_str!("../suites/squad.toml")),
    ("low-resource", include_str!("../suites/low-resource.toml")),
    ("smoke", include_str!("../suites/smoke.toml")),
];

/// The first seed where only a number of seeds is given.
const FIRST_SEED: u64 = 42;

/// More seeds than anybody needs.
const MOST_SEEDS: u64 = 1000;

/// A year.
const MOST_MINUTES: f64 = 525_600.0;

/// A grid of runs: every task with every method and every seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name of the results folder.
    pub name: String,
    /// What is compared, for the head of the report.
    #[serde(default)]
    pub description: String,
    /// Folder of the pretrained encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Folder of the data sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Seeds of the runs that are reported. The first one also chooses the learning rates.
    pub seeds: Vec<u64>,
    /// The method that the others are tested against.
    #[serde(default = "full")]
    pub reference: String,
    /// Settings of every run, where a task has none of its own.
    pub budget: Budget,
    /// The tasks, in the order of the report.
    pub tasks: Vec<TaskPlan>,
    /// The methods, in the order of the report.
    pub methods: Vec<MethodPlan>,
}

fn full() -> String {
    "full".into()
}

/// How much training a run gets. What is left out is `pelt train`'s default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Passes over the training rows.
    pub epochs: Option<u32>,
    /// Rows of a batch.
    pub batch_size: Option<u32>,
    /// Longest sequence in tokens.
    pub max_length: Option<u32>,
    /// Training rows, of the shuffled ones.
    pub train_rows: Option<u32>,
    /// Rows of the training set that choose learning rates and weights in the place of the task's development set, which then
    /// is what is reported.
    pub dev_rows: Option<u32>,
    /// Evaluations without a better score after which a run ends.
    pub patience: Option<u32>,
    /// Minutes after which a run is stopped, and counts as failed.
    pub cell_minutes: Option<f64>,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskPlan {
    /// A task of `pelt tasks`.
    pub name: String,
    /// The split that is reported, where it is not the task's evaluation split. Learning rates and weights are never chosen
    /// on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// The split that is trained on, where it is not the task's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// Settings instead of the plan's.
    #[serde(default)]
    pub budget: Budget,
}

/// One method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodPlan {
    /// Its name in the report.
    pub name: String,
    /// Its name in `pelt methods`, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Learning rates to choose from.
    pub learning_rates: Vec<f64>,
    /// Settings for `--set`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
    /// Kind of head, for `--head`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
}

impl MethodPlan {
    /// The method's name in `pelt methods`.
    pub fn pelt_name(&self) -> &str {
        self.method.as_deref().unwrap_or(&self.name)
    }
}

impl Budget {
    /// These settings, and the others where these have none.
    pub fn or(&self, others: &Self) -> Self {
        Self {
            epochs: self.epochs.or(others.epochs),
            batch_size: self.batch_size.or(others.batch_size),
            max_length: self.max_length.or(others.max_length),
            train_rows: self.train_rows.or(others.train_rows),
            dev_rows: self.dev_rows.or(others.dev_rows),
            patience: self.patience.or(others.patience),
            cell_minutes: self.cell_minutes.or(others.cell_minutes),
        }
    }
}

impl Plan {
    /// A plan that comes with the program.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn suite(name: &str) -> Result<Self, GridError> {
        let Some((_, text)) = SUITES.iter().find(|(known, _)| *known == name) else {
            return Err(GridError::UnknownSuite {
                name: name.into(),
                known: SUITES.map(|(known, _)| known).to_vec(),
            });
        };
        Self::parse(text, &format!("suite {name}"))
    }

    /// A plan from a file.
    ///
    /// # Errors
    /// If the file cannot be read or is no plan.
    pub fn read(path: &Path) -> Result<Self, GridError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| GridError::io(path, "be read", error))?;
        Self::parse(&text, &path.display().to_string())
    }

    fn parse(text: &str, place: &str) -> Result<Self, GridError> {
        let problem = |problem: String| GridError::Plan {
            place: place.into(),
            problem,
        };
        let plan: Self = toml::from_str(text).map_err(|error| problem(sentence(text, &error)))?;
        plan.check().map_err(problem)?;
        Ok(plan)
    }

    /// Keeps the tasks and methods that are named, and takes this many seeds.
    ///
    /// # Errors
    /// If the plan has no task or method of a name, or nothing is left.
    pub fn narrow(
        &mut self,
        tasks: &[String],
        methods: &[String],
        seeds: Option<u64>,
    ) -> Result<(), GridError> {
        let problem = |problem: String| GridError::Plan {
            place: self.name.clone(),
            problem,
        };
        let have: Vec<&str> = self.tasks.iter().map(|task| task.name.as_str()).collect();
        known(tasks, &have, "task").map_err(problem)?;
        let have: Vec<&str> = self.methods.iter().map(|one| one.name.as_str()).collect();
        known(methods, &have, "method").map_err(problem)?;
        if !tasks.is_empty() {
            self.tasks.retain(|task| tasks.contains(&task.name));
        }
        if !methods.is_empty() {
            self.methods.retain(|method| methods.contains(&method.name));
        }
        if let Some(count) = seeds {
            if count > MOST_SEEDS {
                return Err(problem(too_many_seeds(count)));
            }
            self.seeds = (FIRST_SEED..FIRST_SEED + count).collect();
        }
        self.check().map_err(|problem| GridError::Plan {
            place: self.name.clone(),
            problem,
        })
    }

    /// Checks that no learning rate will be chosen by rows that are reported.
    ///
    /// # Errors
    /// If a method has several rates for a task that keeps no rows to choose by.
    pub fn check_choice(&self) -> Result<(), GridError> {
        let choosing = self.methods.iter().find(|one| one.learning_rates.len() > 1);
        let on_reported = self
            .tasks
            .iter()
            .find(|task| task.report.is_none() && task.budget.or(&self.budget).dev_rows.is_none());
        let Some((method, task)) = choosing.zip(on_reported) else {
            return Ok(());
        };
        Err(GridError::Plan {
            place: self.name.clone(),
            problem: format!(
                "task {}: the rows that are reported would choose the learning rate of {}; keep training rows for that with \
                 dev_rows, report another split with `report`, or give every method one rate",
                task.name, method.name
            ),
        })
    }

    fn check(&self) -> Result<(), String> {
        check_name("name", &self.name)?;
        for (what, names) in [
            (
                "task",
                self.tasks.iter().map(|t| &t.name).collect::<Vec<_>>(),
            ),
            ("method", self.methods.iter().map(|m| &m.name).collect()),
        ] {
            if names.is_empty() {
                return Err(format!("there is no {what}"));
            }
            for name in &names {
                check_name(what, name)?;
            }
            let different: BTreeSet<_> = names.iter().collect();
            if different.len() < names.len() {
                return Err(format!("two {what}s have the same name"));
            }
        }
        if self.seeds.is_empty() {
            return Err("there is no seed".into());
        }
        if self.seeds.iter().collect::<BTreeSet<_>>().len() < self.seeds.len() {
            return Err("a seed is there twice".into());
        }
        let seeds = self.seeds.len() as u64;
        if seeds > MOST_SEEDS {
            return Err(too_many_seeds(seeds));
        }
        let budgets = self.tasks.iter().map(|task| &task.budget);
        for minutes in budgets
            .chain([&self.budget])
            .filter_map(|one| one.cell_minutes)
        {
            if !(minutes > 0.0 && minutes <= MOST_MINUTES) {
                return Err(format!(
                    "cell_minutes should be above 0 and at most {MOST_MINUTES}, but is {minutes}"
                ));
            }
        }
        for method in &self.methods {
            let rates = &method.learning_rates;
            if rates.is_empty() || rates.iter().any(|rate| !(rate.is_finite() && *rate > 0.0)) {
                return Err(format!(
                    "method {}: learning_rates should be one or more positive numbers, but are {rates:?}",
                    method.name
                ));
            }
        }
        Ok(())
    }
}

fn too_many_seeds(count: u64) -> String {
    format!("there should be at most {MOST_SEEDS} seeds, but there are {count}")
}

/// What is wrong with a text, and in which line, in one sentence.
fn sentence(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let message = error.message().replace('\n', " ");
    match before {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message,
    }
}

fn known(wanted: &[String], have: &[&str], what: &str) -> Result<(), String> {
    match wanted.iter().find(|name| !have.contains(&name.as_str())) {
        Some(name) => Err(format!(
            "has no {what} `{name}`; it has {}",
            have.join(", ")
        )),
        None => Ok(()),
    }
}

/// Names become folders, so that they must be plain.
fn check_name(what: &str, name: &str) -> Result<(), String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-+.".contains(letter);
    if name.is_empty() || name.starts_with('.') || name.len() > 80 || !name.chars().all(plain) {
        return Err(format!(
            "{what} `{name}`: a name should have letters, digits, `_`, `-`, `+` and `.` only, and not start with a dot"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        name = "small"
        seeds = [1, 2]
        [budget]
        epochs = 3
        batch_size = 16
        [[tasks]]
        name = "mrpc"
        budget = { epochs = 5 }
        [[methods]]
        name = "full"
        learning_rates = [1e-4]
        [[methods]]
        name = "lora-16"
        method = "lora"
        set = ["lora.r=16"]
        learning_rates = [5e-4, 1e-3]
    "#;

    #[test]
    fn reported_rows_choose_no_learning_rate() {
        for (name, _) in SUITES {
            Plan::suite(name).unwrap().check_choice().unwrap();
        }
        let mut plan = Plan::parse(SMALL, "small").unwrap();
        let message = plan.check_choice().unwrap_err().to_string();
        assert!(
            message.contains("mrpc") && message.contains("lora-16"),
            "{message}"
        );
        plan.budget.dev_rows = Some(100);
        plan.check_choice().unwrap();
        plan.budget.dev_rows = None;
        plan.tasks[0].report = Some("test".into());
        plan.check_choice().unwrap();
        plan.tasks[0].report = None;
        plan.methods[1].learning_rates.truncate(1);
        plan.check_choice().unwrap();
    }

    #[test]
    fn every_suite_is_a_plan() {
        for (name, _) in SUITES {
            let plan = Plan::suite(name).unwrap();
            assert_eq!(plan.name, name);
            let methods: Vec<_> = plan.methods.iter().map(|method| &method.name).collect();
            assert!(methods.contains(&&plan.reference), "{name}: {methods:?}");
        }
        let message = Plan::suite("gleu").unwrap_err().to_string();
        assert!(
            message.contains("glue") && message.contains("gleu"),
            "{message}"
        );
    }

    #[test]
    fn a_task_has_its_own_budget_before_the_plans() {
        let plan = Plan::parse(SMALL, "here").unwrap();
        let budget = plan.tasks[0].budget.or(&plan.budget);
        assert_eq!((budget.epochs, budget.batch_size), (Some(5), Some(16)));
        assert_eq!(plan.methods[1].pelt_name(), "lora");
        assert_eq!(plan.reference, "full");
    }

    #[test]
    fn a_plan_is_narrowed_to_what_it_has() {
        let mut plan = Plan::parse(SMALL, "here").unwrap();
        let message = plan.narrow(&[], &["lora".into()], None).unwrap_err();
        assert!(message.to_string().contains("full, lora-16"), "{message}");
        plan.narrow(&[], &["lora-16".into()], Some(3)).unwrap();
        assert_eq!(plan.methods.len(), 1);
        assert_eq!(plan.seeds, [42, 43, 44]);
        assert!(plan.narrow(&[], &[], Some(0)).is_err());
        let message = plan
            .narrow(&[], &[], Some(u64::MAX))
            .unwrap_err()
            .to_string();
        assert!(message.contains("at most 1000"), "{message}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, expected) in [
            ("name = \"small\"", "name = \"../x\"", "`../x`"),
            ("[1e-4]", "[]", "method full"),
            ("[1e-4]", "[-1.0]", "method full"),
            ("seeds = [1, 2]", "seeds = [1, 1]", "seed"),
            ("seeds = [1, 2]", "seeds = []", "no seed"),
            ("lora-16", "full", "same name"),
            ("epochs = 3", "epoch = 3", "line 5: unknown field `epoch`"),
            ("epochs = 3", "cell_minutes = -1.0", "cell_minutes"),
            ("epochs = 5", "cell_minutes = 1e300", "cell_minutes"),
        ] {
            let text = SMALL.replace(from, to);
            let message = Plan::parse(&text, "here").unwrap_err().to_string();
            assert!(
                message.starts_with("here: ")
                    && message.contains(expected)
                    && !message.contains('\n'),
                "{message}"
            );
        }
    }
}
