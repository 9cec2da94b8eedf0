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

#[cfg(not(feature = "profile"))]
#[test]
fn a_build_that_measures_no_kernels_says_so() {
    let output = run("profile", "--batch 2 --length 5 --rounds 1");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(
        message.starts_with("error: ") && message.contains("feature `profile`"),
        "{message}"
    );
}

#[cfg(feature = "profile")]
#[test]
fn a_profile_has_the_kernels_of_both_directions_and_what_is_left() {
    let report = report(
        "profile",
        "--method lora-qv --batch 2 --length 5 --rounds 3 --dropout on",
    );
    assert_positive(
        &report,
        &[
            "step_ms",
            "forward_ms",
            "backward_ms",
            "update_ms",
            "rest_forward_ms",
            "rest_backward_ms",
        ],
    );
    let number = |value: &Value, field: &str| value[field].as_f64().unwrap();
    let kernels = report["kernels"].as_array().unwrap();
    for kernel in kernels {
        let share = number(kernel, "ms") / number(&report, "step_ms");
        assert!((number(kernel, "share") - share).abs() < 1e-9, "{kernel}");
    }
    // Two layers: the warm-up would make the number of calls larger.
    let attention = |direction: &str| {
        kernels
            .iter()
            .find(|kernel| kernel["name"] == "Attention" && kernel["direction"] == direction)
            .unwrap()
    };
    assert_eq!(attention("forward")["calls"], 2.0);
    assert_eq!(attention("backward")["calls"], 2.0);
    let parts: f64 = kernels.iter().map(|kernel| number(kernel, "ms")).sum();
    let all = parts
        + number(&report, "rest_forward_ms")
        + number(&report, "rest_backward_ms")
        + number(&report, "update_ms");
    assert!((all - number(&report, "step_ms")).abs() < 1e-6);
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
