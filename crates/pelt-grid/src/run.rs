//! Running one cell: training, scoring, and the record of both.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pelt_tensors::write_atomically;

use crate::lock::open_lock;
use crate::process::Pelt;
use crate::run_folder::{Course, Evaluated, RunFile};
use crate::{Cell, Cost, GpuMemory, GridError, Machine, MethodPlan, Plan, Record, TaskPlan};

/// What all cells of a bench share.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The program that trains and scores.
    pub pelt: Pelt,
    /// Folder of the pretrained encoder, or its name on the Hub.
    pub model: PathBuf,
    /// Folder of the data sets; from the Hub if `None`.
    pub data: Option<PathBuf>,
    /// Device to compute on.
    pub device: String,
    /// Whether trained weights stay when a cell is done.
    pub keep_weights: bool,
    /// Cells that run at the same time.
    pub jobs: usize,
    /// The commit that the program was built from, as far as it is known.
    pub commit: Option<String>,
}

/// The plan's entries for a cell.
///
/// # Errors
/// If the plan has no such task or method.
pub fn entries<'a>(
    plan: &'a Plan,
    cell: &Cell,
) -> Result<(&'a TaskPlan, &'a MethodPlan), GridError> {
    let task = plan.tasks.iter().find(|task| task.name == cell.task);
    let method = plan.methods.iter().find(|one| one.name == cell.method);
    task.zip(method).ok_or_else(|| GridError::Plan {
        place: plan.name.clone(),
        problem: format!("has no cell {}", cell.id()),
    })
}

/// The record of a cell that has one, which must have been made with what the plan says now and the encoder of this SHA-256.
///
/// # Errors
/// If it was made with other settings or another encoder, or cannot be read.
pub fn finished(
    cell: &Cell,
    plan: &Plan,
    results: &Path,
    encoder: &str,
) -> Result<Option<Record>, GridError> {
    let folder = cell.folder(results);
    let Some(record) = Record::read(&folder)? else {
        return Ok(None);
    };
    let (task, method) = entries(plan, cell)?;
    check_arguments(
        &folder,
        &record.arguments,
        &cell.train_arguments(task, method, plan),
    )?;
    if record.model != encoder {
        return Err(GridError::OtherSettings {
            path: folder,
            difference: format!(
                "an encoder with the SHA-256 {} then, {encoder} now",
                record.model
            ),
        });
    }
    Ok(Some(record))
}

/// Checks that a cell was run with what the plan says now.
fn check_arguments(folder: &Path, then: &[String], now: &[String]) -> Result<(), GridError> {
    if then == now {
        return Ok(());
    }
    Err(GridError::OtherSettings {
        path: folder.to_path_buf(),
        difference: format!("`{}` then, `{}` now", then.join(" "), now.join(" ")),
    })
}

/// Checks that the other cells of the task were trained on the same rows, and scored on the same.
fn check_rows(record: &Record, results: &Path) -> Result<(), GridError> {
    let task = record.cell.folder(results);
    let Some(task) = task.ancestors().nth(2) else {
        return Ok(());
    };
    let folders = |folder: &Path| -> Result<Vec<PathBuf>, GridError> {
        let entries =
            std::fs::read_dir(folder).map_err(|error| GridError::io(folder, "be read", error))?;
        let paths = entries.flatten().map(|entry| entry.path());
        Ok(paths.filter(|path| path.is_dir()).collect())
    };
    for method in folders(task)? {
        for folder in folders(&method)? {
            let Some(other) = Record::read(&folder)? else {
                continue;
            };
            if let Some(difference) = other.rows_differ(record) {
                return Err(GridError::OtherSettings {
                    path: folder,
                    difference,
                });
            }
        }
    }
    Ok(())
}

/// Keeps what a cell's run is trained with beside it, and checks that a run which was begun before was trained with that.
fn keep_arguments(folder: &Path, wanted: &[String]) -> Result<(), GridError> {
    let path = folder.join("arguments.json");
    let begun = ["run.json", "started.json"].map(|file| folder.join("run").join(file).exists());
    if begun.contains(&true) && path.exists() {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| GridError::io(&path, "be read", error))?;
        let then: Vec<String> =
            serde_json::from_str(&text).map_err(|error| GridError::file(&path, error))?;
        return check_arguments(folder, &then, wanted);
    }
    let text = serde_json::to_string(wanted).map_err(|error| GridError::file(&path, error))?;
    write_atomically(&path, text.as_bytes()).map_err(|error| GridError::file(&path, error))
}

