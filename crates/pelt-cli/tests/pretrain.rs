//! Pretraining on texts without labels, and training on a task from what came out.

#![allow(clippy::unwrap_used)] // Helpers of tests may unwrap as tests do.

mod common;

use common::{SMALL_UNION, Scene, labelled};

const TRAIN: &str = "train --train-file train.tsv --validation-file dev.tsv --epochs 1 --batch-size 8 --max-length 32";

/// A scene with 200 texts in `texts.tsv`.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("texts.tsv", labelled(200, 7));
    scene
}

fn pretrain(options: &str) -> String {
    format!("pretrain --model bert --corpus texts.tsv --batch-size 8 --max-length 32 {options}")
}

fn value(record: &serde_json::Value, when: &str, name: &str) -> f64 {
    record["results"][when][name].as_f64().unwrap()
}

#[test]
fn a_pretrained_model_is_a_whole_one_that_tasks_and_more_pretraining_start_from() {
    let scene = scene();
    let first = scene.succeeds(&pretrain("--epochs 12 --lr 2e-3 --out dapt"));
    assert!(
        first
            .stderr
            .contains("note: bert has no masked-language head")
    );
    let expected = [
        "config.json",
        "metrics.jsonl",
        "model.safetensors",
        "pretrain.json",
        "vocab.txt",
    ];
    assert_eq!(scene.names("dapt"), expected);
    let record = scene.read_json("dapt/pretrain.json");
    let (before, best) = (
        value(&record, "before", "perplexity"),
        value(&record, "best", "perplexity"),
    );
    assert!(best < 0.7 * before, "{before} {best}");
    assert!((value(&record, "best", "loss").exp() - best).abs() < 1e-9 * best);
    assert_eq!(
        scene.read_json("dapt/config.json")["architectures"],
        serde_json::json!(["BertForMaskedLM"])
    );
    let tensors = scene.tensors("dapt/model.safetensors");
    for name in [
        "cls.predictions.bias",
        "bert.embeddings.word_embeddings.weight",
    ] {
        assert!(tensors.contains_key(name), "{name}");
    }

    scene.succeeds(&format!("{TRAIN} --model dapt --method lora --out run"));
    let again = pretrain("--epochs 1 --json --out again").replace("--model bert", "--model dapt");
    let second = scene.succeeds(&again);
    assert!(!second.stderr.contains("new one is started"));
    // The same texts are held out and the same tokens are masked, so it starts with what the first one ended with.
    let starts = value(&scene.read_json("again/pretrain.json"), "before", "loss");
    let ended = value(&record, "best", "loss");
    assert!((starts - ended).abs() < 1e-5, "{starts} {ended}");
    assert_eq!(second.json()["before"]["loss"].as_f64().unwrap(), starts);
    scene.refuses(
        "evaluate --run dapt --model bert --file dev.tsv",
        &["dapt", "no task head", "pelt train"],
    );
}

#[test]
fn an_adapter_is_pretrained_and_goes_on_with_a_task() {
    let scene = scene();
    scene.succeeds(&pretrain(&format!(
        "{SMALL_UNION} --epochs 12 --lr 1e-2 --out tapt"
    )));
    let expected = [
        "adapter.safetensors",
        "adapter_config.json",
        "head_config.json",
        "metrics.jsonl",
        "model_head.safetensors",
        "pretrain.json",
    ];
    assert_eq!(scene.names("tapt"), expected);
    let record = scene.read_json("tapt/pretrain.json");
    let (before, best) = (
        value(&record, "before", "perplexity"),
        value(&record, "best", "perplexity"),
    );
    assert!(best < 0.9 * before, "{before} {best}");

    let train = format!("{TRAIN} --model bert --init-adapter tapt");
    scene.succeeds(&format!("{train} --lr 1e-12 --out run"));
    let (start, end) = (
        scene.tensors("tapt/adapter.safetensors"),
        scene.tensors("run/adapter.safetensors"),
    );
    assert!(start.keys().eq(end.keys()));
    for (name, tensor) in &start {
        let pairs = tensor.values.iter().zip(&end[name].values);
        assert!(
            pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-6),
            "{name}"
        );
    }
    let config = &scene.read_json("run/run.json")["config"];
    assert_eq!(config["init_adapter"].as_str().unwrap().len(), 64);
    scene.succeeds("evaluate --run run --model bert --file dev.tsv");

    scene.made_bert("other", |_| {});
    let elsewhere = train.replace("--model bert", "--model other");
    scene.refuses(
        &format!("{elsewhere} --out no"),
        &["tapt/pretrain.json", "another base model"],
    );
    scene.refuses(
        &format!("{TRAIN} --model bert --init-adapter bert --out no"),
        &["bert", "adapter_config.json"],
    );
}

#[test]
fn a_pretrained_adapter_gives_logits_for_every_token() {
    let scene = scene();
    for (head, name) in [
        ("auto", "cls.predictions.bias"),
        ("flexible", "heads.pelt.3.bias"),
    ] {
        scene.succeeds(&pretrain(&format!(
            "--method seq_bn --head {head} --epochs 1 --out {head}"
        )));
        let tensors = scene.tensors(&format!("{head}/model_head.safetensors"));
        assert!(tensors.contains_key(name), "{name}");
        scene.write_integers(
            "inputs.safetensors",
            &[
                ("input_ids", &[1, 4], &[2, 5, 6, 3]),
                ("attention_mask", &[1, 4], &[1; 4]),
            ],
        );
        scene.succeeds(&format!(
            "forward --model bert --adapter {head} --inputs inputs.safetensors --output out.safetensors"
        ));
        assert_eq!(
            scene.tensors("out.safetensors")["logits"].shape,
            [1, 4, 120]
        );
    }
}

