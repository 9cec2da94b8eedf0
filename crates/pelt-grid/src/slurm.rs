//! Cells as the tasks of a Slurm job array.

use std::path::{Path, PathBuf};
use std::process::Command;

use pelt_tensors::write_atomically;

use crate::{GridError, Plan, finals, trials};

/// How a bench is given to Slurm.
#[derive(Debug, Clone)]
pub struct Slurm {
    /// This program, as it is called on the nodes.
    pub program: PathBuf,
    /// Arguments of `cell` and `fetch` that say where model, data and `pelt` lie.
    pub arguments: Vec<String>,
    /// Generic resources of a cell, as `--gres` takes them, for example `gpu:1`.
    pub gres: Option<String>,
    /// Further options of every `sbatch`, for example `--partition=long`.
    pub options: Vec<String>,
    /// Cells that run at the same time at most.
    pub jobs: usize,
    /// Whether to come back only when the report is written.
    pub wait: bool,
}

/// A job: one script, once or once for each of `tasks`.
struct Job {
    name: &'static str,
    command: Vec<String>,
    tasks: Option<usize>,
    /// Whether it needs what a cell needs.
    is_cell: bool,
}

/// Writes the scripts to the folder `slurm` of the results and submits them: the fetching of assets, the trials once that has gone
/// well, the other seeds when all trials have ended, and the report when all has ended. Gives the jobs' numbers.
///
/// # Errors
/// If a script cannot be written or `sbatch` refuses it.
pub fn submit(
    plan: &Plan,
    results: &Path,
    slurm: &Slurm,
) -> Result<Vec<(String, String)>, GridError> {
    let folder = results.join("slurm");
    std::fs::create_dir_all(&folder)
        .map_err(|error| GridError::io(&folder, "be created", error))?;
    let mut submitted: Vec<(String, String)> = Vec::new();
    let jobs = jobs(plan, results, slurm);
    let last = jobs.len() - 1;
    for (number, job) in jobs.iter().enumerate() {
        let path = folder.join(format!("{}.sh", job.name));
        let text = script(job, plan, &folder, slurm);
        write_atomically(&path, text.as_bytes()).map_err(|error| GridError::file(&path, error))?;
        let mut command = Command::new("sbatch");
        command.arg("--parsable");
        // What follows the assets needs them; what follows cells takes them as they are.
        let condition = if number == 1 { "afterok" } else { "afterany" };
        if let Some((_, before)) = submitted.last() {
            command.args([format!("--dependency={condition}:{before}")]);
            if number == 1 {
                command.arg("--kill-on-invalid-dep=yes");
            }
        }
        if slurm.wait && number == last {
            command.arg("--wait");
        }
        let number = sbatch(command.arg(&path))?;
        submitted.push((job.name.to_string(), number));
    }
    Ok(submitted)
}

fn jobs(plan: &Plan, results: &Path, slurm: &Slurm) -> Vec<Job> {
    let program = |subcommand: &str| {
        let mut command = vec![slurm.program.display().to_string(), subcommand.to_string()];
        command.push(results.display().to_string());
        command
    };
    let with_places = |mut command: Vec<String>| {
        command.extend(slurm.arguments.iter().cloned());
        command
    };
    let cells = |phase: &str| {
        let mut command = with_places(program("cell"));
        command.extend(["--phase".into(), phase.into()]);
        command
    };
    let mut jobs = vec![
        Job {
            name: "assets",
            command: with_places(program("fetch")),
            tasks: None,
            is_cell: false,
        },
        Job {
            name: "trials",
            command: cells("trials"),
            tasks: Some(trials(plan).len()),
            is_cell: true,
        },
    ];
    let finals = finals(plan).len();
    if finals > 0 {
        jobs.push(Job {
            name: "finals",
            command: cells("finals"),
            tasks: Some(finals),
            is_cell: true,
        });
    }
    jobs.push(Job {
        name: "report",
        command: program("report"),
        tasks: None,
        is_cell: false,
    });
    jobs
}

