//! What `pelt evaluate` gives besides scores: the prediction of every row, and the means of gates.

#![allow(clippy::unwrap_used)] // Helpers of tests may unwrap as tests do.

mod common;

use common::{SMALL_UNION, Scene, scored};
use serde_json::{Value, json};

const EVALUATE: &str = "evaluate --run run --model bert";

fn trained(scene: &Scene, options: &str) {
    scene.succeeds(&format!(
        "train --model bert --train-file train.tsv --epochs 2 --batch-size 8 --lr 5e-3 --max-length 32 --out run {options}"
    ));
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

fn lines(scene: &Scene, file: &str) -> Vec<Value> {
    let text = String::from_utf8(scene.read(file)).unwrap();
    assert!(text.ends_with('\n'), "{file}");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What `pelt predict` says of the texts of a file.
fn predicted(scene: &Scene, file: &str) -> Vec<Value> {
    let texts: Vec<String> = scene.rows(file).into_iter().map(|row| row.0).collect();
    let answer = scene.pelt_with_input("predict --run run --model bert", texts.join("\n"));
    answer.json_lines()
}

#[test]
fn every_rows_class_is_written_and_adds_up_to_the_score() {
    let scene = Scene::new();
    trained(&scene, "--method lora");
    let scores = scene
        .succeeds(&format!(
            "{EVALUATE} --file dev.tsv --predictions out/deep --json"
        ))
        .json();
    assert_eq!(scene.names("out/deep"), ["predictions-dev.jsonl"]);
    let found = lines(&scene, "out/deep/predictions-dev.jsonl");
    let (rows, expected) = (scene.rows("dev.tsv"), predicted(&scene, "dev.tsv"));
    assert_eq!(found.len(), rows.len());
    let mut right = 0;
    for (index, line) in found.iter().enumerate() {
        assert_eq!(line.as_object().unwrap().len(), 4, "{line}");
        assert_eq!(line["row"], index);
        assert_eq!(line["gold"], rows[index].1.as_str());
        assert_eq!(line["predicted"], expected[index]["label"]);
        let label = line["predicted"].as_str().unwrap();
        let probability = number(&expected[index]["probabilities"][label]);
        assert!((number(&line["probability"]) - probability).abs() < 1e-6);
        right += usize::from(line["gold"] == line["predicted"]);
    }
    let accuracy = right as f64 / found.len() as f64;
    assert!((accuracy - number(&scores["accuracy"])).abs() < 1e-9);
    // Another evaluation replaces the file.
    scene.write("out/deep/predictions-dev.jsonl", "old");
    scene.succeeds(&format!("{EVALUATE} --file dev.tsv --predictions out/deep"));
    assert_eq!(lines(&scene, "out/deep/predictions-dev.jsonl"), found);
}

#[test]
fn every_rows_score_is_written() {
    let scene = Scene::new();
    scene.write("train.tsv", scored(40, 1));
    scene.write("dev.tsv", scored(20, 2));
    trained(&scene, "--method lora --regression");
    scene.succeeds(&format!("{EVALUATE} --file dev.tsv --predictions out"));
    let found = lines(&scene, "out/predictions-dev.jsonl");
    let (rows, expected) = (scene.rows("dev.tsv"), predicted(&scene, "dev.tsv"));
    assert_eq!(found.len(), rows.len());
    for (index, line) in found.iter().enumerate() {
        assert_eq!(line.as_object().unwrap().len(), 3, "{line}");
        assert_eq!(line["row"], index);
        assert_eq!(number(&line["gold"]), rows[index].1.parse::<f64>().unwrap());
        let difference = number(&line["predicted"]) - number(&expected[index]["score"]);
        assert!(difference.abs() < 1e-5, "{difference}");
    }
}

#[test]
fn every_split_has_a_file_of_its_own() {
    let scene = Scene::new();
    for (split, rows) in [("train", 16), ("dev", 8), ("test", 4)] {
        let row = |row| json!({ "text": "good movie", "label": row % 4 + 1 }).to_string() + "\n";
        let text: String = (0..rows).map(row).collect();
        scene.write(&format!("data/ag/{split}.jsonl"), text);
    }
    scene.succeeds(
        "train --model bert --data data --task agnews --method lora --epochs 1 --max-length 16 --out run",
    );
    let evaluate = format!("{EVALUATE} --data data --task agnews --predictions out");
    scene.succeeds(&evaluate);
    for (split, rows) in [("validation", 8), ("test", 4)] {
        let found = lines(&scene, &format!("out/predictions-{split}.jsonl"));
        assert_eq!(found.len(), rows);
        assert_eq!(found[3]["gold"], "Sci/Tech");
    }
    scene.succeeds(&format!(
        "{} --split test",
        evaluate.replace("out", "alone")
    ));
    assert_eq!(scene.names("alone"), ["predictions-test.jsonl"]);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let scene = Scene::new();
    trained(&scene, "--method lora");
    scene.write("file.txt", "mine");
    scene.refuses(
        &format!("{EVALUATE} --file dev.tsv --predictions file.txt/out"),
        &["file.txt/out", "cannot be created"],
    );
}

#[test]
fn gates_are_means_over_the_rows() {
    let scene = Scene::new();
    trained(&scene, SMALL_UNION);
    let text = String::from_utf8(scene.read("dev.tsv")).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    let (first, second) = rows.split_at(6);
    for (file, rows) in [("first.tsv", first), ("second.tsv", second)] {
        scene.write(file, format!("{header}\n{}\n", rows.join("\n")));
    }
    let evaluate = |file: &str, options: &str| {
        let command = format!("{EVALUATE} --file {file} --json {options}");
        scene.succeeds(&command).json()
    };
    let whole = evaluate("dev.tsv", "--gates");
    let gates = whole["gates"].as_array().unwrap();
    let mut components: Vec<_> = gates
        .iter()
        .map(|gate| (gate["layer"].as_u64(), gate["component"].as_str().unwrap()))
        .collect();
    components.sort_unstable();
    let layer = ["bottleneck.output", "lora.query", "lora.value", "prefix"];
    let expected = [0, 1].map(|number| layer.map(|name| (Some(number), name)));
    assert_eq!(components, expected.concat());

    let parts = ["first.tsv", "second.tsv"].map(|file| evaluate(file, "--gates"));
    for (index, gate) in gates.iter().enumerate() {
        let [first, second] = [0, 1].map(|part| number(&parts[part]["gates"][index]["mean"]));
        let expected = (first * 6.0 + second * 14.0) / 20.0;
        let difference = number(&gate["mean"]) - expected;
        assert!(difference.abs() < 1e-6, "{gate}: {expected}");
        assert_ne!(first, second, "{gate}");
    }
    // The scores are the same, and skipped layers have no gates.
    let mut without = whole.clone();
    without.as_object_mut().unwrap().remove("gates");
    assert_eq!(evaluate("dev.tsv", ""), without);
    let skipped = evaluate("dev.tsv", "--gates --skip-layers 0");
    let skipped = skipped["gates"].as_array().unwrap();
    assert_eq!(skipped.len(), 4);
    assert!(skipped.iter().all(|gate| gate["layer"] == 1));

    let text = scene
        .succeeds(&format!("{EVALUATE} --file dev.tsv --gates"))
        .stdout;
    let shown = format!("{:.4}", number(&gates[0]["mean"]));
    let component = gates[0]["component"].as_str().unwrap();
    assert!(
        text.lines()
            .any(|line| line.contains(component) && line.ends_with(&shown)),
        "{text}"
    );
}

#[test]
fn a_method_without_gates_has_none_to_show() {
    let scene = Scene::new();
    for method in ["lora", "full"] {
        trained(&scene, &format!("--method {method} --force"));
        scene.refuses(
            &format!("{EVALUATE} --file dev.tsv --gates --predictions out"),
            &["--gates", "run", "no gates"],
        );
    }
}
