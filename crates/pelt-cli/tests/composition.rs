//! Skipped layers and several adapters on the command line, against outputs recorded from the reference.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

mod common;

use common::Scene;
use pelt_tensors::TensorFiles;
use pelt_testkit::fixture;

/// `forward` with a fixture's model and inputs.
fn command(inputs: &str) -> String {
    format!(
        "forward --model {} --inputs {} --output out.safetensors",
        fixture("models/bert/cls").display(),
        fixture(format!("inputs/{inputs}.safetensors")).display(),
    )
}

fn adapter(case: &str, folder: &str) -> String {
    let folder = fixture(format!("cases/adapters/{case}/{folder}"));
    format!(" --adapter {}", folder.display())
}

/// Checks the logits that were written against the fixture's.
fn assert_logits(scene: &Scene, case: &str) {
    let path = fixture(format!("cases/adapters/{case}/expected.safetensors"));
    let expected = TensorFiles::open(&path).unwrap().read("logits").unwrap();
    let found = &scene.tensors("out.safetensors")["logits"];
    assert_eq!(found.shape, expected.shape, "{case}");
    for (a, b) in found.values.iter().zip(&expected.values) {
        assert!((a - b).abs() < 1e-5, "{case}: {a} {b}");
    }
}

#[test]
fn skipped_layers_are_the_references() {
    let scene = Scene::new();
    let case = "bert_cls_unipelt_skip_layers";
    let command = command("bert_full") + &adapter(case, "adapter");
    scene.succeeds(&format!("{command} --skip-layers 0"));
    assert_logits(&scene, case);
    let one = scene.read("out.safetensors");
    scene.succeeds(&format!("{command} --skip-layers 0,1"));
    assert_ne!(scene.read("out.safetensors"), one);
    scene.refuses(
        &format!("{command} --skip-layers 0,2"),
        &["--skip-layers has layer 2", "2 layers"],
    );
}

#[test]
fn training_with_dropped_layers_repeats_and_differs_from_training_without() {
    let scene = Scene::new();
    let train = "train --model bert --train-file train.tsv --validation-file dev.tsv --method lora \
         --epochs 1 --batch-size 4 --max-length 32";
    for (run, option) in [
        ("plain", ""),
        ("dropped", "--adapter-drop"),
        ("again", "--adapter-drop"),
    ] {
        scene.succeeds(&format!("{train} {option} --out {run}"));
    }
    let weights = |run: &str| scene.read(&format!("{run}/adapter.safetensors"));
    assert_eq!(weights("dropped"), weights("again"));
    assert_ne!(weights("dropped"), weights("plain"));
    let record = scene.read_json("dropped/run.json");
    assert_eq!(record["config"]["train"]["adapter_drop"], "robust");
    scene.refuses(
        "train --model bert --train-file train.tsv --method full --adapter-drop --max-length 32 --out full",
        &["--adapter-drop", "full"],
    );
}

#[test]
fn several_adapters_are_the_references_stack() {
    let scene = Scene::new();
    for (case, inputs, options) in [
        ("bert_cls_stack_unipelt", "bert_full", ""),
        ("bert_cls_stack_lora", "bert_ragged", ""),
        (
            "bert_cls_stack_par_bn",
            "bert_ragged",
            "--stacked-parallel last",
        ),
    ] {
        let [a, b] = ["adapter_a", "adapter_b"].map(|folder| adapter(case, folder));
        let command = command(inputs);
        scene.succeeds(&format!("{command}{a}{b} {options}"));
        assert_logits(&scene, case);
        let stacked = scene.read("out.safetensors");
        scene.succeeds(&format!("{command}{b}{a} {options}"));
        assert_ne!(scene.read("out.safetensors"), stacked, "{case}");
    }
}

