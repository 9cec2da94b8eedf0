//! What a run of `pelt` left in its folder and printed.

use std::collections::BTreeMap;
use std::path::Path;

use pelt_tensors::TensorFiles;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::record::read_json;
use crate::{CurvePoint, DataUsed, GateMean, GridError, Scored, Size};

/// The parts of `run.json` that a record is made of.
#[derive(Debug, Deserialize)]
pub struct RunFile {
    pub config: Value,
    pub results: Results,
    /// The tensor files, with their SHA-256.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// The results of `run.json`.
#[derive(Debug, Deserialize)]
pub struct Results {
    pub trainable_parameters: u64,
    pub base_parameters: u64,
    pub steps: u64,
    pub best_step: u64,
    pub best: BTreeMap<String, f64>,
    pub best_on: Option<ScoredRows>,
    pub seconds: f64,
    pub peak_memory_mib: Option<u64>,
}

/// The rows that chose the best weights.
#[derive(Debug, Deserialize)]
pub struct ScoredRows {
    pub set: String,
    pub rows: u64,
}

impl RunFile {
    /// Reads a finished run's file.
    pub fn read(run: &Path) -> Result<Self, GridError> {
        let path = run.join("run.json");
        read_json(&path)?.ok_or_else(|| GridError::file(&path, "the run left no record"))
    }

    /// SHA-256 of the configuration, but for the encoder's place.
    pub fn configuration(&self) -> String {
        let mut config = self.config.clone();
        if let Some(base) = config.get_mut("base").and_then(Value::as_object_mut) {
            base.remove("path");
        }
        let digest = Sha256::digest(config.to_string().as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A text of the configuration.
    pub fn text(&self, pointer: &str) -> String {
        let value = self.config.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default().to_string()
    }

    /// The rows that were trained on, and those that chose.
    pub fn data(&self) -> DataUsed {
        let rows = self.config.pointer("/data/train_rows");
        let development = self.text("/data/validation_fingerprint");
        DataUsed {
            train: self.text("/data/train"),
            train_rows: rows.and_then(Value::as_u64).unwrap_or_default(),
            train_fingerprint: self.text("/data/train_fingerprint"),
            development_fingerprint: Some(development).filter(|text| !text.is_empty()),
        }
    }

    /// The best score on the development rows.
    pub fn development(&self, run: &Path) -> Result<Scored, GridError> {
        let metric = self.text("/primary_metric");
        let missing = |what: &str| GridError::file(&run.join("run.json"), format!("has no {what}"));
        let score = self.results.best.get(&metric);
        let on = self.results.best_on.as_ref();
        let on = on.ok_or_else(|| missing("development rows"))?;
        Ok(Scored {
            set: on.set.clone(),
            rows: on.rows,
            published_rows: None,
            fingerprint: None,
            score: *score.ok_or_else(|| missing(&format!("score `{metric}`")))?,
            values: self.results.best.clone(),
            predictions: None,
        })
    }

    /// Whether the method has a gate.
    pub fn has_gates(&self) -> bool {
        fn gated(value: &Value) -> bool {
            match value {
                Value::Object(fields) => fields
                    .iter()
                    .any(|(name, value)| (name == "use_gating" && *value == true) || gated(value)),
                Value::Array(values) => values.iter().any(gated),
                _ => false,
            }
        }
        self.config.get("tuning").is_some_and(gated)
    }

    /// Numbers of parameters, and what the run's tensor files hold.
    pub fn size(&self, run: &Path) -> Result<Size, GridError> {
        let mut size = Size {
            trainable: self.results.trainable_parameters,
            base: self.results.base_parameters,
            stored: 0,
            bytes: 0,
        };
        // A run that was killed at its very end has its last checkpoint beside them.
        for path in self.files.keys().map(|name| run.join(name)) {
            let files = TensorFiles::open(&path).map_err(|error| GridError::file(&path, error))?;
            let shapes = files.names().filter_map(|name| files.shape(name));
            let numbers = shapes.map(|shape| shape.iter().product::<usize>() as u64);
            size.stored += numbers.sum::<u64>();
            let metadata = path.metadata();
            let metadata = metadata.map_err(|error| GridError::io(&path, "be read", error))?;
            size.bytes += metadata.len();
        }
        Ok(size)
    }
}

/// The training steps and evaluations of `metrics.jsonl`.
#[derive(Debug, Default, PartialEq)]
pub struct Course {
    /// Every evaluation.
    pub curve: Vec<CurvePoint>,
    /// Tokens of all steps.
    pub tokens: u64,
    /// Seconds of all steps, without evaluations.
    pub step_seconds: f64,
    /// Passes over the training rows, the last one perhaps not whole.
    pub epochs: u64,
}

/// A line of `metrics.jsonl`.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Step {
        epoch: u64,
        loss: f64,
        tokens: u64,
        seconds: f64,
    },
    Evaluation {
        epoch: u64,
        step: u64,
        score: f64,
    },
    #[serde(other)]
    Other,
}

impl Course {
    /// Reads the file of a finished run.
    pub fn read(run: &Path) -> Result<Self, GridError> {
        let path = run.join("metrics.jsonl");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| GridError::io(&path, "be read", error))?;
        let mut course = Self::default();
        let mut losses = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = serde_json::from_str(line)
                .map_err(|error| GridError::file(&path, format!("line {}: {error}", number + 1)))?;
            match line {
                Line::Step {
                    epoch,
                    loss,
                    tokens,
                    seconds,
                } => {
                    losses.push(loss);
                    course.tokens += tokens;
                    course.step_seconds += seconds;
                    course.epochs = course.epochs.max(epoch);
                }
                Line::Evaluation { epoch, step, score } => {
                    course.curve.push(CurvePoint {
                        step,
                        epoch,
                        score,
                        training_loss: losses.iter().sum::<f64>() / losses.len().max(1) as f64,
                    });
                    losses.clear();
                }
                Line::Other => {}
            }
        }
        Ok(course)
    }
}

