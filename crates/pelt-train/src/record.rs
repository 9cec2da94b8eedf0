//! `metrics.jsonl`: one JSON object per line, appended as the run goes.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::state::Counters;
use crate::{EvaluationReport, StepReport, TrainError};

/// The record of a run.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    file: File,
}

impl Record {
    /// Starts the record, or goes on behind the last step of these counters in one that is there: later lines are from steps
    /// that were not saved, and will be taken again. So is the evaluation after that step where it is due.
    pub fn open(path: &Path, counters: &Counters) -> Result<Self, TrainError> {
        let error = |e: std::io::Error| io_error(path, &e);
        let kept = match counters.step {
            0 => String::new(),
            _ => kept_lines(&std::fs::read_to_string(path).unwrap_or_default(), counters),
        };
        pelt_tensors::write_atomically(path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path).map_err(error)?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
        })
    }

    /// Appends a step.
    pub fn step(&mut self, report: &StepReport) -> Result<(), TrainError> {
        self.line("step", report)
    }

    /// Appends an evaluation.
    pub fn evaluation(&mut self, report: &EvaluationReport) -> Result<(), TrainError> {
        self.line("evaluation", report)
    }

    fn line(&mut self, kind: &str, report: &impl Serialize) -> Result<(), TrainError> {
        let mut value = serde_json::to_value(report).map_err(|e| TrainError::Io {
            path: self.path.clone(),
            message: format!("cannot describe a {kind}: {e}"),
        })?;
        if let Value::Object(fields) = &mut value {
            fields.insert("kind".into(), kind.into());
        }
        self.file
            .write_all(format!("{value}\n").as_bytes())
            .map_err(|e| io_error(&self.path, &e))
    }
}

fn kept_lines(text: &str, counters: &Counters) -> String {
    let mut kept = String::new();
    for line in text.lines() {
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let Some(step) = value["step"].as_u64().map(|step| step as usize) else {
            continue;
        };
        let again =
            counters.evaluation_due && step == counters.step && value["kind"] == "evaluation";
        if step <= counters.step && !again {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

pub(crate) fn io_error(path: &Path, error: &std::io::Error) -> TrainError {
    TrainError::Io {
        path: path.to_path_buf(),
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_behind_the_checkpoint_and_broken_lines_are_dropped() {
        let text =
            "{\"step\":1}\n{\"step\":2}\n{\"kind\":\"evaluation\",\"step\":2}\n{\"step\":3}\n{\"st";
        let mut counters = Counters {
            step: 2,
            ..Counters::default()
        };
        let steps = "{\"step\":1}\n{\"step\":2}\n";
        let whole = format!("{steps}{{\"kind\":\"evaluation\",\"step\":2}}\n");
        assert_eq!(kept_lines(text, &counters), whole);
        counters.evaluation_due = true;
        assert_eq!(kept_lines(text, &counters), steps);
    }
}
