//! How results came about, in words: the head of a report and its account of the protocol.

use std::collections::BTreeSet;

use super::format;
use super::resample::RESAMPLES;
use super::summary::Summary;
use crate::Record;

/// What was compared, and with what: names and what stands for them.
pub(crate) fn facts(summary: &Summary) -> Vec<(&'static str, String)> {
    let plan = &summary.plan;
    let mut facts = vec![
        ("Plan", plan.name.clone()),
        (
            "Grid",
            [
                format::of_things(plan.tasks.len(), "task"),
                format::of_things(plan.methods.len(), "method"),
                format::of_things(plan.seeds.len(), "seed"),
            ]
            .join(" × "),
        ),
        ("Encoder", encoder(summary)),
    ];
    if let Some(data) = &plan.data {
        facts.push(("Data", data.clone()));
    }
    let different = |part: &dyn Fn(&Record) -> Option<String>| {
        let all: BTreeSet<String> = summary.records.iter().filter_map(part).collect();
        all.into_iter()
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join("; ")
    };
    for (name, text) in [
        (
            "Machine",
            different(&|record| {
                let machine = &record.machine;
                let memory = format::memory(machine.memory_mib as f64);
                let cores = format::of_things(machine.cores, "core");
                (machine.cores > 0)
                    .then(|| format!("{}, {cores}, {memory}, {}", machine.cpu, machine.system))
            }),
        ),
        (
            "Device",
            different(&|record| {
                let machine = &record.machine;
                let gpu = machine.gpu.as_ref();
                let gpu = gpu.map_or(String::new(), |gpu| format!(" ({gpu})"));
                Some(format!("{}{gpu}", machine.device))
            }),
        ),
        (
            "Version",
            different(&|record| Some(record.machine.pelt.clone())),
        ),
        ("Commit", different(&|record| record.machine.commit.clone())),
    ] {
        if !text.is_empty() {
            facts.push((name, text));
        }
    }
    facts
}

fn encoder(summary: &Summary) -> String {
    let weights: BTreeSet<&str> = summary
        .records
        .iter()
        .map(|record| record.model.get(..12).unwrap_or(&record.model))
        .collect();
    let weights = weights.into_iter().collect::<Vec<_>>().join(", ");
    let name = summary.encoder();
    match weights.is_empty() {
        true => name.into(),
        false => format!("{name} (weights {weights})"),
    }
}

/// How far the grid is.
pub(crate) fn progress(summary: &Summary) -> (usize, usize, String) {
    let done = summary.records.len();
    let all = done + summary.failures.len() + summary.missing.len();
    let mut parts = vec![format!(
        "{} of {} finished",
        format::grouped(done as u64),
        format::of_things(all, "run")
    )];
    if !summary.failures.is_empty() {
        parts.push(format!("{} failed", summary.failures.len()));
    }
    if !summary.missing.is_empty() {
        parts.push(format!("{} missing", summary.missing.len()));
    }
    (done, all, parts.join(", "))
}

/// The protocol: a heading and what belongs to it.
pub(crate) fn protocol(summary: &Summary) -> Vec<(&'static str, String)> {
    let plan = &summary.plan;
    let first = plan.seeds.first().copied().unwrap_or_default();
    let seeds: Vec<String> = plan.seeds.iter().map(u64::to_string).collect();
    let deviation = match plan.seeds.len() {
        1 => "With a single seed there is no deviation.",
        _ => "What stands behind ± is the standard deviation of the sample (with n − 1).",
    };
    vec![
        (
            "Learning rates",
            format!(
                "Every learning rate of the plan was run with seed {first}. The one with the best score on the rows that choose is used \
                 with all seeds; the reported rows take no part in that. Where not every rate has been tried yet, the report says that \
                 the rate is not final."
            ),
        ),
        (
            "Rows",
            rows(summary),
        ),
        (
            "Scores",
            format!(
                "A score is the mean over the seeds {}. {deviation} Scores are percentages, but for errors. The best mean of a task is \
                 bold and the second best underlined, among the methods that have every seed. An average over tasks is only given for a \
                 method that has every seed of every task.",
                format::and(&seeds)
            ),
        ),
        (
            "Significance",
            format!(
                "Every method is tested against {} with a paired bootstrap: {} times, as many reported rows as there are were drawn with \
                 replacement, the same ones for both methods and all seeds, and the difference of the methods' mean scores over the \
                 seeds that both have was computed. The p value is two-sided; a difference with p < 0.05 is marked with ▲ or ▼ (in the \
                 tables of the tasks also with *), and the interval holds 95 % of the drawn differences. The test covers the choice of \
                 the reported rows. The variance between seeds only enters by averaging over them, and no correction is made for the \
                 number of comparisons.",
                plan.reference,
                format::grouped(RESAMPLES as u64)
            ),
        ),
        ("Budget", budget(summary)),
        (
            "Cost",
            "Sizes, times and memory are medians over the seeds. An epoch is the time of its training steps alone; training includes the \
             evaluations. Trainable parameters include the head of the task. Times are those of the machine above, and runs that were \
             made side by side slow each other down."
                .into(),
        ),
    ]
}

fn rows(summary: &Summary) -> String {
    let mut text = String::from(
        "There are three sets of rows, which the table above names: those that are trained on, those that choose the learning rate \
         and the best weights of a run, and those that are reported. A set under another name than the published one, or with fewer \
         rows, says so wherever it is shown.",
    );
    let tasks = summary.tasks.iter().filter(|task| task.chose_on_reported());
    let tasks: Vec<String> = tasks.map(|task| task.name.clone()).collect();
    if !tasks.is_empty() {
        text.push_str(&format!(
            " On {} the reported rows are also those that chose, so that scores are too good.",
            format::and(&tasks)
        ));
    }
    text
}

fn budget(summary: &Summary) -> String {
    let plan = &summary.plan;
    let describe = |budget: &crate::Budget| {
        let parts: Vec<String> = [
            budget.epochs.map(|value| format!("{value} epochs")),
            budget
                .batch_size
                .map(|value| format!("batches of {value} rows")),
            budget
                .max_length
                .map(|value| format!("at most {value} tokens a text")),
            budget
                .train_rows
                .map(|value| format!("{value} training rows")),
            budget
                .dev_rows
                .map(|value| format!("{value} rows of the training set that choose")),
            budget
                .patience
                .map(|value| format!("an end after {value} evaluations without a better score")),
            budget
                .cell_minutes
                .map(|value| format!("at most {value} minutes a run")),
        ]
        .into_iter()
        .flatten()
        .collect();
        format::and(&parts)
    };
    let mut text = match describe(&plan.budget) {
        text if text.is_empty() => "Every run has the program's defaults.".to_string(),
        text => format!("Every run has {text}; what is not named is the program's default."),
    };
    for task in &plan.tasks {
        let own = describe(&task.budget);
        if !own.is_empty() {
            text.push_str(&format!(" {} has {own}.", task.name));
        }
    }
    text
}
