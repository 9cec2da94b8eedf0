//! A run that is killed and resumed ends as one that was never disturbed, bit for bit.

#![allow(clippy::unwrap_used)] // Helpers of tests may unwrap as tests do.

mod common;

use std::process::Stdio;

use common::{SMALL_UNION, Scene, labelled};
use serde_json::Value;

const ROWS: usize = 600;
const STEPS_PER_EPOCH: usize = ROWS / 6;
const EPOCHS: usize = 5;

fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("train.tsv", labelled(ROWS, 5));
    scene
}

fn train(options: &str) -> String {
    format!(
        "train --model bert --train-file train.tsv --validation-file dev.tsv --epochs {EPOCHS} --batch-size 6 \
         --max-length 32 {SMALL_UNION} {options}"
    )
}

/// Kills a run as soon as `reached` holds.
fn kill_when(scene: &Scene, arguments: &str, reached: impl Fn() -> bool) {
    scene.kill_when(arguments, reached);
    assert!(scene.path("run/started.json").exists() && !scene.path("run/run.json").exists());
}

fn steps_recorded(scene: &Scene) -> usize {
    let text = std::fs::read_to_string(scene.path("run/metrics.jsonl")).unwrap_or_default();
    text.lines()
        .filter(|line| line.contains("\"kind\":\"step\""))
        .count()
}

/// A line of the record without what the clock says.
fn timeless(mut line: Value) -> Value {
    line.as_object_mut().unwrap().remove("seconds");
    line
}

/// Checks that `run` ended exactly as `calm`.
fn assert_same_end(scene: &Scene) {
    for file in [
        "adapter.safetensors",
        "model_head.safetensors",
        "adapter_config.json",
        "head_config.json",
    ] {
        assert!(
            scene.read(&format!("run/{file}")) == scene.read(&format!("calm/{file}")),
            "{file} differs"
        );
    }
    let results = |run: &str| {
        let results = &scene.read_json(&format!("{run}/run.json"))["results"];
        ["best", "best_step", "steps", "stopped_early"].map(|name| results[name].clone())
    };
    assert_eq!(results("run"), results("calm"));
    for kind in ["step", "evaluation"] {
        let lines = |run: &str| {
            scene
                .metrics(run, kind)
                .into_iter()
                .map(timeless)
                .collect::<Vec<_>>()
        };
        assert_eq!(lines("run"), lines("calm"), "{kind} lines");
    }
    let steps: Vec<u64> = scene
        .metrics("run", "step")
        .iter()
        .map(|s| s["step"].as_u64().unwrap())
        .collect();
    assert_eq!(
        steps,
        (1..=(EPOCHS * STEPS_PER_EPOCH) as u64).collect::<Vec<_>>()
    );
    assert_eq!(scene.names("run"), scene.names("calm"));
}

#[test]
fn a_run_killed_twice_in_the_middle_of_an_epoch_ends_the_same() {
    let scene = scene();
    scene.succeeds(&train("--out calm"));
    let checkpoint = scene.path("run/checkpoint.safetensors");
    kill_when(&scene, &train("--checkpoint-every 30 --out run"), || {
        checkpoint.exists()
    });
    assert!(
        steps_recorded(&scene) < STEPS_PER_EPOCH,
        "it was not killed in the first epoch"
    );
    let first = scene.metrics("run", "step");
    // The second time there are best weights to be kept, and the checkpoint is not at the end of an epoch.
    let resume = train("--checkpoint-every 30 --out run --resume");
    kill_when(&scene, &resume, || {
        steps_recorded(&scene) >= 2 * STEPS_PER_EPOCH + 35
    });
    assert!(
        steps_recorded(&scene) < 3 * STEPS_PER_EPOCH,
        "it was not killed in the third epoch"
    );
    let second = scene.metrics("run", "step");
    scene.succeeds(&resume);
    assert_same_end(&scene);
    // The time of all sittings counts, as far as their steps were saved.
    let seconds = |lines: Vec<Value>| -> f64 {
        let lines = lines.iter();
        lines.map(|line| line["seconds"].as_f64().unwrap()).sum()
    };
    let recorded =
        seconds(scene.metrics("run", "step")) + seconds(scene.metrics("run", "evaluation"));
    let results = scene.read_json("run/run.json")["results"].clone();
    assert!(
        results["seconds"].as_f64().unwrap() >= recorded,
        "{results} {recorded}"
    );
    // What was saved was not done again: its lines still say how long the first and the second sitting took.
    let last = scene.metrics("run", "step");
    assert_eq!(last[..30], first[..30]);
    assert_eq!(
        last[..2 * STEPS_PER_EPOCH + 10],
        second[..2 * STEPS_PER_EPOCH + 10]
    );
}

