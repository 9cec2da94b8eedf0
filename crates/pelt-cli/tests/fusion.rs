//! Training a mixture of trained adapters.

#![allow(clippy::unwrap_used)] // Helpers of tests may unwrap as tests do.

mod common;

use common::Scene;
use serde_json::Value;

const TRAIN: &str = "train --model bert --train-file train.tsv --validation-file dev.tsv --epochs 2 --batch-size 8 --max-length 32";
const FUSE: &str = "--method fusion --fuse first,second --lr 1e-2";

/// A scene with the adapters `first` and `second`.
fn scene() -> Scene {
    let scene = Scene::new();
    for (name, seed) in [("first", 1), ("second", 2)] {
        scene.succeeds(&format!(
            "{TRAIN} --method seq_bn --lr 1e-2 --seed {seed} --out {name}"
        ));
    }
    scene
}

#[test]
fn a_mixture_is_trained_and_runs_with_its_adapters() {
    let scene = scene();
    let frozen = ["first", "second"].map(|run| scene.read(&format!("{run}/adapter.safetensors")));
    scene.succeeds(&format!("{TRAIN} {FUSE} --out run"));
    let again = ["first", "second"].map(|run| scene.read(&format!("{run}/adapter.safetensors")));
    assert_eq!(frozen, again);
    let record = scene.read_json("run/run.json");
    let fused = &record["config"]["fused"];
    assert_eq!(fused["names"], serde_json::json!(["pelt", "pelt_2"]));
    // Two layers, width 32: query, key and value; the head has a row of 32 and a bias for each of two classes.
    let mixtures = 2 * (2 * (32 * 32 + 32) + 32 * 32);
    assert_eq!(record["results"]["trainable_parameters"], mixtures + 2 * 33);
    let files = scene.names("run");
    assert!(
        files
            .iter()
            .any(|name| name == "adapter_fusion_config.json"),
        "{files:?}"
    );
    assert!(
        !files.iter().any(|name| name == "adapter.safetensors"),
        "{files:?}"
    );

    let evaluate = "evaluate --run run --model bert --file dev.tsv --json";
    let scores = scene.succeeds(evaluate).json();
    let best = &record["results"]["best"];
    let [again, best] = [&scores, best].map(|values: &Value| values["loss"].as_f64().unwrap());
    assert!((again - best).abs() < 1e-5, "{again} {best}");
    let answers = scene.pelt_with_input("predict --run run --model bert", "the movie was good\n");
    assert!(answers.json_lines()[0]["label"].is_string());

    // The mixture by hand: its files are those of the other library.
    let whole = scene.last_hidden("--adapter run");
    let by_hand = scene.last_hidden("--adapter first --adapter second --fusion run");
    assert_eq!(by_hand, whole);

    scene.write(
        "second/adapter.safetensors",
        scene.read("first/adapter.safetensors"),
    );
    scene.refuses(evaluate, &["run", "second", "has changed since"]);
}

#[test]
fn settings_and_the_seed_decide_the_mixture() {
    let scene = scene();
    let train = |more: &str| {
        scene.succeeds(&format!("{TRAIN} {FUSE} --force --out run {more}"));
        scene.tensors("run/model_adapter_fusion.safetensors")
    };
    let dynamic = train("");
    assert_eq!(dynamic, train(""));
    assert_ne!(dynamic, train("--seed 7"));
    let fixed = train("--set fusion.kind=static");
    assert!(dynamic.keys().any(|name| name.contains(".value.")));
    assert!(!fixed.keys().any(|name| name.contains(".value.")));
    let config = scene.read_json("run/adapter_fusion_config.json");
    assert_eq!(config["config"]["value"], false);
}

#[test]
fn what_cannot_be_mixed_is_refused() {
    let scene = scene();
    scene.succeeds(&format!("{TRAIN} --method lora --out lora"));
    scene.succeeds(&format!("{TRAIN} --method double_seq_bn --out double"));
    let refused: [(&str, &[&str]); 9] = [
        (
            "--method fusion --fuse first,double",
            &["--fuse", "adapters must be at the same sites"],
        ),
        ("--method fusion", &["--method fusion", "--fuse"]),
        ("--method lora --fuse first", &["--method fusion", "--fuse"]),
        (
            "--method fusion --fuse first,first",
            &["--fuse", "first", "twice"],
        ),
        (
            "--method fusion --fuse first,lora",
            &["lora", "only bottleneck adapters"],
        ),
        (
            "--method fusion --fuse first,none",
            &["none", "no such folder"],
        ),
        (
            "--method fusion --fuse first --set lora.r=2",
            &["lora.r=2", "fusion.KEY=VALUE"],
        ),
        (
            "--method fusion --fuse first --set fusion.kinds=static",
            &["kinds", "kind"],
        ),
        (
            "--method fusion --fuse first --set fusion.kind=other",
            &["other", "dynamic"],
        ),
    ];
    for (options, expected) in refused {
        scene.refuses(&format!("{TRAIN} {options} --out no"), expected);
        assert!(!scene.names(".").contains(&"no".to_string()));
    }
    scene.refuses("inspect --model bert --method fusion", &["--method fusion"]);
    scene.refuses(
        &format!("{TRAIN} --method fusion --fuse first,second --out first --force"),
        &["first", "--fuse", "never written to"],
    );
}

#[test]
fn names_of_mixed_adapters_lead_out_of_no_folder() {
    let scene = scene();
    let name = |from: &[u8], to: &[u8], bytes: &mut Vec<u8>| {
        let found = bytes.windows(from.len()).enumerate();
        let places: Vec<usize> = found
            .filter(|(_, part)| *part == from)
            .map(|(at, _)| at)
            .collect();
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    };
    // Names of the same length, so that the header stays as long.
    scene.change_bytes("first/adapter.safetensors", |bytes| {
        name(b".adapters.pelt.", b".adapters.../v.", bytes)
    });
    scene.change_json("first/adapter_config.json", |json| {
        json["name"] = "../v".into()
    });
    scene.succeeds(&format!("{TRAIN} {FUSE} --out run"));
    assert_eq!(
        scene.read_json("run/run.json")["config"]["fused"]["names"][0],
        "../v"
    );
    let before = scene.names(".");
    scene.succeeds("export --run run --model bert --format adapterhub --name mine --out out");
    let after: Vec<String> = scene
        .names(".")
        .into_iter()
        .filter(|name| name != "out")
        .collect();
    assert_eq!(after, before);
    let names = scene.names("out");
    for folder in ["mine_1", "mine_2"] {
        assert!(names.iter().any(|name| name == folder), "{names:?}");
        let config = scene.read_json(&format!("out/{folder}/adapter_config.json"));
        assert_eq!(config["name"], folder);
    }
    let config = scene.read_json("out/adapter_fusion_config.json");
    assert_eq!(
        config["adapter_names"],
        serde_json::json!(["mine_1", "mine_2"])
    );

    let whole = scene.last_hidden("--adapter run");
    let by_hand = scene.last_hidden("--adapter out/mine_1 --adapter out/mine_2 --fusion out");
    assert_eq!(by_hand, whole);
}
