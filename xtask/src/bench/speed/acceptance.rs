//! The rows that have a target.

use serde_json::{Value, json};

use super::results::{Results, Side, ratio};

/// The method of the rows on real tasks: the tool's default.
pub const UNION: &str = "unipelt-prompt";

/// What a ratio should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    pub fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(limit) => ratio <= limit,
            Self::AtLeast(limit) => ratio >= limit,
        }
    }
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub what: String,
    pub unit: &'static str,
    pub ours: f64,
    /// What it is compared with: the other side, or another measurement of ours.
    pub other: f64,
    pub ratio: f64,
    pub target: Option<Target>,
}

impl Row {
    pub fn json(&self) -> Value {
        let (at_most, at_least) = match self.target {
            Some(Target::AtMost(limit)) => (Some(limit), None),
            Some(Target::AtLeast(limit)) => (None, Some(limit)),
            None => (None, None),
        };
        json!({
            "what": self.what,
            "unit": self.unit,
            "ours": self.ours,
            "other": self.other,
            "ratio": self.ratio,
            "at_most": at_most,
            "at_least": at_least,
            "met": self.target.map(|target| target.is_met(self.ratio)),
        })
    }
}

/// Every row whose measurements are there.
pub fn rows(results: &Results) -> Vec<Row> {
    let ours = |name: &str, field: &str| results.median(name, Side::Ours, field);
    let theirs = |name: &str, field: &str| results.median(name, Side::Theirs, field);
    let mut rows = Rows(Vec::new());

    let both = |name: &str, field: &str| [ours(name, field), theirs(name, field)];
    rows.add(
        "LoRA step (r = 8 on query and value, 32 x 64, no dropout) / PEFT's",
        "ms",
        both("step lora-qv", "median_ms"),
        Some(Target::AtMost(0.85)),
    );
    rows.add(
        "LoRA step / ceiling of the matrix products",
        "GFLOP/s",
        [ours("step lora-qv", "gflops"), ours("ceiling", "gflops")],
        Some(Target::AtLeast(0.8)),
    );
    for task in results.names_after("epoch ") {
        let (task_name, against, target) = match task.as_str() {
            "mrpc" => ("mrpc", "padded per batch", Some(0.45)),
            "sst2" => ("sst2", "padded per batch", Some(0.35)),
            "cola" => ("cola", "padded per batch", Some(0.42)),
            "cola max" => ("cola", "padded to 128", Some(0.10)),
            other => (other, "padded per batch", None),
        };
        let name = format!("epoch {task}");
        // Both sides see the same number of sequences; seconds per thousand are comparable between samples too.
        let seconds = |side| Some(1000.0 / results.median(&name, side, "sequences_per_s")?);
        rows.add(
            &format!("training {UNION} on {task_name} / adapters, {against}"),
            "s per 1000 rows",
            [seconds(Side::Ours), seconds(Side::Theirs)],
            target.map(Target::AtMost),
        );
    }
    rows.add(
        "own LoRA step / own full fine-tuning step",
        "ms",
        [
            ours("step lora-qv", "median_ms"),
            ours("step full", "median_ms"),
        ],
        Some(Target::AtMost(0.7)),
    );
    rows.add(
        "full fine-tuning step / transformers'",
        "ms",
        both("step full", "median_ms"),
        Some(Target::AtMost(0.95)),
    );
    for task in results.names_after("infer ") {
        let target = (task == "mrpc").then_some(Target::AtLeast(2.0));
        rows.add(
            &format!("evaluating {UNION} on {task} / adapters"),
            "sequences/s",
            both(&format!("infer {task}"), "sequences_per_s"),
            target,
        );
    }
    for task in results
        .names_after("epoch ")
        .iter()
        .filter(|task| !task.contains(' '))
    {
        let target = (task == "mrpc").then_some(Target::AtMost(0.25));
        rows.add(
            &format!("peak memory of training {UNION} on {task} / adapters"),
            "MiB",
            both(&format!("epoch {task}"), "peak_memory_mib"),
            target,
        );
    }
    rows.0
}

struct Rows(Vec<Row>);

impl Rows {
    fn add(
        &mut self,
        what: &str,
        unit: &'static str,
        [ours, other]: [Option<f64>; 2],
        target: Option<Target>,
    ) {
        if let (Some(ours_there), Some(other_there), Some(ratio)) =
            (ours, other, ratio(ours, other))
        {
            self.0.push(Row {
                what: what.to_string(),
                unit,
                ours: ours_there,
                other: other_there,
                ratio,
                target,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::results;
    use super::*;

    #[test]
    fn a_row_needs_both_of_its_measurements() {
        let alone = results(&[(
            "step lora-qv",
            Side::Ours,
            json!({"median_ms": 50.0, "gflops": 80.0}),
        )]);
        assert!(rows(&alone).is_empty());
        let with_ceiling = results(&[
            (
                "step lora-qv",
                Side::Ours,
                json!({"median_ms": 50.0, "gflops": 80.0}),
            ),
            ("ceiling", Side::Ours, json!({"gflops": 90.0})),
            ("ceiling", Side::Ours, json!({"gflops": 110.0})),
            ("ceiling", Side::Ours, json!({"gflops": 100.0})),
        ]);
        let rows = rows(&with_ceiling);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].ratio, rows[0].other), (0.8, 100.0));
        assert_eq!(rows[0].json()["met"], true);
    }

    #[test]
    fn training_is_compared_by_time_and_evaluation_by_speed() {
        let ours = json!({"sequences_per_s": 100.0, "peak_memory_mib": 300});
        let theirs = json!({"sequences_per_s": 25.0, "peak_memory_mib": 1000});
        let results = results(&[
            ("epoch mrpc", Side::Ours, ours.clone()),
            ("epoch mrpc", Side::Theirs, theirs.clone()),
            ("epoch rte", Side::Ours, ours.clone()),
            ("epoch rte", Side::Theirs, theirs.clone()),
            ("infer mrpc", Side::Ours, ours),
            ("infer mrpc", Side::Theirs, theirs),
        ]);
        let rows = rows(&results);
        let found: Vec<(f64, Option<Target>)> =
            rows.iter().map(|row| (row.ratio, row.target)).collect();
        let expected = [
            (0.25, Some(Target::AtMost(0.45))),
            (0.25, None),
            (4.0, Some(Target::AtLeast(2.0))),
            (0.3, Some(Target::AtMost(0.25))),
            (0.3, None),
        ];
        assert_eq!(found, expected);
        assert_eq!(rows[3].json()["met"], false);
    }

    #[test]
    fn a_target_is_met_at_its_limit() {
        assert!(Target::AtMost(0.5).is_met(0.5) && !Target::AtMost(0.5).is_met(0.51));
        assert!(Target::AtLeast(2.0).is_met(2.0) && !Target::AtLeast(2.0).is_met(1.9));
    }
}