fn script(job: &Job, plan: &Plan, folder: &Path, slurm: &Slurm) -> String {
    let mut lines = vec!["#!/bin/sh".to_string()];
    let mut option = |text: String| lines.push(format!("#SBATCH {text}"));
    option(format!("--job-name=pelt-{}-{}", plan.name, job.name));
    let output = match job.tasks {
        Some(tasks) => {
            option(format!(
                "--array=0-{}%{}",
                tasks.saturating_sub(1),
                slurm.jobs
            ));
            format!("{}-%a.txt", job.name)
        }
        None => format!("{}.txt", job.name),
    };
    option(format!(
        "--output={}",
        quoted(&folder.join(output).display().to_string())
    ));
    if let Some(gres) = slurm.gres.as_ref().filter(|_| job.is_cell) {
        option(format!("--gres={gres}"));
    }
    for other in &slurm.options {
        option(other.clone());
    }
    let mut command: Vec<String> = job.command.iter().map(|word| quoted(word)).collect();
    if job.tasks.is_some() {
        command.push("--index \"$SLURM_ARRAY_TASK_ID\"".into());
    }
    lines.push(format!("exec {}", command.join(" ")));
    lines.join("\n") + "\n"
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-+./=:,%@".contains(letter);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// Submits, and gives the job's number.
fn sbatch(command: &mut Command) -> Result<String, GridError> {
    let problem = |problem: String| GridError::Launcher {
        program: "sbatch",
        problem,
    };
    let output = command.output().map_err(|error| {
        problem(format!(
            "cannot be started ({error}); is Slurm installed here?"
        ))
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    // With `--wait` the exit code is the job's own; a number was given nevertheless.
    let number = text.lines().next().unwrap_or_default();
    let number = number.split(';').next().unwrap_or_default().trim();
    if number.is_empty() || !number.chars().all(|letter| letter.is_ascii_digit()) {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(problem(format!("refused the job: {}", message.trim())));
    }
    Ok(number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slurm() -> Slurm {
        Slurm {
            program: "/bin/pelt-grid".into(),
            arguments: vec!["--model".into(), "/my models/x".into()],
            gres: Some("gpu:1".into()),
            options: vec!["--partition=long".into()],
            jobs: 4,
            wait: false,
        }
    }

    #[test]
    fn a_cell_is_a_task_of_an_array() {
        let mut plan = Plan::suite("smoke").unwrap();
        plan.seeds = vec![1, 2, 3];
        let jobs = jobs(&plan, Path::new("/r"), &slurm());
        let names: Vec<_> = jobs.iter().map(|job| (job.name, job.tasks)).collect();
        let expected = [
            ("assets", None),
            ("trials", Some(8)),
            ("finals", Some(12)),
            ("report", None),
        ];
        assert_eq!(names, expected);
        let text = script(&jobs[1], &plan, Path::new("/r/slurm"), &slurm());
        assert!(text.starts_with("#!/bin/sh\n#SBATCH "), "{text}");
        for line in [
            "#SBATCH --array=0-7%4",
            "#SBATCH --gres=gpu:1",
            "#SBATCH --partition=long",
            "#SBATCH --output=/r/slurm/trials-%a.txt",
            "exec /bin/pelt-grid cell /r --model '/my models/x' --phase trials --index \"$SLURM_ARRAY_TASK_ID\"",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let text = script(&jobs[3], &plan, Path::new("/r/slurm"), &slurm());
        assert!(
            !text.contains("--gres") && !text.contains("--array"),
            "{text}"
        );
    }

    #[test]
    fn one_seed_needs_no_finals() {
        let mut plan = Plan::suite("smoke").unwrap();
        plan.seeds = vec![1];
        assert_eq!(jobs(&plan, Path::new("/r"), &slurm()).len(), 3);
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(quoted("a/b-1"), "a/b-1");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted("$(x)"), "'$(x)'");
        assert_eq!(quoted(""), "''");
    }
}
