//! What is measured, in which order.

use anyhow::{Result, ensure};

use super::acceptance::UNION;
use crate::bench::program::Words;

/// What the measurements depend on.
#[derive(Debug, Clone)]
pub struct Settings {
    pub model: String,
    pub data: Option<String>,
    pub tasks: Vec<String>,
    /// Methods of the table.
    pub methods: Vec<String>,
    pub rounds: usize,
    pub table_rounds: usize,
    /// Timed steps inside one run.
    pub step_rounds: usize,
    pub ceiling_seconds: f64,
    /// Steps that stand for an epoch; all of them without it.
    pub steps: Option<usize>,
    pub threads: Option<usize>,
}

impl Settings {
    /// The steps that stand for an epoch.
    pub fn sampled(&self) -> Option<usize> {
        self.steps
    }
}

/// One measurement: how both sides are asked for it, and how often.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    pub name: String,
    pub ours: Vec<String>,
    /// Absent where it is about our side alone.
    pub theirs: Option<Vec<String>>,
    /// What our side measures in the same turn, under a name of its own, because one is compared with the other.
    pub beside: Option<(&'static str, Vec<String>)>,
    pub rounds: usize,
}

/// The rows that have a target first, then the table of all methods.
pub fn measurements(settings: &Settings) -> Vec<Measurement> {
    let mut plan = vec![
        Measurement {
            beside: Some(("ceiling", ceiling(settings))),
            ..step(settings, "step", "lora-qv", settings.rounds)
        },
        step(settings, "step", "full", settings.rounds),
    ];
    if settings.data.is_some() {
        for task in &settings.tasks {
            plan.push(epoch(
                settings,
                &format!("epoch {task}"),
                UNION,
                task,
                "dynamic",
                settings.rounds,
            ));
        }
        if settings.tasks.iter().any(|task| task == "cola") {
            plan.push(epoch(
                settings,
                "epoch cola max",
                UNION,
                "cola",
                "max",
                settings.rounds,
            ));
        }
        if let Some(task) = settings.tasks.first() {
            plan.push(infer(
                settings,
                &format!("infer {task}"),
                UNION,
                task,
                settings.rounds,
            ));
        }
    }
    plan.push(scaling(settings));
    for method in &settings.methods {
        plan.push(step(settings, "table step", method, settings.table_rounds));
        if let (Some(_), Some(task)) = (&settings.data, settings.tasks.first()) {
            let name = |kind: &str| format!("table {kind} {method}");
            plan.push(epoch(
                settings,
                &name("epoch"),
                method,
                task,
                "dynamic",
                settings.table_rounds,
            ));
            plan.push(infer(
                settings,
                &name("infer"),
                method,
                task,
                settings.table_rounds,
            ));
        }
    }
    plan
}

/// The measurements whose names begin with one of the words; all of them without words.
pub fn chosen(plan: Vec<Measurement>, words: &[String]) -> Result<Vec<Measurement>> {
    for word in words {
        let names: Vec<&str> = plan.iter().map(|one| one.name.as_str()).collect();
        ensure!(
            names.iter().any(|name| name.starts_with(word.as_str())),
            "--only {word}: no measurement's name begins so; there are {}",
            names.join(", ")
        );
    }
    let wanted = |one: &Measurement| words.iter().any(|word| one.name.starts_with(word.as_str()));
    Ok(plan
        .into_iter()
        .filter(|one| words.is_empty() || wanted(one))
        .collect())
}

fn ceiling(settings: &Settings) -> Vec<String> {
    command(settings, "ceiling")
        .option("--seconds", settings.ceiling_seconds)
        .words
}

fn step(settings: &Settings, name: &str, method: &str, rounds: usize) -> Measurement {
    let words = command(settings, "step")
        .option("--model", &settings.model)
        .option("--method", method)
        .option("--batch", 32)
        .option("--length", 64)
        .option("--dropout", "off")
        .option("--rounds", settings.step_rounds)
        .words;
    Measurement {
        name: format!("{name} {method}"),
        ours: words.clone(),
        theirs: Some(words),
        beside: None,
        rounds,
    }
}

fn scaling(settings: &Settings) -> Measurement {
    Measurement {
        name: "scaling".to_string(),
        ours: command(settings, "scaling")
            .option("--model", &settings.model)
            .option("--method", "lora")
            // Seven shapes that take turns need many of them to meet the same machine.
            .option("--rounds", 4 * settings.step_rounds)
            .words,
        theirs: None,
        beside: None,
        rounds: settings.table_rounds,
    }
}

