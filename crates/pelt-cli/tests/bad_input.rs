//! What a user can get wrong: exit code 2, one sentence that says what and where, and nothing left behind.

#![allow(clippy::unwrap_used)] // Helpers of tests may unwrap as tests do.

mod common;

mod bad_input {
    mod adapters;
    mod data;
    mod inputs;
    mod models;
    mod output;
    mod settings;
}

use common::Scene;

/// Trains on the scene's own rows; everything that is not said is as in a good command.
const TRAIN: &str = "train --train-file train.tsv --method lora --epochs 1 --batch-size 8";

/// A good command with this model.
fn train_on(model: &str) -> String {
    format!("{TRAIN} --max-length 32 --model {model} --out run")
}

/// A good command with further options.
fn train_with(options: &str) -> String {
    format!("{TRAIN} --max-length 32 --model bert --out run {options}")
}

/// A scene with a finished run of LoRA on `bert`.
fn trained() -> Scene {
    let scene = Scene::new();
    scene.succeeds(&train_on("bert"));
    scene
}
