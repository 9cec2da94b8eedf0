//! What is kept of one run.

use std::collections::BTreeMap;
use std::path::Path;

use pelt_tensors::write_atomically;
use serde::{Deserialize, Serialize};

use crate::{Cell, GridError, Machine};

/// Name of a record in its cell's folder. It is written last, so that a cell with a record is finished.
pub const RECORD_FILE: &str = "record.json";

/// Name of the note that a failed cell leaves.
pub const FAILURE_FILE: &str = "failed.json";

/// The result of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was run.
    pub cell: Cell,
    /// What `pelt train` was called with, but for places.
    pub arguments: Vec<String>,
    /// SHA-256 of the run's whole configuration, without places.
    pub configuration: String,
    /// Name of the pretrained encoder's folder.
    pub encoder: String,
    /// SHA-256 of the pretrained encoder's weights.
    pub model: String,
    /// The rows and their fingerprints.
    pub data: DataUsed,
    /// Name of the metric that chooses and is compared.
    pub metric: String,
    /// The best score on the development rows.
    pub development: Scored,
    /// The scores that are reported, one for each split; the first one is compared.
    pub reported: Vec<Scored>,
    /// Numbers of parameters and bytes.
    pub size: Size,
    /// Steps of the optimiser.
    pub steps: u64,
    /// The step with the best development score.
    pub best_step: u64,
    /// Every evaluation during training.
    pub curve: Vec<CurvePoint>,
    /// Mean values of the gates over the reported rows.
    pub gates: Vec<GateMean>,
    /// Time and memory.
    pub cost: Cost,
    /// Where it ran, and with what.
    pub machine: Machine,
}

/// Data sets of a run, by the names under which results may be reported: a stand-in never has the published set's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataUsed {
    /// Training rows.
    pub train: String,
    /// Number of training rows.
    pub train_rows: u64,
    /// SHA-256 of the training rows.
    pub train_fingerprint: String,
    /// SHA-256 of the development rows.
    pub development_fingerprint: Option<String>,
}

/// Scores on one set of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The set, with its split.
    pub set: String,
    /// Number of rows.
    pub rows: u64,
    /// Number of rows of the published split, where it is another one.
    pub published_rows: Option<u64>,
    /// SHA-256 of reported rows, which records of early versions lack. That of development rows is in [`DataUsed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The metric that is compared.
    pub score: f64,
    /// All metrics by name, and the loss.
    pub values: BTreeMap<String, f64>,
    /// File with a prediction for every row, in the cell's folder.
    pub predictions: Option<String>,
}

impl DataUsed {
    /// The training rows, as messages name them.
    pub(crate) fn rows_shown(&self) -> String {
        format!("{} ({} rows)", self.train, self.train_rows)
    }
}

impl Scored {
    /// The rows, as messages name them.
    pub(crate) fn rows_shown(&self) -> String {
        format!("{} ({} rows)", self.set, self.rows)
    }
}

/// How large the result is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// Trained parameters, head included.
    pub trainable: u64,
    /// Parameters of the pretrained encoder.
    pub base: u64,
    /// Numbers in the saved tensor files.
    pub stored: u64,
    /// Bytes of the saved tensor files.
    pub bytes: u64,
}

/// One evaluation during training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Steps before it.
    pub step: u64,
    /// The epoch it belongs to, from 1.
    pub epoch: u64,
    /// Score on the development rows.
    pub score: f64,
    /// Mean training loss since the evaluation before.
    pub training_loss: f64,
}

/// One gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateMean {
    /// Layer, from 0.
    pub layer: u64,
    /// The part of the method that it opens.
    pub component: String,
    /// Mean value over the rows: 0 is shut, 1 is open.
    pub mean: f64,
}

/// Time and memory of a run. The only part of a record, with the machine, that differs between two runs of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds of training, evaluations included.
    pub seconds: f64,
    /// Seconds of the training steps of an epoch.
    pub seconds_per_epoch: f64,
    /// Tokens of all training steps.
    pub tokens: u64,
    /// Tokens that a second of training steps takes.
    pub tokens_per_second: f64,
    /// Largest resident memory of the process.
    pub peak_memory_mib: Option<u64>,
    /// Largest memory of the GPU, where one was used.
    pub peak_gpu_memory_mib: Option<u64>,
    /// Cells that ran beside this one at most.
    pub jobs: usize,
}

/// Why a cell has no record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What was run.
    pub cell: Cell,
    /// One sentence.
    pub message: String,
}

impl Record {
    /// The score that is compared.
    pub fn score(&self) -> f64 {
        self.reported
            .first()
            .map_or(f64::NAN, |scored| scored.score)
    }

    /// What differs between the rows of this record and those of another one of the same task, which may have another seed:
    /// training rows are drawn by it.
    pub(crate) fn rows_differ(&self, other: &Self) -> Option<String> {
        let digest = |record: &Self| record.reported.first()?.fingerprint.clone();
        let both_have_digests = digest(self).is_some() && digest(other).is_some();
        let all = |record: &Self| {
            let data = &record.data;
            let reported = record
                .reported
                .first()
                .map_or("none".into(), Scored::rows_shown);
            let mut found = vec![
                ("training rows", data.rows_shown()),
                ("reported rows", reported),
                ("development rows", record.development.rows_shown()),
            ];
            if both_have_digests {
                let digest = digest(record).unwrap_or_default();
                found.push(("reported rows with the SHA-256", digest));
            }
            if self.cell.seed == other.cell.seed {
                let development = data.development_fingerprint.clone().unwrap_or_default();
                found.push((
                    "training rows with the SHA-256",
                    data.train_fingerprint.clone(),
                ));
                found.push(("development rows with the SHA-256", development));
            }
            found
        };
        let mut pairs = all(self).into_iter().zip(all(other));
        let ((what, then), (_, now)) = pairs.find(|(then, now)| then != now)?;
        Some(format!("{what} {then} then, {now} now"))
    }