#[cfg(unix)]
#[test]
fn a_run_that_is_asked_to_end_saves_its_state_and_says_how_to_go_on() {
    use std::io::Read;
    let scene = scene();
    scene.succeeds(&train("--out calm"));
    for (signal, steps) in [("INT", 20), ("TERM", 2 * STEPS_PER_EPOCH + 35)] {
        let arguments = match signal {
            "INT" => train("--checkpoint-every 100000 --out run"),
            _ => train("--checkpoint-every 100000 --out run --resume"),
        };
        let mut process = scene.process(&arguments);
        process.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = process.spawn().unwrap();
        while steps_recorded(&scene) < steps {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let id = child.id().to_string();
        let kill = std::process::Command::new("kill")
            .args([&format!("-{signal}"), &id])
            .status();
        assert!(kill.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let mut said = String::new();
        child.stderr.unwrap().read_to_string(&mut said).unwrap();
        let last = said.lines().last().unwrap();
        assert!(last.starts_with("error: interrupted after step"), "{said}");
        assert!(last.contains("--resume"), "{said}");
        assert!(said.contains("ask again to end at once"), "{said}");
        assert!(scene.path("run/checkpoint.safetensors").exists());
    }
    scene.succeeds(&train("--checkpoint-every 100000 --out run --resume"));
    assert_same_end(&scene);
}

#[test]
fn a_run_killed_before_its_first_checkpoint_ends_the_same() {
    let scene = scene();
    scene.succeeds(&train("--out calm"));
    kill_when(
        &scene,
        &train("--checkpoint-every 100000 --out run"),
        || steps_recorded(&scene) >= 20,
    );
    assert!(!scene.path("run/checkpoint.safetensors").exists());
    scene.refuses(
        &train("--lr 1e-3 --out run --resume"),
        &["run", "cannot resume", "learning_rate", "0.001"],
    );
    // What is not recorded where it is as usual.
    scene.refuses(
        &train("--gradient-checkpointing --out run --resume"),
        &[
            "run",
            "cannot resume",
            "gradient_checkpointing",
            "null",
            "true",
        ],
    );
    scene.succeeds(&train("--out run --resume"));
    assert_same_end(&scene);
}

#[test]
fn what_does_not_fit_the_checkpoint_is_named() {
    let scene = scene();
    let checkpoint = scene.path("run/checkpoint.safetensors");
    kill_when(&scene, &train("--checkpoint-every 10 --out run"), || {
        checkpoint.exists()
    });
    for (options, fragments) in [
        ("--lr 1e-3", ["learning_rate", "0.0005", "0.001"]),
        ("--seed 7", ["seed", "42", "7"]),
        ("--dropout 0.3", ["dropout", "null", "0.3"]),
        ("--set lora.alpha=5", ["tuning", "2.0", "5.0"]),
        ("--train-rows 300", ["data", "600", "300"]),
    ] {
        let mut all = vec!["run", "cannot resume"];
        all.extend(fragments);
        scene.refuses(&train(&format!("{options} --out run --resume")), &all);
    }
    // Another folder of the same model is no difference; another model is.
    scene.copy("bert", "moved");
    scene.made_bert("other", |_| {});
    let elsewhere = train("--out run --resume");
    scene.refuses(
        &elsewhere.replace("--model bert", "--model other"),
        &["cannot resume", "base", "fingerprint"],
    );
    scene.succeeds(&elsewhere.replace("--model bert", "--model moved"));
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let scene = scene();
    let checkpoint = scene.path("run/checkpoint.safetensors");
    kill_when(&scene, &train("--checkpoint-every 10 --out run"), || {
        checkpoint.exists()
    });
    let whole = scene.read("run/checkpoint.safetensors");
    let refused = |fragments: &[&str]| {
        scene.fails(&train("--out run --resume"), "", fragments);
    };
    scene.write("run/checkpoint.safetensors", &whole[..whole.len() / 2]);
    refused(&["run/checkpoint.safetensors", "expected", "found"]);
    let mut flipped = whole.clone();
    flipped[20] ^= 0x10;
    scene.write("run/checkpoint.safetensors", flipped);
    refused(&["run/checkpoint.safetensors"]);
    scene.write("run/started.json", "{");
    refused(&["run/started.json"]);
}

#[test]
fn there_must_be_something_to_resume() {
    let scene = Scene::new();
    let train = "train --model bert --train-file train.tsv --method lora --epochs 1 --max-length 32 --out run";
    let nothing = ["run", "no run in this folder"];
    scene.refuses(&format!("{train} --resume"), &nothing);
    std::fs::create_dir(scene.path("run")).unwrap();
    scene.refuses(&format!("{train} --resume"), &nothing);
    scene.succeeds(train);
    scene.refuses(&format!("{train} --resume"), &["run", "already finished"]);
}

#[test]
fn what_a_kill_left_half_written_is_swept_away() {
    let scene = scene();
    let checkpoint = scene.path("run/checkpoint.safetensors");
    kill_when(&scene, &train("--checkpoint-every 10 --out run"), || {
        checkpoint.exists()
    });
    scene.write("run/.checkpoint.safetensors.a1b2c3.tmp", "half");
    scene.write("run/notes.txt", "the user's own");
    scene.refuses(
        "evaluate --run run --model bert --file dev.tsv",
        &["run", "not finished", "--resume"],
    );
    scene.refuses(
        &train("--out run"),
        &["run", "unfinished", "--resume", "--force"],
    );
    let quick = "train --model bert --train-file train.tsv --train-rows 8 --method lora --epochs 1 --max-length 32";
    scene.succeeds(&format!("{quick} --out run --force"));
    let expected = [
        "adapter.safetensors",
        "adapter_config.json",
        "head_config.json",
        "metrics.jsonl",
        "model_head.safetensors",
        "notes.txt",
        "run.json",
    ];
    assert_eq!(scene.names("run"), expected);
}
