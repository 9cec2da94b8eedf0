//! Methods, their settings, and options.

use crate::common::{SMALL_UNION, Scene};
use crate::train_with;

fn with_method(method: &str) -> String {
    train_with("").replace("--method lora", method)
}

#[test]
fn an_unknown_method_is_answered_with_the_known_ones() {
    let scene = Scene::new();
    let fragments = ["unipelt-promt", "unipelt-prompt", "lora", "bitfit"];
    scene.refuses(&with_method("--method unipelt-promt"), &fragments);
    scene.refuses("inspect --model bert --method unipelt-promt", &fragments);
}

#[test]
fn a_wrong_setting_is_named() {
    let scene = Scene::new();
    for (setting, fragments) in [
        (
            "lora.rank=4",
            vec!["lora.rank=4", "unknown field", "attn_matrices"],
        ),
        ("lora.r=four", vec!["lora.r=four", "four"]),
        ("lora.r=-1", vec!["lora.r=-1", "-1"]),
        ("lora.r=0", vec!["lora: r must be from 1", "is 0"]),
        ("lora.r=99999999", vec!["r", "99999999"]),
        ("lora.attn_matrices=[\"x\"]", vec!["attn_matrices", "x"]),
        ("adapter.r=4", vec!["adapter", "lora"]),
        ("lora=4", vec!["lora=4", "PART.KEY=VALUE"]),
        ("r", vec!["PART.KEY=VALUE"]),
        ("lora.type=\"prompt\"", vec!["lora.type", "type"]),
    ] {
        scene.refuses(&train_with(&format!("--set {setting}")), &fragments);
        scene.refuses(
            &format!("inspect --model bert --method lora --set {setting}"),
            &fragments,
        );
    }
    scene.refuses(
        &with_method("--method full --set lora.r=4"),
        &["lora.r=4", "full", "no settings"],
    );
    scene.refuses(
        &with_method(&format!("{SMALL_UNION} --set prompt.prompt_length=1000")),
        &["prompt_length", "64", "1000"],
    );
}

#[test]
fn a_wrong_method_file_is_named() {
    let scene = Scene::new();
    let with_file = |file: &str| with_method(&format!("--method-file {file}"));
    scene.refuses(&with_file("none.toml"), &["none.toml", "cannot be read"]);
    for (content, fragment) in [
        ("[[parts]]\ntype = \"lora\"\nrank = 2\n", "rank"),
        ("[[parts]]\ntype = \"lorra\"\n", "lorra"),
        ("[[parts]]\nr = 2\n", "type"),
        ("parts = []\n", "parts is empty"),
        ("parts = 3\n", "invalid type"),
        ("type = \"lora\"\n\"", "line 2"),
    ] {
        scene.write("method.toml", content);
        scene.refuses(&with_file("method.toml"), &["method.toml", fragment]);
    }
    scene.write(
        "twice.toml",
        "[[parts]]\ntype = \"lora\"\n[[parts]]\ntype = \"lora\"\n",
    );
    scene.refuses(&with_file("twice.toml"), &["lora", "one part"]);
    scene.write(
        "method.json",
        "{\"type\": \"prefix\", \"prefix_length\": 0}",
    );
    scene.refuses(&with_file("method.json"), &["prefix_length", "from 1", "0"]);
}

#[test]
fn an_option_out_of_range_is_named() {
    let scene = Scene::new();
    for (option, fragments) in [
        ("--epochs 0", ["epochs", "at least 1", "0"]),
        ("--batch-size 0", ["batch_size", "at least 1", "0"]),
        (
            "--gradient-accumulation 0",
            ["gradient_accumulation", "at least 1", "0"],
        ),
        ("--lr 0", ["learning_rate", "positive", "0"]),
        ("--lr NaN", ["learning_rate", "positive", "NaN"]),
        ("--warmup-ratio 1.5", ["warmup_ratio", "from 0 to 1", "1.5"]),
        ("--weight-decay inf", ["weight_decay", "positive", "inf"]),
        ("--max-length 2", ["max_length", "at least 3", "2"]),
        ("--dropout 1", ["--dropout", "[0, 1)", "1"]),
        ("--train-rows 0", ["--train-rows", "at least 1", "0"]),
        ("--patience 0", ["patience", "at least 1", "0"]),
        ("--evaluate-every 0", ["evaluate_every", "at least 1", "0"]),
        (
            "--checkpoint-every 0",
            ["checkpoint_every", "at least 1", "0"],
        ),
    ] {
        let name = option.split(' ').next().unwrap();
        let command: Vec<_> = train_with("")
            .split_whitespace()
            .map(String::from)
            .collect();
        let place = command.iter().position(|word| word == name);
        let mut command = command;
        if let Some(place) = place {
            command.drain(place..place + 2);
        }
        scene.refuses(&format!("{} {option}", command.join(" ")), &fragments);
    }
}

#[test]
fn sequences_must_fit_the_models_positions() {
    let scene = Scene::new();
    let longest = |length: usize| {
        train_with("").replace("--max-length 32", &format!("--max-length {length}"))
    };
    scene.refuses(&longest(65), &["--max-length 65", "64 positions"]);
    scene.refuses(
        &longest(64).replace(
            "--method lora",
            "--method prompt --set prompt.word_embeddings=true",
        ),
        &["64 tokens", "10 prompt positions", "64 positions"],
    );
    // Prompts behind the embedding block take no positions.
    scene.succeeds(&longest(64).replace("--method lora", "--method prompt"));
}

#[test]
fn options_that_would_have_no_effect_are_refused() {
    let scene = Scene::new();
    for (arguments, option) in [
        (
            "train --model bert --task mrpc --validation-file dev.tsv --out no",
            "--validation-file",
        ),
        (
            "train --model bert --train-file train.tsv --train-split x --out no",
            "--train-split",
        ),
        (
            "train --model bert --train-file train.tsv --keep-head --out no",
            "--init-adapter",
        ),
        (
            "train --model bert --train-file train.tsv --method lora --keep-head --out no",
            "--keep-head",
        ),
        (
            "evaluate --run run --model bert --file dev.tsv --split x",
            "--split",
        ),
        (
            "merge --run run --weights 1 --model bert --out no",
            "--weights",
        ),
    ] {
        let answer = scene.pelt(arguments);
        assert_eq!(answer.code, Some(2), "{arguments}");
        let said = ["cannot be used with", "were not provided"];
        assert!(
            said.iter().any(|text| answer.stderr.contains(text)),
            "{}",
            answer.stderr
        );
        assert!(answer.stderr.contains(option), "{}", answer.stderr);
    }
}
