//! `metrics.jsonl`: one JSON object per line, appended as the run goes.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::{EvaluationReport, StepReport, TrainError};

/// The record of a run.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    file: File,
}

impl Record {
    /// Starts the record, or goes on behind step `from` of one that is there: later lines are from steps that were not
    /// saved, and will be taken again.
    pub fn open(path: &Path, from: usize) -> Result<Self, TrainError> {
        let error = |e: std::io::Error| io_error(path, &e);
        let kept = match from {
            0 => String::new(),
            _ => kept_lines(&std::fs::read_to_string(path).unwrap_or_default(), from),
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

fn kept_lines(text: &str, from: usize) -> String {
    let mut kept = String::new();
    for line in text.lines() {
        let step = serde_json::from_str::<Value>(line)
            .ok()
            .and_then(|value| value["step"].as_u64());
        if step.is_some_and(|step| step as usize <= from) {
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
        let text = "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"st";
        assert_eq!(kept_lines(text, 2), "{\"step\":1}\n{\"step\":2}\n");
    }
}
