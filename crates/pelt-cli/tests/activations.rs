//! Keeping what the layers below the method give.

#![allow(clippy::unwrap_used)] // Helpers of tests may unwrap as tests do.

mod common;

use common::{SMALL_UNION, Scene, labelled};

const METHOD: &str = "--method seq_bn --set bottleneck.leave_out=[0,1] --lr 1e-2";

fn train(options: &str) -> String {
    format!(
        "train --model deep --train-file train.tsv --validation-file dev.tsv --batch-size 6 --max-length 32 {options}"
    )
}

/// A scene with a model of three layers, `deep`.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.made_bert("deep", |config| config["num_hidden_layers"] = 3.into());
    scene
}

fn losses(scene: &Scene, run: &str) -> Vec<f64> {
    let steps = scene.metrics(run, "step").into_iter();
    steps.map(|step| step["loss"].as_f64().unwrap()).collect()
}

#[test]
fn without_dropout_the_run_is_the_same_and_the_memory_is_announced() {
    let scene = scene();
    let plain = train(&format!("{METHOD} --dropout 0"));
    scene.succeeds(&format!("{plain} --out plain"));
    let answer = scene.succeeds(&format!("{plain} --cache-activations --out kept"));
    let first_epoch = scene.metrics("kept", "step").into_iter();
    let first_epoch = first_epoch.filter(|step| step["epoch"] == 1);
    let tokens: u64 = first_epoch.map(|s| s["tokens"].as_u64().unwrap()).sum();
    let announced = format!(
        "the embeddings and 2 of 3 layers give, without dropout there: at most {:.2} MiB",
        (tokens * 32 * 4) as f64 / f64::from(1 << 20)
    );
    let lines = answer.stderr.lines();
    let said = lines.filter(|line| line.contains(&announced)).count();
    assert_eq!(said, 1, "{announced}: {}", answer.stderr);

    let [kept, plain] = ["kept", "plain"].map(|run| losses(&scene, run));
    assert_eq!(kept.len(), 21);
    for (a, b) in kept.iter().zip(&plain) {
        assert!((a - b).abs() <= 1e-6, "{a} {b}");
    }
    for file in ["adapter.safetensors", "model_head.safetensors"] {
        let [kept, plain] = ["kept", "plain"].map(|run| scene.tensors(&format!("{run}/{file}")));
        assert!(kept.keys().eq(plain.keys()));
        for (name, tensor) in &kept {
            for (a, b) in tensor.values.iter().zip(&plain[name].values) {
                assert!((a - b).abs() <= 1e-6, "{name}: {a} {b}");
            }
        }
    }
    let setting =
        |run: &str| scene.read_json(&format!("{run}/run.json"))["config"]["train"].clone();
    assert_eq!(setting("kept")["cache_activations"], true);
    assert_eq!(setting("plain")["cache_activations"], false);
    assert_eq!(scene.names("kept"), scene.names("plain"));
    scene.succeeds("evaluate --run kept --model deep --file dev.tsv");
}

#[test]
fn a_resumed_run_ends_as_one_that_was_not_disturbed() {
    let scene = scene();
    scene.write("train.tsv", labelled(600, 5));
    let train = train(&format!("{METHOD} --epochs 4 --cache-activations"));
    scene.succeeds(&format!("{train} --out calm"));
    let record = scene.path("run/metrics.jsonl");
    let steps = || std::fs::read_to_string(&record).map_or(0, |text| text.lines().count());
    scene.kill_when(&format!("{train} --checkpoint-every 30 --out run"), || {
        steps() > 140
    });
    scene.refuses(
        &format!(
            "{} --out run --resume",
            train.replace("--cache-activations", "")
        ),
        &["run", "cannot resume", "cache_activations", "true", "false"],
    );
    scene.succeeds(&format!("{train} --out run --resume"));
    assert_eq!(losses(&scene, "run"), losses(&scene, "calm"));
    for file in ["adapter.safetensors", "model_head.safetensors"] {
        assert!(
            scene.read(&format!("run/{file}")) == scene.read(&format!("calm/{file}")),
            "{file} differs"
        );
    }
}

#[test]
fn what_has_nothing_to_keep_is_refused() {
    let scene = scene();
    scene.succeeds(&train("--method seq_bn --epochs 1 --out below"));
    for (options, fragments) in [
        ("--method full", ["full", "trains the encoder itself"]),
        ("--method bitfit", ["bitfit", "trains the encoder itself"]),
        (SMALL_UNION, ["a prompt", "the first layer reads"]),
        ("--method lora", ["changes the first layer", "leave_out"]),
        (
            "--method seq_bn --set bottleneck.leave_out=[1]",
            ["changes the first layer", "leave_out"],
        ),
        (
            "--method seq_bn --set bottleneck.leave_out=[0] --stack below",
            ["changes the first layer", "leave_out"],
        ),
        (
            "--method seq_bn --set bottleneck.leave_out=[0] --epochs 1",
            ["epochs must be at least 2", "cache_activations"],
        ),
    ] {
        scene.refuses(
            &train(&format!("{options} --cache-activations --out no")),
            &fragments,
        );
    }
    let drop = format!("{METHOD} --adapter-drop --cache-activations --out dropped");
    scene.succeeds(&train(&drop));
}
