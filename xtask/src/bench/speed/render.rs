//! Tables for people.

use super::acceptance::{self, Row, Target};
use super::results::{Results, Side};
use crate::bench::program::Report;
use crate::bench::table::{ABSENT, cell, number, table};

/// The whole report.
pub fn markdown(results: &Results) -> String {
    let machine = &results.machine;
    let versions: Vec<String> = results
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let epochs = match results.sampled {
        Some(steps) => {
            format!("Training on a task is a sample of {steps} steps, not a whole epoch.")
        }
        None => "Training on a task is one whole epoch.".to_string(),
    };
    let mut out = format!(
        "# Speed\n\n- processor: {}, {} cores, load {} at the start\n- date: {}\n- command: `{}`\n- versions: {}\n\nEvery run is a process of its \
         own, both sides in turn; numbers are medians over the runs. {epochs}\n",
        machine.cpu,
        machine.cores,
        cell(machine.load),
        machine.date,
        machine.command,
        versions.join(", "),
    );
    let rows: Vec<Vec<String>> = acceptance::rows(results)
        .iter()
        .map(acceptance_cells)
        .collect();
    if !rows.is_empty() {
        out.push_str("\n## Comparisons\n\n");
        out.push_str(&table(
            &[
                "what",
                "unit",
                "ours",
                "compared with",
                "ratio",
                "target",
                "met",
            ],
            &rows,
        ));
    }
    out.push_str(&ceiling(results));
    out.push_str(&methods(results));
    out.push_str(&scaling(results));
    for note in &results.notes {
        out.push_str(&format!("\nNote: {note}\n"));
    }
    out
}

/// What a run found, for the terminal.
pub fn one_line(report: &Report) -> String {
    let fields = [
        ("median_ms", "ms"),
        ("sequences_per_s", "sequences/s"),
        ("gflops", "GFLOP/s"),
        ("peak_memory_mib", "MiB"),
    ];
    let parts = fields
        .iter()
        .filter_map(|(field, unit)| Some(format!("{} {unit}", number(report.number(field)?))));
    let parts: Vec<String> = parts.collect();
    match parts.is_empty() {
        true => "done".to_string(),
        false => parts.join(", "),
    }
}

fn acceptance_cells(row: &Row) -> Vec<String> {
    let (target, met) = match row.target {
        Some(Target::AtMost(limit)) => (format!("≤ {limit}"), Some(row.ratio <= limit)),
        Some(Target::AtLeast(limit)) => (format!("≥ {limit}"), Some(row.ratio >= limit)),
        None => (ABSENT.to_string(), None),
    };
    let met = match met {
        Some(true) => "yes",
        Some(false) => "no",
        None => ABSENT,
    };
    vec![
        row.what.clone(),
        row.unit.to_string(),
        number(row.ours),
        number(row.other),
        format!("{:.3}", row.ratio),
        target,
        met.to_string(),
    ]
}

fn ceiling(results: &Results) -> String {
    let Some(best) = results.median("ceiling", Side::Ours, "gflops") else {
        return String::new();
    };
    let median = cell(results.median("ceiling", Side::Ours, "median_gflops"));
    format!(
        "\nCeiling of the matrix products alone: {} GFLOP/s from the fastest products of a run, {median} from the median ones; medians of runs in turn with the LoRA step.\n",
        number(best)
    )
}

/// One line for each method: a step, training and evaluation, and the other side where it was measured.
fn methods(results: &Results) -> String {
    let names = results.names_after("table step ");
    if names.is_empty() {
        return String::new();
    }
    let mut rows = Vec::new();
    for name in &names {
        let mut row = vec![
            name.clone(),
            cell(results.median(&format!("table step {name}"), Side::Ours, "trainable")),
        ];
        for (kind, field) in [
            ("step", "median_ms"),
            ("epoch", "sequences_per_s"),
            ("infer", "sequences_per_s"),
            ("epoch", "peak_memory_mib"),
        ] {
            let measurement = format!("table {kind} {name}");
            let [ours, theirs] =
                [Side::Ours, Side::Theirs].map(|side| results.median(&measurement, side, field));
            row.push(cell(ours));
            row.push(match (theirs, results.ratio(&measurement, field)) {
                (Some(theirs), Some(ratio)) => format!("{} ({ratio:.2})", number(theirs)),
                _ => ABSENT.to_string(),
            });
        }
        rows.push(row);
    }
    let header = [
        "method",
        "trained",
        "step, ms",
        "python",
        "training, sequences/s",
        "python",
        "evaluation, sequences/s",
        "python",
        "peak memory, MiB",
        "python",
    ];
    format!(
        "\n## Methods\n\nA step is forward and backward on 32 x 64 tokens without dropout. In parentheses: ours / python.\n\n{}",
        table(&header, &rows)
    )
}

