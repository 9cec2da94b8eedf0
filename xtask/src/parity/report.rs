//! What a device's comparison gave, as a line of a table.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bench::table::table;

/// What came of one device.
#[derive(Debug)]
pub enum Outcome {
    Compared(Report),
    /// The program ended in a signal.
    Crashed(String),
    /// The program could not be built, or gave up.
    Failed(String),
    /// It could not be tried.
    Skipped(String),
}

/// A device's name and what came of it.
#[derive(Debug)]
pub struct Line {
    pub title: String,
    pub outcome: Outcome,
}

impl Line {
    pub fn is_failure(&self) -> bool {
        match &self.outcome {
            Outcome::Compared(report) => report.problems > 0,
            Outcome::Crashed(_) | Outcome::Failed(_) => true,
            Outcome::Skipped(_) => false,
        }
    }
}

/// The groups of comparisons, in the order in which the program makes them, with the tolerances of each.
#[derive(Debug)]
pub struct Report {
    sections: Vec<Section>,
    problems: usize,
}

#[derive(Debug)]
struct Section {
    name: String,
    largest: f64,
    tolerance: f64,
    seconds: f64,
}

impl Report {
    /// What `pelt-parity --json` prints.
    pub fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text.trim()).with_context(|| {
            format!("pelt-parity should print a JSON object, but printed `{text}`")
        })?;
        let sections = value["sections"]
            .as_array()
            .context("a report without sections")?;
        let section = |value: &Value| Section {
            name: value["name"].as_str().unwrap_or_default().to_string(),
            // What is no number is null in JSON.
            largest: value["largest"].as_f64().unwrap_or(f64::NAN),
            tolerance: value["tolerance"].as_f64().unwrap_or_default(),
            seconds: value["seconds"].as_f64().unwrap_or_default(),
        };
        Ok(Self {
            sections: sections.iter().map(section).collect(),
            problems: value["problems"].as_array().map_or(0, Vec::len),
        })
    }

    /// The largest difference in a group, nothing where the device was not asked for it.
    fn largest(&self, name: &str) -> String {
        let section = self.sections.iter().find(|section| section.name == name);
        section.map_or(String::new(), |section| format!("{:.1e}", section.largest))
    }
}

/// All devices as a table in Markdown.
pub fn lines(lines: &[Line]) -> String {
    let reports = lines.iter().filter_map(|line| match &line.outcome {
        Outcome::Compared(report) => Some(report),
        _ => None,
    });
    // A build without `flex` compares no training, so another one may know more groups.
    let widest = reports.max_by_key(|report| report.sections.len());
    let sections = widest.map_or(&[][..], |report| &report.sections);
    let mut header = vec!["device".to_string()];
    header.extend(
        sections
            .iter()
            .map(|s| format!("{} (at most {:e})", s.name, s.tolerance)),
    );
    header.extend(["seconds".to_string(), "result".to_string()]);
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let mut row = vec![line.title.clone()];
            let (cells, seconds, result) = match &line.outcome {
                Outcome::Compared(report) => (
                    sections.iter().map(|s| report.largest(&s.name)).collect(),
                    format!("{:.0}", seconds(report)),
                    match report.problems {
                        0 => "equal".to_string(),
                        problems => format!("{problems} outside"),
                    },
                ),
                Outcome::Crashed(status) => (vec![], String::new(), format!("crashed ({status})")),
                Outcome::Failed(why) => (vec![], String::new(), format!("failed: {why}")),
                Outcome::Skipped(why) => (vec![], String::new(), format!("skipped: {why}")),
            };
            let mut cells: Vec<String> = cells;
            cells.resize(sections.len(), String::new());
            row.extend(cells);
            row.extend([seconds, result]);
            row
        })
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    table(&header, &rows)
}

/// Outputs and gradients of the same cases share their time.
fn seconds(report: &Report) -> f64 {
    let own = report.sections.iter().enumerate();
    own.filter(|(place, _)| *place != 1)
        .map(|(_, section)| section.seconds)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"device":"flex","problems":[],"sections":[
        {"name":"outputs","count":2,"largest":1.5e-6,"tolerance":0.0001,"seconds":2.0},
        {"name":"gradients","count":2,"largest":null,"tolerance":0.0001,"seconds":2.0}]}"#;

    #[test]
    fn every_device_has_a_line() {
        let compared = Report::parse(TEXT).unwrap();
        let line = |title: &str, outcome| Line {
            title: title.into(),
            outcome,
        };
        let all = [
            line("flex", Outcome::Compared(compared)),
            line("vulkan:0", Outcome::Crashed("signal: 11".into())),
            line("wgpu:0", Outcome::Failed("it does not build".into())),
            line("cuda:0", Outcome::Skipped("no GPU".into())),
        ];
        let found = lines(&all);
        assert!(
            found.contains("| flex | 1.5e-6 | NaN | 2 | equal |"),
            "{found}"
        );
        assert!(
            found.contains("| vulkan:0 |  |  |  | crashed (signal: 11) |"),
            "{found}"
        );
        assert!(
            found.contains("| cuda:0 |  |  |  | skipped: no GPU |"),
            "{found}"
        );
        assert_eq!(all.iter().filter(|line| line.is_failure()).count(), 2);
    }

    #[test]
    fn what_is_no_report_is_shown() {
        let error = Report::parse("oops").unwrap_err();
        assert!(format!("{error:#}").contains("oops"), "{error:#}");
    }
}
