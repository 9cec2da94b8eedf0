//! `cargo xtask profile`: how the time of a training step is spent, kernel by kernel.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use super::machine::Machine;
use super::program::{Program, Report, Words};
use super::table::{cell, number, table};
use super::{model, speed};
use crate::cargo;

/// Whether dropout is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Dropout {
    On,
    Off,
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What is trained; `pelt-bench speed methods` lists the names.
    #[arg(long, default_value = speed::UNION, value_name = "NAME")]
    method: String,
    /// Checkpoint folder [default: the demo's encoder, fetched where it is missing].
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Sequences of a batch.
    #[arg(long, default_value_t = 32, value_name = "N")]
    batch: usize,
    /// Tokens of each sequence.
    #[arg(long, default_value_t = 64, value_name = "N")]
    length: usize,
    /// Whether dropout is active.
    #[arg(long, value_enum, default_value = "on")]
    dropout: Dropout,
    /// Steps that are timed.
    #[arg(long, default_value_t = 30, value_name = "N")]
    rounds: usize,
    /// Threads to compute on [default: one per core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let model = model::folder(arguments.model.as_deref())?;
    // Before the build, which is a load of its own.
    let machine = Machine::here();
    println!("building pelt-bench with the feature `profile` (the first build takes some minutes)");
    let features = ["--features", "profile"];
    cargo::run(
        &[
            &["build", "--release", "--package", "pelt-bench"],
            &features[..],
        ]
        .concat(),
    )?;
    machine.warn_if_busy();
    let dropout = match arguments.dropout {
        Dropout::On => "on",
        Dropout::Off => "off",
    };
    let mut words = Words::new("profile")
        .option("--model", model.display())
        .option("--method", &arguments.method)
        .option("--batch", arguments.batch)
        .option("--length", arguments.length)
        .option("--rounds", arguments.rounds)
        .option("--dropout", dropout);
    if let Some(threads) = arguments.threads {
        words = words.option("--threads", threads);
    }
    let report = Program::pelt_bench(cargo::program("pelt-bench")?).measure(&words.words)?;
    let report = report.context("pelt-bench has no profile to give")?;
    println!(
        "\n{} cores of {}, {}",
        machine.cores, machine.cpu, machine.date
    );
    println!("\n{}", markdown(&report));
    Ok(())
}

/// One line of the table.
struct Row {
    name: String,
    direction: String,
    calls: Option<f64>,
    ms: f64,
}

/// The table, the longest first.
fn markdown(report: &Report) -> String {
    let step_ms = report.number("step_ms").unwrap_or_default();
    let mut rows = kernels(report);
    let rest = "tensor library and bookkeeping";
    for (name, direction, field) in [
        (rest, "forward", "rest_forward_ms"),
        (rest, "backward", "rest_backward_ms"),
        ("clipping and AdamW", "update", "update_ms"),
    ] {
        if let Some(ms) = report.number(field) {
            rows.push(Row {
                name: name.to_string(),
                direction: direction.to_string(),
                calls: None,
                ms,
            });
        }
    }
    rows.sort_by(|one, other| other.ms.total_cmp(&one.ms));
    let cells = rows.into_iter().map(|row| {
        let share = format!("{:.1} %", 100.0 * row.ms / step_ms);
        vec![
            row.name,
            row.direction,
            cell(row.calls),
            number(row.ms),
            share,
        ]
    });
    let cells: Vec<Vec<String>> = cells.collect();
    let field = |name: &str| cell(report.number(name));
    format!(
        "A step with {} on {} x {} tokens, dropout {}, {} threads: {} ms, of which forward {}, backward {} and update {} \
         (means of {} steps).\n\n{}",
        report.text("method").unwrap_or("an unnamed method"),
        field("batch"),
        field("length"),
        report.text("dropout").unwrap_or("unknown"),
        field("threads"),
        number(step_ms),
        field("forward_ms"),
        field("backward_ms"),
        field("update_ms"),
        field("rounds"),
        table(
            &["kernel", "direction", "calls", "ms", "share of the step"],
            &cells
        )
    )
}

fn kernels(report: &Report) -> Vec<Row> {
    let kernels = report.0.get("kernels").and_then(Value::as_array);
    let rows = kernels.into_iter().flatten().filter_map(|kernel| {
        Some(Row {
            name: kernel.get("name")?.as_str()?.to_string(),
            direction: kernel.get("direction")?.as_str()?.to_string(),
            calls: kernel.get("calls")?.as_f64(),
            ms: kernel.get("ms")?.as_f64()?,
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_has_kernels_and_what_is_left_the_longest_first() {
        let report = Report(json!({
            "method": "lora", "batch": 32, "length": 64, "rounds": 30, "dropout": "on", "threads": 2,
            "step_ms": 50.0, "forward_ms": 20.0, "backward_ms": 25.0, "update_ms": 5.0,
            "kernels": [
                {"name": "Linear", "direction": "forward", "calls": 36.0, "ms": 15.0, "share": 0.3},
                {"name": "Gelu", "direction": "backward", "calls": 6.0, "ms": 2.5, "share": 0.05},
            ],
            "rest_forward_ms": 5.5, "rest_backward_ms": 22.0,
        }));
        let text = markdown(&report);
        assert!(
            text.starts_with(
                "A step with lora on 32 x 64 tokens, dropout on, 2 threads: 50 ms, of which forward 20, backward 25 and \
                 update 5 (means of 30 steps)."
            ),
            "{text}"
        );
        let lines: Vec<&str> = text.lines().skip(4).collect();
        let expected = [
            "| tensor library and bookkeeping | backward | – | 22 | 44.0 % |",
            "| Linear | forward | 36 | 15 | 30.0 % |",
            "| tensor library and bookkeeping | forward | – | 5.50 | 11.0 % |",
            "| clipping and AdamW | update | – | 5 | 10.0 % |",
            "| Gelu | backward | 6 | 2.50 | 5.0 % |",
        ];
        assert_eq!(lines, expected);
    }
}
