//! The built program, on the tiny models.
#![allow(clippy::unwrap_used)]

use assert_cmd::Command;
use pelt_testkit::fixture;
use serde_json::Value;

fn run(kind: &str, rest: &str) -> std::process::Output {
    let mut command = Command::cargo_bin("pelt-bench").unwrap();
    command.args(["speed", kind]).args(rest.split_whitespace());
    if kind != "ceiling" {
        command.arg("--model").arg(fixture("models/bert/base"));
    }
    command.output().unwrap()
}

fn report(kind: &str, rest: &str) -> Value {
    let output = run(kind, rest);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn assert_positive(report: &Value, fields: &[&str]) {
    for field in fields {
        let value = report[field].as_f64();
        assert!(value.is_some_and(|value| value > 0.0), "{field}: {report}");
    }
}

#[test]
fn a_step_reports_positive_times_and_operations() {
    for method in ["lora-qv", "unipelt-prompt", "bitfit", "full"] {
        let report = report(
            "step",
            &format!("--method {method} --batch 2 --length 5 --rounds 2 --dropout on --update"),
        );
        assert_eq!(report["method"], method);
        assert_eq!(report["rounds"], 2);
        assert_eq!(report["dropout"], "on");
        assert_positive(
            &report,
            &[
                "median_ms",
                "fastest_ms",
                "sequences_per_s",
                "tokens_per_s",
                "flops_forward",
                "flops_backward",
                "gflops",
                "trainable",
                "threads",
            ],
        );
    }
}

#[test]
fn operations_grow_with_what_is_trained() {
    let total = |method: &str| {
        let report = report(
            "step",
            &format!("--method {method} --batch 2 --length 5 --rounds 1"),
        );
        let part = |field: &str| report[field].as_u64().unwrap();
        part("flops_forward") + part("flops_backward")
    };
    assert!(total("lora-qv") < total("full"));
    assert!(total("prompt") < total("unipelt-prompt"));
}

#[test]
fn the_ceiling_is_measured_at_three_shapes() {
    let report = report(
        "ceiling",
        "--tokens 16 --hidden 8 --intermediate 32 --seconds 0 --threads 1",
    );
    assert_eq!(report["shapes"].as_array().unwrap().len(), 3);
    assert_eq!(report["threads"], 1);
    assert_positive(&report, &["gflops", "median_gflops"]);
}

#[test]
fn what_cannot_be_measured_is_one_sentence_on_the_error_stream() {
    for (rest, expected) in [
        ("--method lara", "lara"),
        ("--length 100 --batch 1", "100"),
        ("--rounds 0", "rounds must be at least 1"),
    ] {
        let output = run("step", rest);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{rest}"
        );
        assert!(
            message.starts_with("error: ") && message.contains(expected),
            "{message}"
        );
    }
}
