//! Every call of the `pelt` binary that the demo makes, and what it reads from the answers.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

const METHOD: &str = "unipelt-prompt";

/// The built binary.
#[derive(Debug)]
pub struct Pelt {
    binary: PathBuf,
}

/// What is trained on what.
#[derive(Debug)]
pub struct Training<'a> {
    pub model: &'a Path,
    pub train: &'a Path,
    pub validation: &'a Path,
    /// The folder of the finished run.
    pub run: &'a Path,
    pub epochs: usize,
    /// Whether a run that is already there is replaced.
    pub overwrite: bool,
}

/// Numbers of parameters of the adapted model.
#[derive(Debug, PartialEq, Eq)]
pub struct Parameters {
    pub trainable: u64,
    pub total: u64,
}

/// What the adapted model says of one sentence.
#[derive(Debug, PartialEq)]
pub struct Prediction {
    pub label: String,
    /// The predicted label's probability.
    pub probability: f64,
}

impl Pelt {
    pub fn new(binary: PathBuf) -> Self {
        Self { binary }
    }

    /// Trains with progress shown.
    pub fn train(&self, training: &Training<'_>) -> Result<()> {
        let epochs = training.epochs.to_string();
        let mut arguments = Arguments::new("train").model(training).columns(training);
        arguments = arguments
            .option("--method", METHOD)
            .option("--out", training.run);
        arguments = arguments
            .option("--epochs", &epochs)
            .option("--batch-size", "32");
        arguments = arguments.option("--lr", "5e-4").option("--seed", "42");
        if training.overwrite {
            arguments = arguments.flag("--force");
        }
        let mut command = self.command(&arguments);
        let status = command.status().with_context(|| self.cannot_start())?;
        if !status.success() {
            bail!("`pelt train` failed ({status})");
        }
        Ok(())
    }

    /// Accuracy on the validation file.
    pub fn evaluate(&self, training: &Training<'_>) -> Result<f64> {
        let arguments = Arguments::new("evaluate")
            .option("--run", training.run)
            .model(training);
        number(
            &self.json(
                &arguments
                    .option("--file", training.validation)
                    .flag("--json"),
            )?,
            "accuracy",
        )
    }

    /// Validation accuracy of a linear classifier on the frozen encoder's output.
    pub fn probe(&self, training: &Training<'_>) -> Result<f64> {
        let arguments = Arguments::new("probe")
            .model(training)
            .columns(training)
            .flag("--json");
        number(&self.json(&arguments)?, "accuracy")
    }

    /// Counts parameters.
    pub fn parameters(&self, training: &Training<'_>) -> Result<Parameters> {
        let arguments = Arguments::new("inspect")
            .model(training)
            .option("--method", METHOD)
            .flag("--json");
        parameters(&self.json(&arguments)?)
    }

    /// What the run predicts for some sentences, in their order.
    pub fn predict(&self, training: &Training<'_>, sentences: &[&str]) -> Result<Vec<Prediction>> {
        let arguments = Arguments::new("predict")
            .option("--run", training.run)
            .model(training);
        let lines = self.output(&arguments, &(sentences.join("\n") + "\n"))?;
        let predictions: Vec<Prediction> = lines.lines().map(prediction).collect::<Result<_>>()?;
        if predictions.len() != sentences.len() {
            bail!(
                "`pelt predict` was given {} lines and answered {}",
                sentences.len(),
                predictions.len()
            );
        }
        Ok(predictions)
    }

    fn json(&self, arguments: &Arguments) -> Result<Value> {
        let output = self.output(arguments, "")?;
        serde_json::from_str(&output)
            .with_context(|| format!("`pelt {}` did not print JSON", arguments.name))
    }

