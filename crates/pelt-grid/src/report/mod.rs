//! The report on a grid of runs.

mod cards;
mod csv_file;
mod format;
mod html;
mod html_table;
mod html_text;
mod markdown;
mod plot;
mod predictions;
mod protocol;
mod published;
mod read;
mod resample;
#[cfg(test)]
pub(crate) mod sample;
mod score;
mod significance;
mod statistics;
pub(crate) mod summary;
mod table;
mod tables;

use std::path::Path;

use pelt_tensors::write_atomically;

use crate::GridError;
use crate::record::write_json;

pub(crate) use format::{count, difference, memory, score as shown_score, seconds};
pub(crate) use markdown::table as markdown_table;
pub(crate) use table::{Column, Row, RowKind, Table, TableCell};

pub use score::Unit;
pub use significance::{Significance, Tested};
pub use summary::{
    Average, CostSummary, Curve, Mark, MethodSummary, SeedResult, Summary, TaskSummary, Trial,
};

/// Writes `report.html`, `report.md`, `results.csv` and `results.json` into a folder. The same records give the same bytes.
///
/// # Errors
/// If a plot cannot be drawn, or a file not written.
pub fn write(summary: &Summary, folder: &Path) -> Result<(), GridError> {
    let html = folder.join("report.html");
    let page = html::page(summary).map_err(|problem| GridError::file(&html, problem))?;
    let csv = folder.join("results.csv");
    let lines = csv_file::csv_file(summary).map_err(|problem| GridError::file(&csv, problem))?;
    for (path, bytes) in [
        (html, page.into_bytes()),
        (
            folder.join("report.md"),
            markdown::markdown(summary).into_bytes(),
        ),
        (csv, lines),
    ] {
        write_atomically(&path, &bytes).map_err(|error| GridError::file(&path, error))?;
    }
    write_json(&folder.join("results.json"), summary)
}

#[cfg(test)]
mod tests {
    use super::sample::sample;
    use super::*;

    /// The files of a report on the sample.
    fn written() -> (tempfile::TempDir, Summary) {
        let folder = tempfile::tempdir().unwrap();
        let sample = sample();
        sample.write(folder.path()).unwrap();
        let summary = Summary::of(&sample.plan, folder.path()).unwrap();
        write(&summary, folder.path()).unwrap();
        (folder, summary)
    }

    fn read(folder: &tempfile::TempDir, name: &str) -> String {
        std::fs::read_to_string(folder.path().join(name)).unwrap()
    }

    #[test]
    fn the_same_records_give_the_same_bytes() {
        let (one, _) = written();
        let (other, _) = written();
        for name in ["report.html", "report.md", "results.csv", "results.json"] {
            assert_eq!(read(&one, name), read(&other, name), "{name}");
        }
    }

    #[test]
    fn the_page_stands_alone_and_holds_every_part() {
        let (folder, summary) = written();
        let html = read(&folder, "report.html");
        for outside in ["src=", "@import", "url(", "<link", "<b>", "<of "] {
            assert!(!html.contains(outside), "{outside}");
        }
        for part in [
            "id=\"overview\"",
            "id=\"scores\"",
            "id=\"cost\"",
            "id=\"curves\"",
            "id=\"gates\"",
            "id=\"published\"",
            "id=\"gaps\"",
            "id=\"measured\"",
            "46 of 48 runs finished, 1 failed, 1 missing",
            "&lt;of &quot;60&quot;&gt; &amp; later",
            "200 of 1500 rows",
        ] {
            assert!(html.contains(part), "{part}");
        }
        // Two plots against costs and one of curves for each task, and one for each part of the gated method.
        assert_eq!(html.matches("role=\"img\"").count(), 3 * 3 + 3);
        let best = summary.tasks[0]
            .methods
            .iter()
            .find(|one| one.mark == Some(Mark::Best));
        let shown = format!("{:.2}", best.unwrap().mean.unwrap());
        assert!(html.contains(&format!(
            "best\" data-value=\"{}\"><span class=\"value\">{shown}",
            best.unwrap().mean.unwrap()
        )));
        for (opened, closed) in [
            ("<section", "</section>"),
            ("<table", "</table>"),
            ("<svg", "</svg>"),
            ("<div", "</div>"),
            ("<details", "</details>"),
        ] {
            assert_eq!(
                html.matches(opened).count(),
                html.matches(closed).count(),
                "{opened}"
            );
        }
    }

    #[test]
    fn a_grid_without_results_has_a_report() {
        let folder = tempfile::tempdir().unwrap();
        let plan = sample().plan;
        let summary = Summary::of(&plan, folder.path()).unwrap();
        write(&summary, folder.path()).unwrap();
        let html = read(&folder, "report.html");
        assert!(html.contains("0 of 48 runs finished, 48 missing"));
        assert!(!html.contains("NaN") && !html.contains("inf"));
        assert_eq!(read(&folder, "results.csv").lines().count(), 1);
    }

    #[test]
    fn the_csv_holds_every_record() {
        let (folder, summary) = written();
        let mut reader = csv::Reader::from_path(folder.path().join("results.csv")).unwrap();
        let header = reader.headers().unwrap().clone();
        let column = |name: &str| header.iter().position(|one| one == name).unwrap();
        let lines: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(lines.len(), summary.records.len());
        for (line, record) in lines.iter().zip(&summary.records) {
            assert_eq!(
                line[column("score")].parse::<f64>().unwrap(),
                record.score()
            );
            assert_eq!(
                line[column("seed")].parse::<u64>().unwrap(),
                record.cell.seed
            );
            assert_eq!(&line[column("reported.set")], record.reported[0].set);
        }
        let chosen = lines
            .iter()
            .filter(|line| &line[column("chosen")] == "true")
            .count();
        // Four methods with three seeds on three tasks, but for two runs.
        assert_eq!(chosen, 3 * 4 * 3 - 2);
        assert_eq!(&lines[0][column("reported.pearson")], "");
    }

    #[test]
    fn the_json_comes_back() {
        let (folder, summary) = written();
        let back: Summary = serde_json::from_str(&read(&folder, "results.json")).unwrap();
        assert_eq!(back.records.len(), summary.records.len());
        for (back, record) in back.records.iter().zip(&summary.records) {
            assert_eq!(back.cell, record.cell);
            assert!((back.score() - record.score()).abs() < 1e-12);
        }
        assert_eq!(back.failures, summary.failures);
        assert_eq!(back.plan.model.as_deref(), Some("roberta-base"));
    }

    #[test]
    fn a_task_whose_reported_rows_chose_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let mut sample = sample();
        for record in sample.records.iter_mut() {
            if record.cell.task == "sst2" {
                record.development.set = record.reported[0].set.clone();
            }
        }
        sample.write(folder.path()).unwrap();
        let summary = Summary::untested(&sample.plan, folder.path()).unwrap();
        let text = markdown::markdown(&summary);
        assert!(
            text.contains("accuracy, chosen on the reported rows"),
            "{text}"
        );
        assert!(
            text.contains("On sst2 the reported rows are also"),
            "{text}"
        );
        assert!(!text.contains("F1, chosen on the reported rows"), "{text}");
    }

    #[test]
    fn the_markdown_says_what_is_missing() {
        let (folder, _) = written();
        let text = read(&folder, "report.md");
        assert!(text.contains("sst2/bitfit/lr-0.002-seed-44"), "{text}");
        assert!(text.contains("1 failed, 1 missing"), "{text}");
        assert!(text.contains("\\<of \"60\"\\> \\& later"), "{text}");
        assert!(text.contains("(2 of 3 seeds)"), "{text}");
    }
}
