//! The two programs that measure, and the line that each of them prints.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cargo;

/// Name of our side in what is printed.
pub const OURS: &str = "ours";

/// Name of the other side.
pub const PYTHON: &str = "python";

/// The exit code that says: there is no counterpart of this method, or the device lacks what it needs.
const NO_COUNTERPART: i32 = 3;

/// What the other side needs.
const REQUIREMENTS: &str = "torch==2.9.0 transformers==4.57.6 adapters==1.3.0 peft==0.21.2 pyarrow";

/// The other side's script, in a checkout.
pub const SCRIPT: &str = "crates/pelt-bench/python/speed.py";

/// The line that a run printed.
#[derive(Debug, Clone, PartialEq)]
pub struct Report(pub Value);

impl Report {
    /// The last line of a program's output, which must be a JSON object.
    pub fn parse(output: &str) -> Result<Self> {
        let line = output.lines().rev().find(|line| !line.trim().is_empty());
        let line = line.context("a measurement printed nothing, expected one JSON object")?;
        match serde_json::from_str(line) {
            Ok(value @ Value::Object(_)) => Ok(Self(value)),
            _ => bail!("a measurement should print a JSON object, but printed `{line}`"),
        }
    }

    /// A field that is a number.
    pub fn number(&self, field: &str) -> Option<f64> {
        self.0.get(field)?.as_f64()
    }

    /// A field that is a text.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }
}

/// The words that ask a program for a measurement.
#[derive(Debug)]
pub struct Words {
    pub words: Vec<String>,
}

impl Words {
    /// A measurement of this kind.
    pub fn new(kind: &str) -> Self {
        Self {
            words: vec![kind.to_string()],
        }
    }

    pub fn option(mut self, name: &str, value: impl ToString) -> Self {
        self.words.extend([name.to_string(), value.to_string()]);
        self
    }

    pub fn flag(mut self, name: &str) -> Self {
        self.words.push(name.to_string());
        self
    }
}

/// A program that makes measurements.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    first: Vec<String>,
    /// Behind everything else.
    last: Vec<String>,
    variables: Vec<(&'static str, OsString)>,
}

impl Program {
    /// Our program.
    pub fn pelt_bench(path: PathBuf) -> Self {
        Self {
            path,
            first: vec!["speed".to_string()],
            last: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// The same on a device.
    pub fn on(mut self, device: &str) -> Self {
        self.last = vec!["--device".into(), device.into()];
        self
    }

    /// The same with these environment variables.
    pub fn with(mut self, variables: &[(&'static str, OsString)]) -> Self {
        self.variables.extend_from_slice(variables);
        self
    }

    /// The Python script of this checkout, run by an interpreter that must have its packages.
    pub fn python(interpreter: &Path) -> Result<Self> {
        let script = cargo::workspace_root().join(SCRIPT);
        Self::script(interpreter, &script, &[])
    }

    /// A copy of the script elsewhere.
    pub fn script(
        interpreter: &Path,
        script: &Path,
        variables: &[(&'static str, OsString)],
    ) -> Result<Self> {
        let python = Self {
            path: interpreter.to_path_buf(),
            first: vec![script.display().to_string()],
            last: Vec::new(),
            variables: variables.to_vec(),
        };
        python.versions().with_context(|| {
            format!(
                "{} cannot run the comparison; it needs {REQUIREMENTS}",
                interpreter.display()
            )
        })?;
        Ok(python)
    }

    /// Names and versions of what the program is built on.
    pub fn versions(&self) -> Result<Vec<(String, String)>> {
        let report = self.expect(&["versions".to_string()])?;
        let Value::Object(fields) = report.0 else {
            return Ok(Vec::new());
        };
        let versions = fields.into_iter().filter(|(name, _)| name != "kind");
        Ok(versions
            .filter_map(|(name, version)| Some((name, version.as_str()?.to_string())))
            .collect())
    }

    /// The methods that our program knows.
    pub fn methods(&self) -> Result<Vec<String>> {
        let report = self.expect(&["methods".to_string()])?;
        let names = report.0.get("names").and_then(Value::as_array);
        let names = names.context("`pelt-bench speed methods` should print a list `names`")?;
        Ok(names
            .iter()
            .filter_map(|name| name.as_str().map(String::from))
            .collect())
    }

    fn expect(&self, arguments: &[String]) -> Result<Report> {
        let report = self.measure(arguments)?;
        report.with_context(|| format!("{} knows no {}", self.path.display(), arguments.join(" ")))
    }

    /// One run; `None` where there is no counterpart to measure.
    pub fn measure(&self, arguments: &[String]) -> Result<Option<Report>> {
        let output = Command::new(&self.path)
            .args(&self.first)
            .args(arguments)
            .args(&self.last)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {}", self.path.display()))?;
        if output.status.code() == Some(NO_COUNTERPART) {
            return Ok(None);
        }
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            bail!("{} ({})", complaint(&message), output.status);
        }
        let text = String::from_utf8(output.stdout)
            .context("a measurement printed bytes that are not UTF-8")?;
        Report::parse(&text).map(Some)
    }
}

/// Why a program failed: its line that begins with `error: `, without that word, or else what it said last.
fn complaint(text: &str) -> &str {
    let mut lines = text.lines().rev().map(str::trim);
    let error = lines.clone().find_map(|line| line.strip_prefix("error: "));
    // Under a panic's message Rust says how to see more of it.
    let last =
        lines.find(|line| !line.is_empty() && !line.starts_with("note: run with `RUST_BACKTRACE"));
    error.or(last).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_report() {
        let report = Report::parse(
            "a warning\n{\"median_ms\": 12.5, \"method\": \"full\", \"task\": null}\n\n",
        )
        .unwrap();
        assert_eq!(report.number("median_ms"), Some(12.5));
        assert_eq!(report.text("method"), Some("full"));
        assert_eq!(report.number("task"), None);
        assert_eq!(report.number("absent"), None);
    }

    #[test]
    fn what_is_no_object_is_an_error_that_shows_it() {
        for text in ["", "12", "{\"a\": ", "Traceback"] {
            let message = Report::parse(text).unwrap_err().to_string();
            assert!(message.contains("JSON object"), "{message}");
        }
        assert!(
            Report::parse("Traceback")
                .unwrap_err()
                .to_string()
                .contains("Traceback")
        );
    }

    #[test]
    fn of_what_a_program_complained_the_reason_is_shown() {
        assert_eq!(
            complaint("Traceback\n  File\nModuleNotFoundError: no torch\n\n"),
            "ModuleNotFoundError: no torch"
        );
        assert_eq!(
            complaint("error: no such model\n\nFor more information, try '--help'.\n"),
            "no such model"
        );
        assert_eq!(complaint(""), "no message");
    }
}