/// What `pelt evaluate --json` printed.
#[derive(Debug)]
pub struct Evaluated {
    pub splits: Vec<Scored>,
    pub gates: Vec<GateMean>,
}

/// A split of that output.
#[derive(Deserialize)]
struct Split {
    set: String,
    split: String,
    rows: u64,
    published_rows: Option<u64>,
    fingerprint: Option<String>,
}

/// A gate of that output.
#[derive(Deserialize)]
struct Gate {
    level: Option<u64>,
    layer: Option<u64>,
    component: String,
    mean: f64,
}

impl Gate {
    /// The gate under its layer, with the level of a stack in its name; `None` for that of the pooler.
    fn in_a_layer(self) -> Option<GateMean> {
        Some(GateMean {
            layer: self.layer?,
            component: match self.level {
                Some(level) => format!("level {level} {}", self.component),
                None => self.component,
            },
            mean: self.mean,
        })
    }
}

impl Evaluated {
    /// Reads the last line of a file: the first split's values stand at the top, those of others under their names.
    ///
    /// # Errors
    /// If it is no such output, or has no `metric`.
    pub fn read(path: &Path, metric: &str) -> Result<Self, GridError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| GridError::io(path, "be read", error))?;
        let line = text.lines().rev().find(|line| !line.trim().is_empty());
        let mut found: Value = serde_json::from_str(line.unwrap_or_default())
            .map_err(|error| GridError::file(path, error))?;
        let mut take = |field: &str| found.get_mut(field).map(Value::take).unwrap_or_default();
        let list = |value: Value| match value {
            Value::Null => Value::Array(Vec::new()),
            other => other,
        };
        let splits: Vec<Split> = serde_json::from_value(list(take("data")))
            .map_err(|error| GridError::file(path, format!("data: {error}")))?;
        let gates: Vec<Gate> = serde_json::from_value(list(take("gates")))
            .map_err(|error| GridError::file(path, format!("gates: {error}")))?;
        let gates = gates.into_iter().filter_map(Gate::in_a_layer).collect();
        let folder = path.parent().unwrap_or(Path::new(""));
        let scored = splits.into_iter().enumerate().map(|(index, split)| {
            let values = match index {
                0 => &found,
                _ => found.get(&split.split).unwrap_or(&Value::Null),
            };
            let values: BTreeMap<String, f64> = values
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
                .collect();
            let score = values.get(metric).copied().ok_or_else(|| {
                GridError::file(path, format!("{} has no score `{metric}`", split.split))
            })?;
            let files = [
                format!("predictions-{}.jsonl", split.split),
                "question_scores.jsonl".to_string(),
            ];
            Ok(Scored {
                set: format!("{} {}", split.set, split.split),
                rows: split.rows,
                published_rows: split.published_rows,
                fingerprint: split.fingerprint,
                score,
                values,
                predictions: files.into_iter().find(|file| folder.join(file).is_file()),
            })
        });
        let splits: Vec<Scored> = scored.collect::<Result<_, _>>()?;
        match splits.is_empty() {
            true => Err(GridError::file(path, "no split was scored")),
            false => Ok(Self { splits, gates }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_course_has_losses_between_evaluations() {
        let folder = tempfile::tempdir().unwrap();
        let lines = [
            r#"{"kind":"step","epoch":1,"loss":1.0,"tokens":10,"seconds":0.5,"step":1}"#,
            r#"{"kind":"step","epoch":1,"loss":0.5,"tokens":20,"seconds":0.5,"step":2}"#,
            r#"{"kind":"evaluation","epoch":1,"step":2,"score":0.7}"#,
            r#"{"kind":"note"}"#,
            r#"{"kind":"step","epoch":2,"loss":0.25,"tokens":30,"seconds":1.0,"step":3}"#,
            r#"{"kind":"evaluation","epoch":2,"step":3,"score":0.8}"#,
        ];
        std::fs::write(folder.path().join("metrics.jsonl"), lines.join("\n")).unwrap();
        let course = Course::read(folder.path()).unwrap();
        assert_eq!(
            (course.tokens, course.step_seconds, course.epochs),
            (60, 2.0, 2)
        );
        let losses: Vec<f64> = course
            .curve
            .iter()
            .map(|point| point.training_loss)
            .collect();
        assert_eq!(losses, [0.75, 0.25]);
        std::fs::write(folder.path().join("metrics.jsonl"), "{\n").unwrap();
        let message = Course::read(folder.path()).unwrap_err().to_string();
        assert!(message.contains("line 1"), "{message}");
    }

    #[test]
    fn every_split_of_an_evaluation_is_scored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evaluate.json");
        let text = r#"{"accuracy":0.5,"loss":1.0,"trained_on":"mnli train","validation_mismatched":{"accuracy":0.25},
            "gates":[{"layer":0,"component":"lora.query","mean":0.5},{"layer":null,"component":"lora.pooler","mean":0.5},
            {"level":2,"layer":1,"component":"prefix","mean":0.5}],
            "data":[{"set":"mnli","split":"validation_matched","rows":4,"published_rows":9,"fingerprint":"f00d"},
                    {"set":"mnli","split":"validation_mismatched","rows":4,"published_rows":null}]}"#;
        std::fs::write(&path, text.replace('\n', "")).unwrap();
        std::fs::write(
            folder.path().join("predictions-validation_matched.jsonl"),
            "",
        )
        .unwrap();
        let found = Evaluated::read(&path, "accuracy").unwrap();
        let scores: Vec<f64> = found.splits.iter().map(|split| split.score).collect();
        assert_eq!(scores, [0.5, 0.25]);
        assert_eq!(found.splits[0].set, "mnli validation_matched");
        let digests = found
            .splits
            .iter()
            .map(|split| split.fingerprint.as_deref());
        assert_eq!(digests.collect::<Vec<_>>(), [Some("f00d"), None]);
        assert!(found.splits[0].predictions.is_some() && found.splits[1].predictions.is_none());
        let gates: Vec<_> = found
            .gates
            .iter()
            .map(|gate| (gate.layer, gate.component.as_str()))
            .collect();
        assert_eq!(gates, [(0, "lora.query"), (1, "level 2 prefix")]);
        let message = Evaluated::read(&path, "f1").unwrap_err().to_string();
        assert!(message.contains("`f1`"), "{message}");
    }

    #[test]
    fn the_place_of_the_encoder_is_no_setting_and_gates_are_found() {
        let run = |path: &str, gated: bool| {
            RunFile {
            files: BTreeMap::new(),
            config: serde_json::json!({
                "base": {"path": path, "fingerprint": "1"},
                "tuning": {"adapter": {"parts": [{"use_gating": false}, {"use_gating": gated}]}},
            }),
            results: serde_json::from_value(serde_json::json!({
                "trainable_parameters": 1, "base_parameters": 2, "steps": 3, "best_step": 3, "best": {},
                "best_on": null, "seconds": 1.0, "peak_memory_mib": null,
            }))
            .unwrap(),
        }
        };
        assert_eq!(
            run("/a", true).configuration(),
            run("/b", true).configuration()
        );
        assert_ne!(
            run("/a", true).configuration(),
            run("/a", false).configuration()
        );
        assert!(run("/a", true).has_gates() && !run("/a", false).has_gates());
    }
}
