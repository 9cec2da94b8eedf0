//! Runs the commands of the book, page by page.
//!
//! Here with a tiny model and made-up rows in the place of those on the Hub; `cargo xtask book` sets `PELT_BOOK_HF_HOME` to a
//! folder with real ones, and `PELT_BOOK_PROGRAM` to an optimised build.

#![allow(clippy::unwrap_used, clippy::print_stderr)] // Helpers of tests may unwrap and tell as tests do.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use common::{Scene, parquet_file};
use pelt_grid::Plan;
use serde_json::{Value, json};

/// Languages that a box of the book may have. Boxes with `sh` are run, one after another; the others are not.
const LANGUAGES: [&str; 7] = [
    "sh",
    "console",
    "text",
    "toml",
    "json",
    "python",
    "rust,ignore",
];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// The pages of the book, in its order.
fn pages() -> Vec<String> {
    let summary = std::fs::read_to_string(docs().join("SUMMARY.md")).unwrap();
    let links = summary.split("](").skip(1);
    links
        .map(|rest| rest.split(')').next().unwrap().to_string())
        .collect()
}

/// The boxes of a page, with their languages.
fn boxes(page: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(docs().join(page))
        .unwrap_or_else(|error| panic!("{page}: {error}"));
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(language) => {
                inside = true;
                found.push((language.into(), String::new()));
            }
            None if inside => {
                let (_, content) = found.last_mut().unwrap();
                content.push_str(line);
                content.push('\n');
            }
            None => {}
        }
    }
    assert!(!inside, "{page}: a box is not closed");
    found
}

/// What the tests have in the place of the Hub: its cache, with what the book names.
fn tiny_hub() -> Scene {
    let scene = Scene::new();
    let snapshot = |kind: &str, name: &str| {
        let folder = format!("hub/{kind}--{name}");
        scene.write(&format!("{folder}/refs/main"), "tiny");
        format!("{folder}/snapshots/tiny")
    };
    let model = snapshot("models", "sentence-transformers--all-MiniLM-L6-v2");
    scene.made_bert(&model, |config| {
        config["max_position_embeddings"] = json!(512)
    });

    let pairs = [
        ("good movie", "great film", 1),
        ("good movie", "bad plot", 0),
        ("poor story", "bad film", 1),
        ("poor story", "great movie", 0),
    ];
    let glue = snapshot("datasets", "nyu-mll--glue");
    for task in ["mrpc", "rte"] {
        for (split, rows) in [("train", 240), ("validation", 20)] {
            let rows: Vec<_> = pairs.iter().cycle().take(rows).copied().collect();
            let file = format!("{glue}/{task}/{split}-00000-of-00001.parquet");
            let columns = ["sentence1", "sentence2", "label"];
            parquet_file::write(&scene.path(&file), columns, &rows);
        }
    }
    let squad = snapshot("datasets", "rajpurkar--squad");
    for (split, count) in [("train", 420), ("dev", 20)] {
        let file = format!("{squad}/plain_text/{split}-v1.1.json");
        scene.write(&file, questions(count));
    }
    scene
}

fn questions(count: usize) -> String {
    let paragraphs: Vec<Value> = (0..count)
        .map(|number| {
            let qas = json!([{
                "id": format!("q{number}"),
                "question": "was it good",
                "answers": [{ "text": "great", "answer_start": 14 }],
            }]);
            json!({ "context": "the movie was great", "qas": qas })
        })
        .collect();
    json!({ "version": "1.1", "data": [{ "title": "t", "paragraphs": paragraphs }] }).to_string()
}

#[test]
fn the_commands_of_every_page_run() {
    let given = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let tiny = tiny_hub();
    let home = given("PELT_BOOK_HF_HOME").unwrap_or_else(|| tiny.path(""));
    let program = given("PELT_BOOK_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_pelt").into());
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    for page in pages() {
        let commands: String = boxes(&page)
            .into_iter()
            .filter(|(language, _)| language == "sh")
            .map(|(_, commands)| commands)
            .collect();
        if commands.is_empty() {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &commands])
            .current_dir(folder.path())
            .env("PATH", &path)
            .env("HF_HOME", &home)
            .env("HF_HUB_OFFLINE", "1")
            .env_remove("HF_HUB_CACHE")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{page}:\n{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        eprintln!("{page}: {:.0} s", begun.elapsed().as_secs_f64());
    }
}

#[test]
fn every_box_says_what_is_in_it_and_means_something() {
    let scene = Scene::new();
    // Wide enough for every bottleneck in the book.
    scene.made_bert("wide", |config| config["hidden_size"] = json!(128));
    for page in pages() {
        for (language, content) in boxes(&page) {
            assert!(
                LANGUAGES.contains(&language.as_str()),
                "{page}: a box has the language {language:?}:\n{content}"
            );
            if language == "toml" {
                check_toml(&scene, &page, &content);
            }
            if language == "json" {
                let parsed = serde_json::from_str::<Value>(&content);
                assert!(parsed.is_ok(), "{page}: {parsed:?}\n{content}");
            }
        }
    }
}

/// A box of TOML is a method or a plan of a comparison.
fn check_toml(scene: &Scene, page: &str, content: &str) {
    scene.write("box.toml", content);
    if content.contains("[[methods]]") {
        let plan = Plan::read(&scene.path("box.toml"));
        assert!(plan.is_ok(), "{page}: {plan:?}");
        return;
    }
    let answer = scene.pelt("inspect --model wide --method-file box.toml");
    assert_eq!(answer.code, Some(0), "{page}: {}\n{content}", answer.stderr);
}

#[test]
fn what_pages_take_from_sources_is_there() {
    for page in pages() {
        let text = std::fs::read_to_string(docs().join(&page)).unwrap();
        for rest in text.split("{{#include ").skip(1) {
            let (include, _) = rest.split_once("}}").unwrap();
            let (file, anchor) = include.split_once(':').unwrap();
            let path = docs().join(&page).parent().unwrap().join(file);
            let source = std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{page}: {file}: {error}"));
            for mark in ["ANCHOR", "ANCHOR_END"] {
                let mark = format!("// {mark}: {anchor}\n");
                assert!(source.contains(&mark), "{page}: {file} has no {mark}");
            }
        }
    }
}

#[test]
fn every_page_is_in_the_summary_and_every_link_leads_somewhere() {
    let pages = pages();
    let mut files = Vec::new();
    for folder in ["", "methods/"] {
        for entry in std::fs::read_dir(docs().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") && name != "SUMMARY.md" {
                files.push(format!("{folder}{name}"));
            }
        }
    }
    for file in &files {
        assert!(pages.contains(file), "{file} is not in SUMMARY.md");
        let text = std::fs::read_to_string(docs().join(file)).unwrap();
        let page = docs().join(file);
        for rest in text.split("](").skip(1) {
            let link = rest.split(')').next().unwrap();
            let link = link.split('#').next().unwrap();
            if link.is_empty() || link.contains("://") {
                continue;
            }
            let target = page.parent().unwrap().join(link);
            assert!(target.exists(), "{file} links to {link}");
        }
    }
    assert_eq!(files.len(), pages.len());
}