#[test]
fn a_pretraining_that_was_killed_ends_the_same() {
    let scene = scene();
    let options = "--epochs 15 --gradient-accumulation 2 --method bitfit";
    scene.succeeds(&pretrain(&format!("{options} --out calm")));
    let killed = pretrain(&format!("{options} --checkpoint-every 7 --out run"));
    let checkpoint = scene.path("run/checkpoint.safetensors");
    scene.kill_when(&killed, || checkpoint.exists());
    assert!(!scene.path("run/pretrain.json").exists());
    scene.refuses(
        &format!("{killed} --resume --lr 1e-3"),
        &["cannot resume", "learning_rate"],
    );
    scene.succeeds(&format!("{killed} --resume"));
    assert!(scene.read("run/model.safetensors") == scene.read("calm/model.safetensors"));
    let results = |run: &str| scene.read_json(&format!("{run}/pretrain.json"))["results"].clone();
    for name in ["best", "before", "best_step", "steps"] {
        assert_eq!(results("run")[name], results("calm")[name], "{name}");
    }
    assert_eq!(scene.names("run"), scene.names("calm"));
}

#[test]
fn texts_come_from_files_folders_and_tasks() {
    let scene = scene();
    scene.write(
        "texts/a.txt",
        "the movie was good\nthe plot was bad\n\nit was a film\n",
    );
    scene.write("texts/b.jsonl", "{\"text\": \"acting was dull\"}\n");
    scene.write("held.txt", "this story was very sad\n");
    let lines =
        "{\"text\": \"good movie\", \"label\": 1}\n{\"text\": \"bad film\", \"label\": 2}\n";
    scene.write("data/ag/train.jsonl", lines);
    let run = |corpus: &str, options: &str| {
        scene.succeeds(&format!(
            "pretrain --model bert --corpus {corpus} {options} --epochs 1 --max-length 16 --out out --force"
        ));
        let config = &scene.read_json("out/pretrain.json")["config"];
        let counts = |set: &str| ["texts", "rows", "tokens"].map(|n| config[set][n].as_u64());
        (counts("texts"), counts("held_out"))
    };
    let some = |counts: [u64; 3]| counts.map(Some);
    // Documents and the separators between them fill one row and a part of the next one.
    let (train, held_out) = run("texts", "--held-out held.txt");
    assert_eq!((train, held_out), (some([3, 2, 21]), some([1, 1, 7])));
    let (train, held_out) = run("texts --packing lines", "--held-out 0");
    assert_eq!((train, held_out), (some([4, 4, 23]), [None; 3]));
    let (train, _) = run("texts agnews --data data", "--held-out 0.2");
    assert_eq!(train[0], Some(4));
    let (train, _) = run(
        "agnews texts/a.txt --data data --packing lines",
        "--held-out 0.2",
    );
    assert_eq!(train[0], Some(4));
}

#[test]
fn a_corpus_that_cannot_be_used_is_named() {
    let scene = Scene::new();
    scene.write("empty.txt", "");
    scene.write("blank.txt", "\n \n");
    scene.write("bytes.txt", b"good\nmovie \xff\n");
    scene.write("one.txt", "good");
    scene.write("unknown.txt", "zebra\n\nzebra zebra\n");
    scene.write("column.tsv", "body\ngood\n");
    std::fs::create_dir(scene.path("folder")).unwrap();
    let with =
        |corpus: &str| format!("pretrain --model bert --corpus {corpus} --max-length 32 --out out");
    for (corpus, fragments) in [
        ("empty.txt", ["empty.txt", "no text"]),
        ("blank.txt", ["blank.txt", "no text"]),
        ("folder", ["folder", "no text"]),
        ("bytes.txt", ["bytes.txt", "row 2"]),
        ("nowhere", ["nowhere", "no task"]),
        ("squad", ["squad", "questions"]),
        ("column.tsv", ["column.tsv", "column \"text\""]),
        ("one.txt", ["1 text", "--held-out 0"]),
        ("unknown.txt", ["--corpus", "no token"]),
        ("train.tsv --held-out 1.5", ["--held-out", "1.5"]),
        (
            "train.tsv --held-out none.txt",
            ["none.txt", "could not be read"],
        ),
        ("train.tsv --head flexible", ["--head flexible", "full"]),
        ("train.tsv --epochs 0", ["epochs", "at least 1"]),
    ] {
        let data = if corpus == "squad" { "--data ." } else { "" };
        scene.refuses(&format!("{} {data}", with(corpus)), &fragments);
    }
    scene.refuses(
        &with("train.tsv").replace("32", "4000"),
        &["--max-length 4000", "positions"],
    );
    // One token is enough to learn from where nothing is held out.
    scene.succeeds(&with("one.txt --held-out 0 --epochs 2"));
    assert_eq!(scene.metrics("out", "step").len(), 2);
    scene.refuses(&with("train.tsv"), &["out", "--force"]);
    let own = with("train.tsv").replace("--out out", "--out bert --force");
    scene.refuses(&own, &["--out bert", "the model's own folder"]);
    scene.roberta("roberta");
    let no_mask = with("train.tsv").replace("--model bert", "--model roberta");
    scene.refuses(
        &no_mask.replace("--out out", "--out no"),
        &["roberta", "<mask>"],
    );
}
