//! Tasks in JSON lines, rows that are not the published ones, and development rows taken from the training rows.

#![allow(clippy::unwrap_used)] // Helpers of tests may unwrap as tests do.

mod common;

use common::{Scene, labelled, parquet_file};
use serde_json::Value;

const TRAIN: &str = "train --model bert --method lora --epochs 1 --batch-size 8 --out run";

/// The three files of AG News in the published layout, in which classes count from 1.
fn write_agnews(scene: &Scene, folder: &str) {
    let topics = [
        ("good movie", 1),
        ("bad film", 2),
        ("great story", 3),
        ("poor plot", 4),
    ];
    for (split, copies) in [("train", 4), ("dev", 2), ("test", 2)] {
        let mut lines = String::new();
        for (text, label) in topics.iter().cycle().take(4 * copies) {
            lines.push_str(&format!(
                "{{\"text\": \"{text}\", \"label\": {label}, \"metadata\": {{\"a\": 1}}}}\n"
            ));
        }
        scene.write(&format!("{folder}/{split}.jsonl"), lines);
    }
}

#[test]
fn json_lines_are_read_and_a_part_is_never_called_by_the_plain_name() {
    let scene = Scene::new();
    write_agnews(&scene, "data/ag");
    let long = format!("{{\"text\": \"{}\", \"label\": 1}}\n", "good ".repeat(600));
    scene.change_bytes("data/ag/dev.jsonl", |bytes| {
        bytes.extend(long.as_bytes());
    });
    let trained = scene.succeeds(&format!("{TRAIN} --data data --task agnews"));
    let run = scene.read_json("run/run.json");
    assert_eq!(run["config"]["data"]["train"], "agnews (part) train");
    assert_eq!(
        run["config"]["target"]["labels"],
        serde_json::json!(["World", "Sports", "Business", "Sci/Tech"])
    );
    let best_on = &run["results"]["best_on"];
    assert_eq!(best_on["set"], "agnews (part) validation");
    assert_eq!(
        (&best_on["rows"], &best_on["truncated_rows"]),
        (&9.into(), &1.into())
    );
    // The tiny model has fewer positions than the 512 tokens that the card asks for.
    let length = run["config"]["train"]["max_length"].as_u64().unwrap();
    assert_eq!(
        run["config"]["base"]["shape"]["max_positions"].as_u64(),
        Some(length)
    );
    for text in [&trained.stderr, &trained.stdout] {
        assert!(!text.contains("agnews train") && !text.contains("agnews validation"));
    }
    let cut = format!(
        "9 of 5,000 rows, {:.1} tokens each, 1 of them cut to {length} tokens",
        { (8.0 * 4.0 + length as f64) / 9.0 }
    );
    assert!(trained.stderr.contains(&cut), "{} {cut}", trained.stderr);

    let evaluate = "evaluate --run run --model bert --data data --task agnews";
    let scores = scene.succeeds(&format!("{evaluate} --json")).json();
    assert_eq!(scores["trained_on"], "agnews (part) train");
    let sets = scores["data"].as_array().unwrap();
    assert_eq!(sets.len(), 2);
    for (set, rows) in sets.iter().zip([9, 8]) {
        assert_eq!(set["set"], "agnews (part)");
        assert_eq!(set["rows"], rows);
    }
    assert!(scores["macro_f1"].is_number() && scores["test"]["macro_f1"].is_number());
    let text = scene.succeeds(evaluate).stdout;
    assert!(
        text.contains("agnews (part) test (8 of 7,600 rows)"),
        "{text}"
    );
    assert!(
        text.contains("trained on agnews (part) train (16 rows)"),
        "{text}"
    );
}

#[test]
fn a_label_that_the_card_does_not_know_is_refused() {
    let scene = Scene::new();
    let train = format!("{TRAIN} --data data --task");
    write_agnews(&scene, "data/ag");
    for (label, shown) in [
        ("0", "label 0"),
        ("5", "label 5"),
        ("\"Weather\"", "Weather"),
    ] {
        let line = format!("{{\"text\": \"good\", \"label\": {label}}}\n");
        scene.write("data/ag/dev.jsonl", line);
        let fragments = ["row 1", "data/ag/dev.jsonl", shown, "1, 2, 3, 4"];
        scene.refuses(&format!("{train} agnews"), &fragments);
    }
    let rows =
        "{\"text\": \"a\", \"label\": \"AGONIST\"}\n{\"text\": \"b\", \"label\": \"agonist\"}\n";
    scene.write("data/domain/chemprot/train.jsonl", rows);
    scene.refuses(
        &format!("{train} chemprot"),
        &[
            "row 2",
            "chemprot/train.jsonl",
            "\"agonist\"",
            "UPREGULATOR",
        ],
    );
}