/// Our side pads nothing, whatever `padding` says of theirs.
fn epoch(
    settings: &Settings,
    name: &str,
    method: &str,
    task: &str,
    padding: &str,
    rounds: usize,
) -> Measurement {
    let mut ours = task_command(settings, "epoch", method, task);
    if let Some(steps) = settings.steps {
        ours = ours.option("--steps", steps);
    }
    let ours = ours.words;
    let mut theirs = ours.clone();
    theirs.extend(["--padding".to_string(), padding.to_string()]);
    Measurement {
        name: name.to_string(),
        ours,
        theirs: Some(theirs),
        beside: None,
        rounds,
    }
}

fn infer(settings: &Settings, name: &str, method: &str, task: &str, rounds: usize) -> Measurement {
    let ours = task_command(settings, "infer", method, task).words;
    Measurement {
        name: name.to_string(),
        theirs: Some(ours.clone()),
        ours,
        beside: None,
        rounds,
    }
}

fn task_command(settings: &Settings, kind: &str, method: &str, task: &str) -> Words {
    command(settings, kind)
        .option("--model", &settings.model)
        .option("--method", method)
        .option("--task", task)
        .option("--data", settings.data.as_deref().unwrap_or_default())
        .option("--batch", 32)
}

fn command(settings: &Settings, kind: &str) -> Words {
    let words = Words::new(kind);
    match settings.threads {
        Some(threads) => words.option("--threads", threads),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            model: "model".to_string(),
            data: Some("data".to_string()),
            tasks: vec!["mrpc".to_string(), "cola".to_string()],
            methods: vec!["prefix".to_string()],
            rounds: 3,
            table_rounds: 1,
            step_rounds: 15,
            ceiling_seconds: 3.0,
            steps: Some(40),
            threads: None,
        }
    }

    fn names(settings: &Settings) -> Vec<String> {
        measurements(settings)
            .into_iter()
            .map(|measurement| measurement.name)
            .collect()
    }

    #[test]
    fn rows_with_a_target_come_before_the_table() {
        let expected = [
            "step lora-qv",
            "step full",
            "epoch mrpc",
            "epoch cola",
            "epoch cola max",
            "infer mrpc",
            "scaling",
            "table step prefix",
            "table epoch prefix",
            "table infer prefix",
        ];
        assert_eq!(names(&settings()), expected);
    }

    #[test]
    fn measurements_can_be_chosen_by_how_their_names_begin() {
        let only = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
            chosen(measurements(&settings()), &words)
        };
        let names = |plan: Vec<Measurement>| -> Vec<String> {
            plan.into_iter().map(|one| one.name).collect()
        };
        assert_eq!(only(&[]).unwrap().len(), 10);
        let some = names(only(&["scaling", "epoch cola"]).unwrap());
        assert_eq!(some, ["epoch cola", "epoch cola max", "scaling"]);
        let message = only(&["infer", "speed"]).unwrap_err().to_string();
        assert!(message.starts_with("--only speed:"), "{message}");
        assert!(message.contains("infer mrpc"), "{message}");
    }

    #[test]
    fn the_ceiling_is_measured_in_turn_with_the_step_that_is_compared_with_it() {
        let plan = measurements(&settings());
        let beside: Vec<_> = plan.iter().filter_map(|one| one.beside.as_ref()).collect();
        assert_eq!(beside.len(), 1);
        assert_eq!(beside[0].0, "ceiling");
        assert!(plan[0].name == "step lora-qv" && plan[0].beside.is_some());
    }

    #[test]
    fn without_data_there_are_no_real_rows() {
        let mut settings = settings();
        settings.data = None;
        assert_eq!(
            names(&settings),
            ["step lora-qv", "step full", "scaling", "table step prefix"]
        );
    }

    #[test]
    fn only_the_other_side_is_told_how_to_pad() {
        let plan = measurements(&settings());
        let max = plan
            .iter()
            .find(|measurement| measurement.name == "epoch cola max")
            .unwrap();
        assert!(!max.ours.contains(&"--padding".to_string()));
        assert!(
            max.theirs
                .as_ref()
                .unwrap()
                .ends_with(&["--padding".to_string(), "max".to_string()])
        );
        assert!(
            max.ours
                .ends_with(&["--steps".to_string(), "40".to_string()])
        );
        let mut whole = settings();
        whole.steps = None;
        assert!(
            measurements(&whole)
                .iter()
                .all(|measurement| !measurement.ours.contains(&"--steps".to_string()))
        );
    }
}