fn scaling(results: &Results) -> String {
    let Some(report) = results.reports("scaling", Side::Ours).last() else {
        return String::new();
    };
    let points = report.0.get("points").and_then(serde_json::Value::as_array);
    let rows = points.into_iter().flatten().map(|point| {
        let field = |name: &str| cell(point.get(name).and_then(serde_json::Value::as_f64));
        [
            "batch",
            "length",
            "median_ms",
            "attention_ms",
            "us_per_token",
            "us_per_token_without_attention",
        ]
        .map(field)
        .to_vec()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let percent = |field: &str| cell(report.number(field).map(|spread| 100.0 * spread));
    let header = [
        "sequences",
        "tokens each",
        "ms",
        "of it attention, ms",
        "µs per token",
        "without attention",
    ];
    format!(
        "\n## Batches of 512 tokens\n\nA step with {}, forward and backward. Attention is measured alone, at the same \
         shapes, and subtracted. The largest time per token is {} % above the least, without attention {} %.\n\n\
         ![time per token](scaling.svg)\n\n{}",
        report.text("method").unwrap_or("LoRA"),
        percent("spread"),
        percent("spread_without_attention"),
        table(&header, &rows)
    )
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::results;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_comparison_shows_its_ratio_beside_its_target() {
        let results = results(&[
            ("step full", Side::Ours, json!({"median_ms": 100.0})),
            ("step full", Side::Theirs, json!({"median_ms": 80.0})),
        ]);
        let text = markdown(&results);
        assert!(
            text.contains(
                "| full fine-tuning step / transformers' | ms | 100 | 80 | 1.250 | ≤ 0.95 | no |"
            ),
            "{text}"
        );
        assert!(
            text.contains("a processor, 2 cores, load 0.50") && text.contains("sample of 40 steps"),
            "{text}"
        );
    }

    #[test]
    fn a_method_without_a_counterpart_has_empty_cells() {
        let results = results(&[
            (
                "table step prefix",
                Side::Ours,
                json!({"median_ms": 12.34, "trainable": 1000}),
            ),
            (
                "table epoch prefix",
                Side::Ours,
                json!({"sequences_per_s": 50.0, "peak_memory_mib": 300}),
            ),
            (
                "table epoch prefix",
                Side::Theirs,
                json!({"sequences_per_s": 25.0, "peak_memory_mib": 1200}),
            ),
        ]);
        let text = markdown(&results);
        let expected = "| prefix | 1000 | 12.3 | – | 50 | 25 (2.00) | – | – | 300 | 1200 (0.25) |";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn points_of_the_scaling_are_lines() {
        let points = json!([{
            "batch": 1,
            "length": 512,
            "median_ms": 51.2,
            "attention_ms": 20.5,
            "us_per_token": 100.0,
            "us_per_token_without_attention": 60.0,
        }]);
        let results = results(&[(
            "scaling",
            Side::Ours,
            json!({
                "method": "lora",
                "points": points,
                "spread": 0.5,
                "spread_without_attention": 0.123,
            }),
        )]);
        let text = markdown(&results);
        assert!(
            text.contains("| 1 | 512 | 51.2 | 20.5 | 100 | 60 |"),
            "{text}"
        );
        assert!(
            text.contains("50 % above the least, without attention 12.3 %"),
            "{text}"
        );
    }

    #[test]
    fn a_run_is_told_in_one_line() {
        let report = Report(json!({"median_ms": 12.0, "peak_memory_mib": 300, "task": "mrpc"}));
        assert_eq!(one_line(&report), "12 ms, 300 MiB");
        assert_eq!(one_line(&Report(json!({"points": []}))), "done");
    }
}