    /// Runs the binary with some input and returns what it prints; its errors are shown as they come.
    fn output(&self, arguments: &Arguments, input: &str) -> Result<String> {
        let name = arguments.name;
        let mut command = self.command(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| self.cannot_start())?;
        if let Some(mut stdin) = child.stdin.take() {
            // The few lines fit into the pipe. Should the program end before reading them, its status says why.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child
            .wait_with_output()
            .with_context(|| format!("cannot read the output of `pelt {name}`"))?;
        if !output.status.success() {
            bail!("`pelt {name}` failed ({})", output.status);
        }
        String::from_utf8(output.stdout)
            .with_context(|| format!("`pelt {name}` printed bytes that are not UTF-8"))
    }

    fn command(&self, arguments: &Arguments) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(&arguments.words);
        command
    }

    fn cannot_start(&self) -> String {
        format!("cannot start {}", self.binary.display())
    }
}

/// A command line in the making.
struct Arguments {
    name: &'static str,
    words: Vec<OsString>,
}

impl Arguments {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            words: vec![name.into()],
        }
    }

    fn flag(mut self, name: &str) -> Self {
        self.words.push(name.into());
        self
    }

    fn option(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.words.push(name.into());
        self.words.push(value.into());
        self
    }

    fn model(self, training: &Training<'_>) -> Self {
        self.option("--model", training.model)
    }

    fn columns(self, training: &Training<'_>) -> Self {
        self.option("--train-file", training.train)
            .option("--validation-file", training.validation)
            .option("--text-column", "text")
            .option("--label-column", "label")
    }
}

fn number(answer: &Value, key: &str) -> Result<f64> {
    answer
        .get(key)
        .and_then(Value::as_f64)
        .with_context(|| format!("expected a number `{key}`, found {answer}"))
}

fn parameters(answer: &Value) -> Result<Parameters> {
    let count = |key: &str| {
        let value = answer.get(key).and_then(Value::as_u64);
        value.with_context(|| format!("expected a whole number `{key}`, found {answer}"))
    };
    Ok(Parameters {
        trainable: count("trainable")?,
        total: count("total")?,
    })
}

/// One line of `pelt predict`: a label, and the probabilities either by label or in a list.
fn prediction(line: &str) -> Result<Prediction> {
    let answer: Value = serde_json::from_str(line)
        .with_context(|| format!("expected a JSON line, found `{line}`"))?;
    let label = answer.get("label").and_then(Value::as_str);
    let label = label
        .with_context(|| format!("expected a `label`, found {answer}"))?
        .to_string();
    let probability = match answer.get("probabilities") {
        Some(Value::Object(by_label)) => by_label.get(&label).and_then(Value::as_f64),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_f64).reduce(f64::max),
        _ => None,
    };
    let probability =
        probability.with_context(|| format!("expected `probabilities`, found {answer}"))?;
    Ok(Prediction { label, probability })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_has_its_labels_probability() {
        let expected = Prediction {
            label: "positive".to_string(),
            probability: 0.75,
        };
        let by_label =
            r#"{"label": "positive", "probabilities": {"negative": 0.25, "positive": 0.75}}"#;
        let list = r#"{"label": "positive", "probabilities": [0.25, 0.75]}"#;
        assert_eq!(prediction(by_label).unwrap(), expected);
        assert_eq!(prediction(list).unwrap(), expected);
    }

    #[test]
    fn answers_of_another_form_are_errors_that_show_them() {
        for line in [
            "positive",
            "{}",
            r#"{"label": "positive"}"#,
            r#"{"label": 1, "probabilities": [1]}"#,
        ] {
            assert!(prediction(line).is_err(), "{line}");
        }
        let message = number(&serde_json::json!({"f1": 1.0}), "accuracy")
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("accuracy") && message.contains("f1"),
            "{message}"
        );
    }

    #[test]
    fn parameters_are_read_as_whole_numbers() {
        let answer = serde_json::json!({"trainable": 5, "total": 100});
        assert_eq!(
            parameters(&answer).unwrap(),
            Parameters {
                trainable: 5,
                total: 100
            }
        );
        assert!(parameters(&serde_json::json!({"trainable": 5.5, "total": 100})).is_err());
    }

    #[test]
    fn options_come_after_the_command_in_order() {
        let arguments = Arguments::new("train").option("--lr", "1").flag("--force");
        assert_eq!(arguments.words, ["train", "--lr", "1", "--force"]);
    }
}