#[test]
fn other_rows_in_the_place_of_a_published_set_are_another_task() {
    let scene = Scene::new();
    let rows = [("good movie", "", 1), ("bad movie", "", 0)];
    let columns = ["text", "other", "label"];
    for folder in ["hyperpartisan_news", "amazon_helpful_standin"] {
        for split in ["train", "validation", "test"] {
            let file = format!("data/domain/{folder}/{split}-00000-of-00001.parquet");
            parquet_file::write(&scene.path(&file), columns, &rows);
        }
    }
    let train = format!("{TRAIN} --data data --force --task");
    scene.refuses(
        &format!("{train} hyperpartisan"),
        &[
            "hyperpartisan_news",
            "split \"train\"",
            "(none as SPLIT.jsonl)",
        ],
    );
    scene.refuses(
        &format!("{train} helpfulness"),
        &["helpfulness", "domain/amazon"],
    );
    for (task, original) in [
        ("hyperpartisan_resplit", "hyperpartisan"),
        ("helpfulness_standin", "helpfulness"),
    ] {
        let trained = scene.succeeds(&format!("{train} {task}"));
        let note = format!("note: {task} stands in for {original}: ");
        assert!(trained.stderr.contains(&note), "{}", trained.stderr);
        let data = &scene.read_json("run/run.json")["config"]["data"];
        assert_eq!(data["train"], format!("{task} (stand-in) train"));
        assert!(data["note"].as_str().unwrap().contains("stands in"));
        let evaluated = scene.succeeds(&format!(
            "evaluate --run run --model bert --data data --task {task}"
        ));
        assert!(evaluated.stderr.contains(&note), "{}", evaluated.stderr);
        let first = evaluated.stdout.lines().next().unwrap();
        assert_eq!(first, format!("{task} (stand-in) validation (2 rows)"));
    }
}

#[test]
fn the_tasks_are_listed_with_labels_metrics_sizes_and_notes() {
    let scene = Scene::new();
    let tasks = scene.succeeds("tasks --json").json();
    let tasks = tasks.as_array().unwrap();
    let named = |name: &str| tasks.iter().find(|task| task["name"] == name).unwrap();
    let sizes = [
        ("chemprot", 13, "micro_f1", [4_169, 2_427, 3_469]),
        ("rct", 5, "micro_f1", [180_040, 30_212, 30_135]),
        ("acl_arc", 6, "macro_f1", [1_688, 114, 139]),
        ("scierc", 7, "macro_f1", [3_219, 455, 974]),
        ("hyperpartisan", 2, "macro_f1", [515, 65, 65]),
        ("agnews", 4, "macro_f1", [115_000, 5_000, 7_600]),
        ("helpfulness", 2, "macro_f1", [115_251, 5_000, 25_000]),
        ("imdb", 2, "macro_f1", [20_000, 5_000, 25_000]),
    ];
    for (name, labels, metric, [train, validation, test]) in sizes {
        let task = named(name);
        assert_eq!(task["target"]["labels"].as_array().unwrap().len(), labels);
        assert_eq!(task["metrics"], serde_json::json!([metric]));
        assert_eq!(
            task["published_rows"],
            serde_json::json!({ "train": train, "validation": validation, "test": test })
        );
        assert_eq!(task["max_length"], 512);
        assert_eq!(task["stand_in_for"], Value::Null);
    }
    assert_eq!(named("helpfulness_standin")["stand_in_for"], "helpfulness");
    let text = scene.succeeds("tasks").stdout;
    for task in tasks {
        assert!(text.contains(task["name"].as_str().unwrap()), "{text}");
    }
    assert!(
        text.contains("note: hyperpartisan_resplit stands in for"),
        "{text}"
    );
    assert!(
        text.contains("train 4169, validation 2427, test 3469"),
        "{text}"
    );
}