#[test]
fn a_stack_trains_and_predicts_like_any_method() {
    let scene = Scene::new();
    let small = "--set prefix.prefix_length=2 --set prefix.bottleneck_size=4 --set lora.r=2 --set stack.lora=sum";
    scene.succeeds(&format!(
        "train --model bert --train-file train.tsv --validation-file dev.tsv --method unipelt-stack-3 {small} \
         --epochs 1 --max-length 32 --out run"
    ));
    scene.write_integers(
        "in.safetensors",
        &[
            ("input_ids", &[1, 3], &[2, 10, 3]),
            ("attention_mask", &[1, 3], &[1, 1, 1]),
        ],
    );
    scene.succeeds(
        "forward --model bert --adapter run --inputs in.safetensors --output out.safetensors",
    );
    let logits = scene.tensors("out.safetensors")["logits"].values.clone();
    let predicted = scene.pelt_with_input("predict --run run --model bert", "bad\n");
    let found = predicted.json_lines()[0]["probabilities"]["negative"]
        .as_f64()
        .unwrap();
    let odds = f64::from(logits[0] - logits[1]).exp();
    assert!((found - odds / (1.0 + odds)).abs() < 1e-5);
    // A stack cannot be a level of another one.
    scene.refuses(
        "forward --model bert --adapter run --adapter run --inputs in.safetensors --output no.safetensors",
        &["levels must be adapters that are no stacks"],
    );
}

#[test]
fn fused_adapters_are_the_references() {
    let scene = Scene::new();
    for case in ["bert_cls_fuse_seq_bn", "bert_cls_fuse_static_double"] {
        let [a, b] = ["adapter_a", "adapter_b"].map(|folder| adapter(case, folder));
        let fusion = fixture(format!("cases/adapters/{case}/fusion"));
        let command = command("bert_ragged");
        let fusion = format!("--fusion {}", fusion.display());
        scene.succeeds(&format!("{command}{a}{b} {fusion}"));
        assert_logits(&scene, case);
        let both = scene.read("out.safetensors");
        scene.succeeds(&format!("{command}{b}{a} {fusion}"));
        assert_eq!(scene.read("out.safetensors"), both);
        scene.refuses(
            &format!("{command}{a} {fusion}"),
            &["adapter_fusion_config.json", "a, b"],
        );
    }
}

#[test]
fn every_command_skips_the_same_layers() {
    let scene = Scene::new();
    scene.succeeds(
        "train --model bert --train-file train.tsv --validation-file dev.tsv --method lora --epochs 2 \
         --lr 1e-2 --max-length 32 --out run",
    );
    scene.write_integers(
        "in.safetensors",
        &[
            ("input_ids", &[1, 3], &[2, 10, 3]),
            ("attention_mask", &[1, 3], &[1, 1, 1]),
        ],
    );
    let negative = |skipped: &str| {
        let forward =
            "forward --model bert --adapter run --inputs in.safetensors --output out.safetensors";
        scene.succeeds(&format!("{forward} {skipped}"));
        let logits = scene.tensors("out.safetensors")["logits"].values.clone();
        let odds = f64::from(logits[0] - logits[1]).exp();
        // Prediction folds LoRA into the projections, which has to be left out there too.
        let predict = format!("predict --run run --model bert {skipped}");
        let predicted = scene.pelt_with_input(&predict, "bad\n");
        let found = predicted.json_lines()[0]["probabilities"]["negative"].as_f64();
        assert!(
            (found.unwrap() - odds / (1.0 + odds)).abs() < 1e-5,
            "{skipped}"
        );
        found.unwrap()
    };
    let all = [
        negative(""),
        negative("--skip-layers 1"),
        negative("--skip-layers 0,1"),
    ];
    assert!(
        all[0] != all[1] && all[1] != all[2] && all[0] != all[2],
        "{all:?}"
    );
    let evaluate = "evaluate --run run --model bert --file dev.tsv --json";
    let loss =
        |skipped: &str| scene.succeeds(&format!("{evaluate} {skipped}")).json()["loss"].clone();
    assert_ne!(loss(""), loss("--skip-layers 0,1"));
    for command in [evaluate, "predict --run run --model bert"] {
        scene.refuses(
            &format!("{command} --skip-layers 2"),
            &["--skip-layers has layer 2"],
        );
    }
}
