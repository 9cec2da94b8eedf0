//! What is measured.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bench::program::Words;

/// One measurement of training steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub shape: String,
    pub method: String,
    pub batch: usize,
    pub length: usize,
    pub precision: String,
}

/// The values of each setting; all combinations are measured.
#[derive(Debug, Clone, clap::Args)]
pub struct Grid {
    /// Encoders' sizes, with random weights: minilm, bert-base or tiny.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "minilm,bert-base",
        value_name = "NAMES"
    )]
    pub shapes: Vec<String>,
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "lora-qv,unipelt-prompt,full",
        value_name = "NAMES"
    )]
    pub methods: Vec<String>,
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "32,256",
        value_name = "N"
    )]
    pub batches: Vec<usize>,
    /// Tokens of each sequence.
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub length: usize,
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "f32,bf16",
        value_name = "NAMES"
    )]
    pub precisions: Vec<String>,
    /// Timed steps of a measurement.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub steps: usize,
    /// Seconds for each of the three products of a ceiling.
    #[arg(long, default_value_t = 1.0, value_name = "S")]
    pub ceiling_seconds: f64,
}

impl Grid {
    /// All combinations; shapes and batches, which share a ceiling, change last.
    pub fn jobs(&self) -> Vec<Job> {
        let mut jobs = Vec::new();
        for shape in &self.shapes {
            for batch in &self.batches {
                for method in &self.methods {
                    for precision in &self.precisions {
                        jobs.push(Job {
                            shape: shape.clone(),
                            method: method.clone(),
                            batch: *batch,
                            length: self.length,
                            precision: precision.clone(),
                        });
                    }
                }
            }
        }
        jobs
    }

    /// The words that ask either side for a measurement, with the model in this folder.
    pub fn step(&self, job: &Job, model: &Path) -> Vec<String> {
        Words::new("step")
            .option("--model", model.display())
            .option("--method", &job.method)
            .option("--batch", job.batch)
            .option("--length", job.length)
            .option("--precision", &job.precision)
            .option("--dropout", "on")
            .option("--rounds", self.steps)
            .flag("--update")
            .words
    }

    /// The same for the products of a model's linear layers at a batch.
    pub fn ceiling(&self, job: &Job, precision: &str, model: &Path) -> Result<Vec<String>> {
        let path = model.join("config.json");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let config: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is no JSON", path.display()))?;
        Ok(Words::new("ceiling")
            .option("--tokens", job.batch * job.length)
            .option("--hidden", &config["hidden_size"])
            .option("--intermediate", &config["intermediate_size"])
            .option("--precision", precision)
            .option("--seconds", self.ceiling_seconds)
            .words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_combinations_are_measured() {
        let words = |text: &str| text.split(' ').map(String::from).collect();
        let grid = Grid {
            shapes: words("minilm bert-base"),
            methods: words("full"),
            batches: vec![2, 3],
            length: 5,
            precisions: words("f32 bf16"),
            steps: 1,
            ceiling_seconds: 0.5,
        };
        let jobs = grid.jobs();
        assert_eq!(jobs.len(), 8);
        assert_eq!((jobs[7].shape.as_str(), jobs[7].batch), ("bert-base", 3));
        let step = grid.step(&jobs[0], Path::new("M")).join(" ");
        let expected = "step --model M --method full --batch 2 --length 5 --precision f32 --dropout on --rounds 1 --update";
        assert_eq!(step, expected);
        let model = tempfile::tempdir().unwrap();
        let config = r#"{"hidden_size": 768, "intermediate_size": 3072}"#;
        std::fs::write(model.path().join("config.json"), config).unwrap();
        let ceiling = grid.ceiling(&jobs[7], "bf16", model.path()).unwrap();
        let ceiling = ceiling.join(" ");
        let expected =
            "ceiling --tokens 15 --hidden 768 --intermediate 3072 --precision bf16 --seconds 0.5";
        assert_eq!(ceiling, expected);
    }
}