    /// Reads the record of a cell's folder; `None` where there is none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, GridError> {
        read_json(&folder.join(RECORD_FILE))
    }

    /// Writes the record, and removes the note of an earlier failure.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), GridError> {
        write_json(&folder.join(RECORD_FILE), self)?;
        let failure = folder.join(FAILURE_FILE);
        match std::fs::remove_file(&failure) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(GridError::io(&failure, "be removed", error))
            }
            _ => Ok(()),
        }
    }
}

impl Failure {
    /// Reads the note of a cell's folder; `None` where there is none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, GridError> {
        read_json(&folder.join(FAILURE_FILE))
    }

    /// Writes the note.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), GridError> {
        write_json(&folder.join(FAILURE_FILE), self)
    }
}

/// Reads a JSON file; `None` where there is none.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(
    path: &Path,
) -> Result<Option<T>, GridError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(GridError::io(path, "be read", error)),
    };
    let value = serde_json::from_str(&text).map_err(|error| GridError::file(path, error))?;
    Ok(Some(value))
}

/// Writes a JSON file under a temporary name, then renames it.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), GridError> {
    let mut text =
        serde_json::to_string_pretty(value).map_err(|error| GridError::file(path, error))?;
    text.push('\n');
    write_atomically(path, text.as_bytes()).map_err(|error| GridError::file(path, error))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A record with this score on its development rows, and a little less on the reported ones.
    pub(crate) fn record(task: &str, method: &str, rate: f64, seed: u64, score: f64) -> Record {
        let scored = |split: &str, score: f64| Scored {
            set: format!("{task} {split}"),
            rows: 100,
            published_rows: None,
            fingerprint: None,
            score,
            values: BTreeMap::from([("accuracy".to_string(), score), ("loss".to_string(), 0.5)]),
            predictions: None,
        };
        Record {
            cell: Cell {
                task: task.into(),
                method: method.into(),
                learning_rate: rate,
                seed,
            },
            arguments: vec!["--task".into(), task.into()],
            configuration: "c0ffee".into(),
            encoder: "tiny".into(),
            model: "beef".into(),
            data: DataUsed {
                train: format!("{task} train"),
                train_rows: 1000,
                train_fingerprint: "f00d".into(),
                development_fingerprint: Some("d00d".into()),
            },
            metric: "accuracy".into(),
            development: scored("dev", score),
            reported: vec![scored("validation", score - 0.01)],
            size: Size {
                trainable: 1000,
                base: 1_000_000,
                stored: 1000,
                bytes: 4200,
            },
            steps: 30,
            best_step: 20,
            curve: (1..=3)
                .map(|epoch| CurvePoint {
                    step: epoch * 10,
                    epoch,
                    score: score - 0.1 / epoch as f64,
                    training_loss: 1.0 / epoch as f64,
                })
                .collect(),
            gates: Vec::new(),
            cost: Cost {
                seconds: 12.0,
                seconds_per_epoch: 3.0,
                tokens: 30_000,
                tokens_per_second: 3000.0,
                peak_memory_mib: Some(300),
                peak_gpu_memory_mib: None,
                jobs: 1,
            },
            machine: Machine::default(),
        }
    }

    #[test]
    fn a_record_comes_back_and_ends_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let record = record("mrpc", "lora", 5e-4, 42, 0.8);
        assert_eq!(Record::read(folder.path()).unwrap(), None);
        let failure = Failure {
            cell: record.cell.clone(),
            message: "no memory".into(),
        };
        failure.write(folder.path()).unwrap();
        assert_eq!(Failure::read(folder.path()).unwrap(), Some(failure));
        record.write(folder.path()).unwrap();
        assert_eq!(Record::read(folder.path()).unwrap(), Some(record));
        assert_eq!(Failure::read(folder.path()).unwrap(), None);
    }

    #[test]
    fn other_rows_are_told() {
        let one = record("mrpc", "lora", 5e-4, 42, 0.8);
        let mut other = record("mrpc", "full", 1e-4, 42, 0.7);
        assert_eq!(one.rows_differ(&other), None);
        other.data.train_fingerprint = "beef".into();
        let told = one.rows_differ(&other).unwrap();
        assert!(told.contains("f00d then, beef now"), "{told}");
        // Another seed draws other rows.
        other.cell.seed = 43;
        assert_eq!(one.rows_differ(&other), None);
        // Records of early versions have no digest of the reported rows.
        other.reported[0].fingerprint = Some("d1ce".into());
        assert_eq!(one.rows_differ(&other), None);
        let mut changed = other.clone();
        changed.reported[0].fingerprint = Some("cafe".into());
        let told = changed.rows_differ(&other).unwrap();
        assert!(
            told.contains("reported rows with the SHA-256 cafe then, d1ce now"),
            "{told}"
        );
        other.reported[0].rows = 99;
        let told = one.rows_differ(&other).unwrap();
        assert!(
            told.contains("reported rows") && told.contains("(99 rows) now"),
            "{told}"
        );
    }

    #[test]
    fn a_damaged_record_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(RECORD_FILE), "{\"cell\": 3}").unwrap();
        let message = Record::read(folder.path()).unwrap_err().to_string();
        assert!(message.contains(RECORD_FILE), "{message}");
    }
}
