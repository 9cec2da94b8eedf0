//! All reports of a run of the command, and their medians.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::acceptance;
use crate::bench::machine::Machine;
use crate::bench::program::Report;

/// Whose report it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Ours,
    Theirs,
}

/// The reports of one measurement.
#[derive(Debug, Clone, Default)]
struct Runs {
    ours: Vec<Report>,
    theirs: Vec<Report>,
}

/// Everything that was measured, and where.
#[derive(Debug)]
pub struct Results {
    pub machine: Machine,
    pub versions: Vec<(String, String)>,
    /// Steps that stood for an epoch.
    pub sampled: Option<usize>,
    pub notes: Vec<String>,
    failures: usize,
    runs: BTreeMap<String, Runs>,
}

impl Results {
    pub fn new(machine: Machine, versions: Vec<(String, String)>, sampled: Option<usize>) -> Self {
        Self {
            machine,
            versions,
            sampled,
            notes: Vec::new(),
            failures: 0,
            runs: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, name: &str, side: Side, report: Report) {
        let runs = self.runs.entry(name.to_string()).or_default();
        match side {
            Side::Ours => runs.ours.push(report),
            Side::Theirs => runs.theirs.push(report),
        }
    }

    pub fn note(&mut self, sentence: &str) {
        self.notes.push(sentence.to_string());
    }

    pub fn failed(&mut self, name: &str, side: &str, error: &anyhow::Error) {
        self.failures += 1;
        self.notes
            .push(format!("{name} ({side}) failed: {error:#}"));
    }

    pub fn failures(&self) -> usize {
        self.failures
    }

    /// Names of measurements that begin so, without the beginning.
    pub fn names_after(&self, beginning: &str) -> Vec<String> {
        let names = self
            .runs
            .keys()
            .filter_map(|name| name.strip_prefix(beginning));
        names.map(String::from).collect()
    }

    pub fn reports(&self, name: &str, side: Side) -> &[Report] {
        match (self.runs.get(name), side) {
            (Some(runs), Side::Ours) => &runs.ours,
            (Some(runs), Side::Theirs) => &runs.theirs,
            (None, _) => &[],
        }
    }

    /// The median of a field over all runs that have it.
    pub fn median(&self, name: &str, side: Side, field: &str) -> Option<f64> {
        let reports = self.reports(name, side).iter();
        median(reports.filter_map(|report| report.number(field)).collect())
    }

    /// Our median over theirs.
    pub fn ratio(&self, name: &str, field: &str) -> Option<f64> {
        ratio(
            self.median(name, Side::Ours, field),
            self.median(name, Side::Theirs, field),
        )
    }

    pub fn json(&self) -> Value {
        let values = |reports: &[Report]| -> Vec<Value> {
            reports.iter().map(|report| report.0.clone()).collect()
        };
        let runs = self.runs.iter().map(|(name, runs)| {
            let both = json!({"ours": values(&runs.ours), "theirs": values(&runs.theirs)});
            (name.clone(), both)
        });
        let rows = acceptance::rows(self);
        let rows: Vec<Value> = rows.iter().map(acceptance::Row::json).collect();
        json!({
            "machine": self.machine.json(),
            "versions": self.versions.iter().cloned().collect::<BTreeMap<_, _>>(),
            "sampled_steps": self.sampled,
            "notes": self.notes,
            "acceptance": rows,
            "runs": runs.collect::<serde_json::Map<_, _>>(),
        })
    }
}

/// The middle value, or the mean of the two middle ones; `None` without values.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// One number over another, where both are there and the second is not zero.
pub fn ratio(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    let (one, other) = (one?, other?);
    (other != 0.0).then(|| one / other)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Results with these fields of single runs.
    pub fn results(runs: &[(&str, Side, Value)]) -> Results {
        let machine = Machine {
            cpu: "a processor".to_string(),
            cores: 2,
            load: Some(0.5),
            date: "2026-01-02".to_string(),
            command: "cargo xtask bench speed".to_string(),
        };
        let mut results = Results::new(machine, vec![("pelt".into(), "0.1.0".into())], Some(40));
        for (name, side, value) in runs {
            results.add(name, *side, Report(value.clone()));
        }
        results
    }

    #[test]
    fn a_median_takes_the_middle_of_what_is_there() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![1.0, 2.0, 4.0, 100.0]), Some(3.0));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn a_ratio_is_that_of_the_medians() {
        let run = |side, ms: f64| ("step full", side, json!({"median_ms": ms}));
        let results = results(&[
            run(Side::Ours, 10.0),
            run(Side::Ours, 90.0),
            run(Side::Ours, 12.0),
            run(Side::Theirs, 24.0),
        ]);
        assert_eq!(results.ratio("step full", "median_ms"), Some(0.5));
        assert_eq!(results.ratio("step full", "absent"), None);
        assert_eq!(results.ratio("step lora", "median_ms"), None);
        assert_eq!(ratio(Some(1.0), Some(0.0)), None);
    }

    #[test]
    fn every_run_and_every_row_with_a_target_is_in_the_json() {
        let results = results(&[
            ("step full", Side::Ours, json!({"median_ms": 10.0})),
            ("step full", Side::Theirs, json!({"median_ms": 20.0})),
        ]);
        let value = results.json();
        assert_eq!(value["runs"]["step full"]["ours"][0]["median_ms"], 10.0);
        assert_eq!(value["acceptance"][0]["ratio"], 0.5);
        assert_eq!(value["machine"]["cores"], 2);
    }
}
