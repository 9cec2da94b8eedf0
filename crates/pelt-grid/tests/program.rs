//! The program's own answers, without anything to train.

#![allow(clippy::unwrap_used)] // Helpers of tests may unwrap as tests do.

use assert_cmd::Command;

/// Runs it, which must fail in one line, and gives that.
fn refusal(arguments: &[&str]) -> String {
    let mut command = Command::cargo_bin("pelt-grid").unwrap();
    let output = command.args(arguments).output().unwrap();
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_cannot_be_run_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let plan = format!("{folder}/plan.toml");
    let rates = "name = \"p\"\nseeds = [1]\n[budget]\n[[tasks]]\nname = \"mrpc\"\n[[methods]]\nname = \"full\"\nlearning_rates = [1e-4, 2e-4]\n";
    std::fs::write(&plan, rates).unwrap();
    let cases: [(&[&str], &[&str]); 7] = [
        (&["run", "--suite", "glou"], &["glou", "low-resource"]),
        (
            &["run", "--suite", "smoke", "--jobs", "0"],
            &["--jobs", "0"],
        ),
        (
            &["run", "--suite", "smoke", "--tasks", "mrcp"],
            &["mrcp", "mrpc"],
        ),
        (
            &["run", "--suite", "smoke", "--gres", "gpu:1"],
            &["--gres", "--launcher slurm"],
        ),
        (
            &["run", "--suite", "smoke", "--model", folder],
            &["config.json"],
        ),
        (&["run", &plan, "--model", folder], &["mrpc", "dev_rows"]),
        (&["compare", folder, "/nowhere"], &["/nowhere", "plan.toml"]),
    ];
    for (arguments, fragments) in cases {
        let said = refusal(arguments);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("error: "), "{said}");
        for fragment in fragments {
            assert!(said.contains(fragment), "{fragment}: {said}");
        }
    }
}

#[test]
fn nothing_to_do_is_a_usage_error() {
    let said = refusal(&["run"]);
    assert!(said.contains("--suite") || said.contains("PLAN"), "{said}");
}