/// Runs a cell, from the last checkpoint where it was begun before, and writes its record.
///
/// # Errors
/// If a process fails, or leaves something that cannot be used.
pub fn run_cell(
    cell: &Cell,
    plan: &Plan,
    results_folder: &Path,
    setup: &Setup,
) -> Result<Record, GridError> {
    let (task, method) = entries(plan, cell)?;
    let folder = cell.folder(results_folder);
    std::fs::create_dir_all(&folder)
        .map_err(|error| GridError::io(&folder, "be created", error))?;
    let hold = Hold::take(&folder)?;
    let run = folder.join("run");
    let log = folder.join("log.txt");
    let wanted = cell.train_arguments(task, method, plan);
    // Whoever held the folder may have finished the cell.
    if let Some(record) = Record::read(&folder)? {
        check_arguments(&folder, &record.arguments, &wanted)?;
        return Ok(record);
    }
    keep_arguments(&folder, &wanted)?;
    let mut gpu_memory = None;
    if !run.join("run.json").exists() {
        let mut train = setup.command("train", &wanted);
        train.extend(["--out".into(), run.display().to_string()]);
        if run.join("started.json").exists() {
            train.push("--resume".into());
        }
        let minutes = task.budget.or(&plan.budget).cell_minutes;
        let limit = minutes.map(|minutes| Duration::from_secs_f64(60.0 * minutes));
        let output = folder.join("train.json");
        // Beside other cells the memory could be theirs.
        let watch = (setup.jobs == 1).then(|| GpuMemory::watch(&setup.device));
        let trained = setup.pelt.run(&train, &output, &log, hold.share()?, limit);
        gpu_memory = watch.and_then(GpuMemory::stop);
        trained?;
    }
    let found = RunFile::read(&run)?;

    let mut scored = vec!["--task".to_string(), task.name.clone()];
    if let Some(split) = &task.report {
        scored.extend(["--split".into(), split.clone()]);
    }
    if found.has_gates() {
        scored.push("--gates".into());
    }
    let mut evaluate = setup.command("evaluate", &scored);
    for (name, place) in [("--run", &run), ("--predictions", &folder)] {
        evaluate.extend([name.to_string(), place.display().to_string()]);
    }
    let output = folder.join("evaluate.json");
    setup
        .pelt
        .run(&evaluate, &output, &log, hold.share()?, None)?;

    let metric = found.text("/primary_metric");
    let evaluated = Evaluated::read(&output, &metric)?;
    let course = Course::read(&run)?;
    let results = &found.results;
    let record = Record {
        cell: cell.clone(),
        arguments: wanted,
        configuration: found.configuration(),
        encoder: folder_name(&setup.model),
        model: found.text("/base/fingerprint"),
        data: found.data(),
        development: found.development(&run)?,
        metric,
        reported: evaluated.splits,
        size: found.size(&run)?,
        steps: results.steps,
        best_step: results.best_step,
        gates: evaluated.gates,
        cost: Cost {
            seconds: results.seconds,
            seconds_per_epoch: course.step_seconds / course.epochs.max(1) as f64,
            tokens: course.tokens,
            tokens_per_second: course.tokens as f64 / course.step_seconds,
            peak_memory_mib: results.peak_memory_mib,
            peak_gpu_memory_mib: gpu_memory,
            jobs: setup.jobs,
        },
        curve: course.curve,
        machine: Machine::here(&setup.pelt.program, setup.commit.clone(), &setup.device),
    };
    check_rows(&record, results_folder)?;
    record.write(&folder)?;
    if !setup.keep_weights {
        remove_weights(&run)?;
    }
    Ok(record)
}

impl Setup {
    /// Sees to it that the data of a task are there: in the data folder, or in the Hub's cache.
    ///
    /// # Errors
    /// If they are not, and cannot be fetched.
    pub fn fetch(&self, task: &str) -> Result<(), GridError> {
        let mut command = vec!["tasks".to_string(), "--fetch".into(), task.into()];
        if let Some(data) = &self.data {
            command.extend(["--data".into(), data.display().to_string()]);
        }
        self.once(&command).map(drop)
    }

