//! Training a new adapter on top of trained ones.

#![allow(clippy::unwrap_used)] // Helpers of tests may unwrap as tests do.

mod common;

use common::{Scene, labelled};
use pelt_testkit::fixture;
use serde_json::Value;

const TRAIN: &str = "train --model bert --train-file train.tsv --validation-file dev.tsv --epochs 1 --batch-size 8 --max-length 32";
const UNION: &str =
    "--method unipelt --set prefix.bottleneck_size=8 --set prefix.prefix_length=2 --set lora.r=2";

/// A scene with the adapters `tapt` (pretrained), `first` (trained) and `hub` (of another library).
fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("texts.tsv", labelled(60, 7));
    scene.succeeds(&format!(
        "pretrain --model bert --corpus texts.tsv --epochs 1 --max-length 32 {UNION} --lr 1e-2 --out tapt"
    ));
    scene.succeeds(&format!("{TRAIN} --method seq_bn --lr 1e-2 --out first"));
    for file in std::fs::read_dir(fixture("cases/adapters/bert_cls_lora/adapter")).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        scene.write(&format!("hub/{name}"), std::fs::read(file.path()).unwrap());
    }
    scene
}

fn trained_parameters(scene: &Scene, run: &str) -> u64 {
    let record = scene.read_json(&format!("{run}/run.json"));
    record["results"]["trainable_parameters"].as_u64().unwrap()
}

#[test]
fn a_new_adapter_is_trained_on_top_of_others_and_runs_with_them() {
    let scene = scene();
    let train = format!("{TRAIN} {UNION} --lr 1e-2");
    scene.succeeds(&format!("{train} --out alone"));
    let frozen = ["tapt", "first", "hub"].map(|folder| {
        let names = scene.names(folder).into_iter();
        let files = names.map(|name| scene.read(&format!("{folder}/{name}")));
        files.collect::<Vec<_>>()
    });
    let answer = scene.succeeds(&format!("{train} --stack tapt,hub --stack first --out run"));
    assert!(!answer.stderr.contains("note:"), "{}", answer.stderr);
    let again = ["tapt", "first", "hub"].map(|folder| {
        let names = scene.names(folder).into_iter();
        let files = names.map(|name| scene.read(&format!("{folder}/{name}")));
        files.collect::<Vec<_>>()
    });
    assert_eq!(frozen, again);
    assert_eq!(
        trained_parameters(&scene, "run"),
        trained_parameters(&scene, "alone")
    );
    let (alone, run) = (
        scene.tensors("alone/adapter.safetensors"),
        scene.tensors("run/adapter.safetensors"),
    );
    assert!(alone.keys().eq(run.keys()));
    let record = &scene.read_json("run/run.json")["config"]["stack"];
    assert_eq!(record["lora"], "composed");
    let levels = record["levels"].as_array().unwrap();
    for (level, folder) in levels.iter().zip(["tapt", "hub", "first"]) {
        assert!(level["path"].as_str().unwrap().ends_with(folder));
        assert_eq!(level["fingerprint"].as_str().unwrap().len(), 64);
    }

    let best = scene.read_json("run/run.json")["results"]["best"].clone();
    let evaluate = "evaluate --run run --model bert --file dev.tsv --json";
    let scores = scene.succeeds(evaluate).json();
    let [again, best] = [&scores, &best].map(|values: &Value| values["accuracy"].as_f64().unwrap());
    assert!((again - best).abs() < 1e-9, "{again} {best}");
    let predict = "predict --run run --model bert";
    let with = scene
        .pelt_with_input(predict, "the movie was good\n")
        .json_lines();
    assert!(with[0]["label"].is_string());
    let forward = "forward --model bert --inputs inputs.safetensors --output out.safetensors";
    let whole = scene.last_hidden("--adapter run");
    // The same stack by hand: the run's own adapter is an ordinary one.
    for file in ["adapter_config.json", "adapter.safetensors"] {
        scene.write(&format!("own/{file}"), scene.read(&format!("run/{file}")));
    }
    let folders = "--adapter tapt --adapter hub --adapter first --adapter own";
    assert_eq!(scene.last_hidden(folders), whole);
    scene.refuses(
        &format!("{forward} --adapter tapt --adapter run"),
        &["run", "on top of other adapters"],
    );
    scene.refuses(
        &format!("{TRAIN} --init-adapter run --out no"),
        &["run", "on top of", "tapt"],
    );

    // On top of the run only what lies below it, in that order, makes sense.
    scene.refuses(
        &format!("{train} --stack first,run --out no"),
        &["run", "on top of", "tapt", "exactly that"],
    );
    scene.succeeds(&format!("{train} --stack tapt,hub,first,run --out higher"));
    scene.succeeds("evaluate --run higher --model bert --file dev.tsv");

    let kept = scene.read("first/adapter.safetensors");
    scene.write(
        "first/adapter.safetensors",
        scene.read("hub/adapter.safetensors"),
    );
    scene.refuses(evaluate, &["run", "first", "has changed since"]);
    scene.write("first/adapter.safetensors", kept);
    scene.change_json("first/adapter_config.json", |json| {
        json["config"]["scaling"] = 2.5.into();
    });
    scene.refuses(evaluate, &["run", "first", "another method"]);
    std::fs::rename(scene.path("first"), scene.path("moved")).unwrap();
    scene.refuses(predict, &["run", "first", "missing"]);
    scene.refuses(&format!("{forward} --adapter run"), &["first", "missing"]);
}

