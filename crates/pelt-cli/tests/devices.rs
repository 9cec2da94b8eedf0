//! Devices by name.

mod common;

use common::{SMALL_UNION, Scene, labelled};

#[test]
fn what_is_compiled_in_is_listed_and_what_is_not_is_named() {
    let answer = Scene::new().pelt("devices");
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let mut lines = answer.stdout.lines();
    let first = lines.next().unwrap_or_default();
    assert!(
        first.starts_with("flex") && first.contains("processor"),
        "{answer:?}"
    );
    #[cfg(not(any(feature = "tch", feature = "cuda")))]
    assert!(
        lines.any(|line| line.starts_with("not in this build: tch, cuda")),
        "{answer:?}"
    );
}

#[test]
fn the_default_device_can_be_named() {
    let answer = Scene::new().pelt("--device flex inspect --model bert --method lora");
    assert_eq!(answer.code, Some(0), "{answer:?}");
}

#[test]
fn a_device_that_is_not_there_ends_in_one_sentence() {
    let scene = Scene::new();
    for (device, fragments) in [
        ("gpu", ["no device is called `gpu`", "this build has flex"]),
        ("flex:1", ["no device is called `flex:1`", "flex"]),
        #[cfg(not(feature = "cuda"))]
        (
            "cuda:0",
            ["`cuda:0` is not in this build", "--features cuda"],
        ),
        #[cfg(not(feature = "tch"))]
        (
            "tch-cpu",
            ["`tch-cpu` is not in this build", "--features tch"],
        ),
    ] {
        let command = format!("inspect --model bert --method lora --device {device}");
        scene.refuses(&command, &fragments);
        let listed = scene.pelt(&format!("devices --device {device}"));
        assert_eq!(listed.code, Some(2), "{listed:?}");
        assert!(listed.stdout.starts_with("flex"), "{listed:?}");
    }
}

#[test]
fn a_run_says_on_what_and_in_which_steps_it_was_trained() {
    let scene = Scene::new();
    scene.write("train.tsv", labelled(20, 1));
    let answer = scene.pelt(
        "train --model bert --train-file train.tsv --method lora --epochs 2 --batch-size 4 --gradient-accumulation 2 \
         --max-length 32 --out run --json",
    );
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let expected = "6 steps of 8 rows (2 batches of 4) on flex";
    assert!(answer.stderr.contains(expected), "{answer:?}");
    let results = answer.json();
    assert_eq!(results["effective_batch_size"], 8);
    assert_eq!(results["device"], "flex");
}

#[test]
fn checkpointing_changes_nothing_and_half_precision_little() {
    let scene = Scene::new();
    scene.write("train.tsv", labelled(20, 1));
    let losses = |options: &str| -> Vec<f64> {
        let command = format!(
            "train --model bert --train-file train.tsv {SMALL_UNION} --epochs 2 --batch-size 8 --max-length 32 --force --out run {options}"
        );
        scene.succeeds(&command);
        let lines = scene.read("run/metrics.jsonl");
        let lines = String::from_utf8(lines).unwrap();
        let steps = lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        steps.filter_map(|step| step["loss"].as_f64()).collect()
    };
    let plain = losses("");
    assert_eq!(plain.len(), 6);
    for (options, near) in [
        ("--gradient-checkpointing", 1e-4),
        ("--precision bf16", 0.05),
        ("--precision f16 --gradient-checkpointing", 0.02),
    ] {
        let found = losses(options);
        assert_eq!(found.len(), plain.len());
        for (found, plain) in found.iter().zip(&plain) {
            assert!(
                (found - plain).abs() < near,
                "{options}: {found}, not {plain}"
            );
        }
    }
    let record = scene.read_json("run/run.json");
    assert_eq!(record["config"]["train"]["precision"], "f16", "{record}");
}

#[test]
fn a_run_is_evaluated_in_half_precision_about_as_in_whole() {
    let scene = Scene::new();
    scene.succeeds(&format!(
        "train --model bert --train-file train.tsv {SMALL_UNION} --epochs 2 --batch-size 8 --max-length 32 --out run"
    ));
    let evaluate = "evaluate --run run --model bert --file dev.tsv --json";
    let loss = |options: &str| {
        let scores = scene.succeeds(&format!("{evaluate} {options}")).json();
        scores["loss"].as_f64().unwrap()
    };
    let whole = loss("");
    assert_eq!(loss("--precision f32"), whole);
    for (precision, near) in [("bf16", 0.05), ("f16", 0.01)] {
        let half = loss(&format!("--precision {precision}"));
        assert!(half != whole, "{precision} changed nothing");
        assert!((half - whole).abs() < near, "{precision}: {half}, {whole}");
    }
    let predict = "predict --run run --model bert --precision bf16";
    let answer = scene.pelt_with_input(predict, "a good film\n");
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
}