    /// Sees to it that the pretrained encoder is there, in its folder or in the Hub's cache, and gives the SHA-256 of its weights.
    ///
    /// # Errors
    /// If it is not, and cannot be fetched.
    pub fn fetch_model(&self) -> Result<String, GridError> {
        let model = self.model.display().to_string();
        let command = ["inspect", "--json", "--method", "bitfit", "--model", &model];
        let text = self.once(&command.map(String::from))?;
        let found: Option<serde_json::Value> = serde_json::from_str(&text).ok();
        let fingerprint = found
            .as_ref()
            .and_then(|found| found["fingerprint"].as_str());
        fingerprint
            .map(String::from)
            .ok_or_else(|| GridError::Pelt {
                command: "inspect".into(),
                message: "it does not tell the fingerprint of the encoder".into(),
            })
    }

    /// Sees to it that `pelt` can use the device, whose name gets into every record.
    ///
    /// # Errors
    /// If it cannot, with its reason.
    pub fn try_device(&self) -> Result<(), GridError> {
        self.once(&[
            "devices".to_string(),
            "--device".into(),
            self.device.clone(),
        ])
        .map(drop)
    }

    /// Runs a command, and gives what it printed.
    fn once(&self, command: &[String]) -> Result<String, GridError> {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let folder = std::env::temp_dir();
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let name = format!("pelt-grid-once-{}-{call}", std::process::id());
        let [output, log] = ["out", "log"].map(|end| folder.join(format!("{name}.{end}")));
        let outcome = self.pelt.run(command, &output, &log, Stdio::null(), None);
        let printed = std::fs::read_to_string(&output);
        for path in [output, log] {
            // They are in the system's folder for what is of no use later.
            let _ = std::fs::remove_file(path);
        }
        outcome?;
        printed.map_err(|error| GridError::io(Path::new("standard output"), "be read", error))
    }

    /// A subcommand with what every cell needs, and then these arguments.
    fn command(&self, subcommand: &str, arguments: &[String]) -> Vec<String> {
        let mut command = vec![subcommand.to_string(), "--json".into()];
        command.extend(["--device".into(), self.device.clone()]);
        command.extend(["--model".into(), self.model.display().to_string()]);
        if let Some(data) = &self.data {
            command.extend(["--data".into(), data.display().to_string()]);
        }
        command.extend(arguments.iter().cloned());
        command
    }
}

/// The last part of a folder's path, or of a name on the Hub, without its revision.
fn folder_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('@').next().unwrap_or_default().to_owned()
}

/// The lock of a cell's folder. Its processes share it, so that one which a killed bench has left behind is waited for.
struct Hold {
    path: PathBuf,
    file: File,
}

impl Hold {
    fn take(folder: &Path) -> Result<Self, GridError> {
        let (path, file) = open_lock(folder)?;
        file.lock()
            .map_err(|error| GridError::io(&path, "be locked", error))?;
        Ok(Self { path, file })
    }

    /// The lock's file for a process, which keeps it as long as it runs.
    fn share(&self) -> Result<Stdio, GridError> {
        let file = self.file.try_clone();
        Ok(file
            .map_err(|error| GridError::io(&self.path, "be shared", error))?
            .into())
    }
}

/// Removes the tensor files of a run.
fn remove_weights(run: &Path) -> Result<(), GridError> {
    let entries = std::fs::read_dir(run).map_err(|error| GridError::io(run, "be read", error))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            std::fs::remove_file(&path)
                .map_err(|error| GridError::io(&path, "be removed", error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_run_that_was_begun_with_other_settings_is_not_taken_for_this_cell() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let [then, now] = ["3", "10"].map(|epochs| vec!["--epochs".to_string(), epochs.into()]);
        keep_arguments(folder, &then).unwrap();
        // Nothing was trained yet.
        keep_arguments(folder, &now).unwrap();
        keep_arguments(folder, &then).unwrap();
        std::fs::create_dir(folder.join("run")).unwrap();
        std::fs::write(folder.join("run/run.json"), "{}").unwrap();
        keep_arguments(folder, &then).unwrap();
        let message = keep_arguments(folder, &now).unwrap_err().to_string();
        assert!(message.contains("--epochs 3"), "{message}");
        assert!(message.contains("--epochs 10"), "{message}");
    }

    #[test]
    fn a_process_that_was_left_behind_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let hold = Hold::take(folder.path()).unwrap();
        // The command has a share of the lock itself until it is dropped.
        let mut orphan = std::process::Command::new("/bin/sleep")
            .arg("0.4")
            .stdin(hold.share().unwrap())
            .spawn()
            .unwrap();
        // As if this process had been killed.
        drop(hold);
        let started = Instant::now();
        let again = Hold::take(folder.path()).unwrap();
        assert!(started.elapsed() >= Duration::from_millis(300));
        drop(again);
        orphan.wait().unwrap();
    }
}