#[test]
fn a_resumed_run_ends_as_one_that_was_not_disturbed() {
    let scene = scene();
    scene.write("train.tsv", labelled(600, 5));
    let train = format!("{TRAIN} {UNION} --epochs 4 --lr 1e-2 --stack first,tapt")
        .replace("--epochs 1", "");
    scene.succeeds(&format!("{train} --out whole"));
    let checkpoint = scene.path("run/checkpoint.safetensors");
    scene.kill_when(&format!("{train} --checkpoint-every 10 --out run"), || {
        checkpoint.exists()
    });
    scene.refuses(
        &format!(
            "{} --out run --resume",
            train.replace("first,tapt", "tapt,first")
        ),
        &["run", "cannot resume", "stack"],
    );
    std::fs::rename(scene.path("first"), scene.path("moved")).unwrap();
    let moved = train.replace("first,tapt", "moved,tapt");
    scene.succeeds(&format!("{moved} --out run --resume"));
    for file in ["adapter.safetensors", "model_head.safetensors"] {
        assert_eq!(
            scene.read(&format!("run/{file}")),
            scene.read(&format!("whole/{file}")),
            "{file}"
        );
    }
    scene.succeeds("evaluate --run run --model bert --file dev.tsv");
}

#[test]
fn levels_that_cannot_lie_below_are_refused() {
    let scene = scene();
    let train = format!("{TRAIN} --method lora");
    let refused = |options: &str, fragments: &[&str]| {
        scene.refuses(&format!("{train} {options}"), fragments);
    };
    refused(
        "--out no --stack first,./first",
        &["--stack", "./first twice"],
    );
    refused("--out no --stack bert", &["bert", "adapter_config.json"]);
    refused("--out no --stack none", &["none", "no such folder"]);
    refused(
        "--out first --force --stack first",
        &["--out first", "never written to"],
    );
    let full = format!("{TRAIN} --method full --out no --stack first");
    scene.refuses(&full, &["--stack", "full trains the encoder itself"]);

    let small = "--set prefix.bottleneck_size=8 --set prefix.prefix_length=2 --set lora.r=2";
    let three = format!("--method unipelt-stack-3 {small}");
    scene.succeeds(&format!("{TRAIN} {three} --out three"));
    refused("--out no --stack first,three", &["three", "a stack itself"]);
    scene.refuses(
        &format!("{TRAIN} {three} --out no --stack first"),
        &["adapters that are no stacks"],
    );

    scene.made_bert("other", |_| {});
    let elsewhere = train.replace("--model bert", "--model other");
    scene.refuses(
        &format!("{elsewhere} --out no --stack first"),
        &["first/run.json", "another base model"],
    );
    scene.made_bert("wide", |config| config["hidden_size"] = 64.into());
    scene.made_bert("deep", |config| config["num_hidden_layers"] = 3.into());
    for (model, fragment) in [("wide", "hidden size"), ("deep", "layers")] {
        let elsewhere = train.replace("--model bert", &format!("--model {model}"));
        scene.refuses(
            &format!("{elsewhere} --out no --stack hub"),
            &["hub/adapter_config.json", fragment],
        );
    }

    let prompt = format!("{TRAIN} --method prompt --out run --stack first");
    let answer = scene.succeeds(&prompt);
    assert!(
        answer.stderr.contains("lowest adapter's prompt"),
        "{}",
        answer.stderr
    );
}