#[test]
fn development_rows_come_from_the_training_rows_and_the_development_set_is_the_test() {
    let scene = Scene::new();
    scene.write("train.tsv", labelled(60, 1));
    let files = "--train-file train.tsv --validation-file dev.tsv --max-length 32";
    let train = TRAIN.replace("--epochs 1", "--epochs 3 --lr 5e-3");
    let train = format!("{train} {files} --train-rows 20 --dev-rows 30");
    let answer = scene.succeeds(&format!("{train} --data-seed 3"));
    let run = scene.read_json("run/run.json");
    let (data, results) = (&run["config"]["data"], &run["results"]);
    assert_eq!(data["train_rows"], 20);
    assert_eq!(results["best_on"]["set"], "train (held out)");
    assert_eq!(results["best_on"]["rows"], 30);
    assert_eq!(results["test"]["set"], "dev");
    assert_eq!(results["test"]["rows"], 20);
    assert!(
        answer.stdout.contains("on train (held out), 30 rows"),
        "{answer:?}"
    );
    assert!(answer.stdout.contains("on dev, 20 rows"), "{answer:?}");

    // The test scores are those of the weights that were saved.
    let evaluated = scene
        .succeeds("evaluate --run run --model bert --file dev.tsv --json")
        .json();
    for (name, value) in results["test"]["values"].as_object().unwrap() {
        let difference = evaluated[name].as_f64().unwrap() - value.as_f64().unwrap();
        assert!(difference.abs() < 1e-6, "{name}: {difference}");
    }
    // The data seed alone decides on the rows; without one it is the run's seed.
    let fingerprints = |options: &str| {
        scene.succeeds(&format!("{train} --force {options}"));
        let data = scene.read_json("run/run.json")["config"]["data"].clone();
        [
            data["train_fingerprint"].clone(),
            data["validation_fingerprint"].clone(),
        ]
    };
    let expected = [
        data["train_fingerprint"].clone(),
        data["validation_fingerprint"].clone(),
    ];
    assert_eq!(fingerprints("--data-seed 3 --seed 9"), expected);
    assert_eq!(fingerprints("--seed 3"), expected);
    assert_ne!(fingerprints("--data-seed 4"), expected);
    // Without held-out rows the same training rows are taken, and the development set stays what it is.
    scene.succeeds(&format!(
        "{} --force --seed 3",
        train.replace("--dev-rows 30", "")
    ));
    let whole = scene.read_json("run/run.json");
    assert_eq!(whole["config"]["data"]["train_fingerprint"], expected[0]);
    assert_eq!(whole["results"]["best_on"]["set"], "dev");
    assert_eq!(whole["results"]["test"], Value::Null);
}

#[test]
fn patience_counts_evaluations_of_the_held_out_rows() {
    let scene = Scene::new();
    scene.succeeds(
        "train --model bert --method lora --out run --train-file train.tsv --validation-file dev.tsv --max-length 32 \
         --train-rows 16 --dev-rows 10 --batch-size 4 --epochs 5 --evaluate-every 2 --patience 3 --lr 1e-12",
    );
    let results = scene.read_json("run/run.json")["results"].clone();
    assert_eq!(results["stopped_early"], true);
    assert_eq!(
        (&results["steps"], &results["best_step"]),
        (&8.into(), &2.into())
    );
}

#[test]
fn numbers_of_rows_that_cannot_be_are_refused() {
    let scene = Scene::new();
    let train = format!("{TRAIN} --train-file train.tsv --max-length 32");
    scene.refuses(
        &format!("{train} --train-rows 30 --dev-rows 11"),
        &["train", "40 rows", "41"],
    );
    scene.refuses(
        &format!("{train} --train-rows 30 --dev-rows 0"),
        &["--dev-rows", "at least 1"],
    );
    for rows in [40, 41] {
        scene.refuses(
            &format!("{train} --dev-rows {rows}"),
            &["--dev-rows", "no row to train on", "train has 40 rows"],
        );
    }
    scene.refuses(
        &format!("{train} --dev-rows 0"),
        &["--dev-rows", "at least 1"],
    );
    scene.refuses(
        &format!("{train} --data-seed 5"),
        &["--data-seed", "--train-rows", "--dev-rows"],
    );
}

#[test]
fn held_out_rows_alone_leave_all_others_to_train_on() {
    let scene = Scene::new();
    let train = format!(
        "{TRAIN} --train-file train.tsv --validation-file dev.tsv --max-length 32 --data-seed 3"
    );
    scene.succeeds(&format!("{train} --dev-rows 12"));
    let run = scene.read_json("run/run.json");
    assert_eq!(run["config"]["data"]["train_rows"], 28);
    assert_eq!(run["results"]["best_on"]["set"], "train (held out)");
    assert_eq!(run["results"]["best_on"]["rows"], 12);
    assert_eq!(run["results"]["test"]["set"], "dev");
    // They are the ones that both numbers together give.
    scene.succeeds(&format!("{train} --train-rows 28 --dev-rows 12 --force"));
    let both = scene.read_json("run/run.json");
    assert_eq!(both["config"]["data"], run["config"]["data"]);
    scene.succeeds(&format!("{train} --dev-rows 39 --force"));
    let least = scene.read_json("run/run.json");
    assert_eq!(least["config"]["data"]["train_rows"], 1);
}
