//! Inputs of `forward`.

use crate::common::Scene;
use crate::trained;

const FORWARD: &str = "forward --model bert --inputs in.safetensors --output out.safetensors";

/// Writes inputs of three columns; the number of rows follows from the values.
fn write(scene: &Scene, ids: &[i64], mask: &[i64]) {
    let shape = |values: &[i64]| vec![values.len() / 3, 3];
    scene.write_integers(
        "in.safetensors",
        &[
            ("input_ids", &shape(ids), ids),
            ("attention_mask", &shape(mask), mask),
        ],
    );
}

#[test]
fn a_number_that_is_no_token_is_named() {
    let scene = Scene::new();
    write(&scene, &[2, 120, 3], &[1, 1, 1]);
    scene.refuses(FORWARD, &["token id 120", "120 rows"]);
    write(&scene, &[2, 5, 3, 2, -7, 3], &[1; 6]);
    scene.refuses(FORWARD, &["in.safetensors", "row 1", "input_ids"]);
    write(&scene, &[2, 1 << 40, 3], &[1, 1, 1]);
    scene.refuses(FORWARD, &["in.safetensors", "row 0", "input_ids"]);
    let shape: &[usize] = &[1, 3];
    scene.write_integers(
        "in.safetensors",
        &[
            ("input_ids", shape, &[2, 5, 3]),
            ("attention_mask", shape, &[1, 1, 1]),
            ("token_type_ids", shape, &[0, 2, 0]),
        ],
    );
    scene.refuses(FORWARD, &["token type id 2", "2 rows"]);
}

#[test]
fn a_mask_must_be_ones_and_then_zeros() {
    let scene = Scene::new();
    for mask in [[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 2, 0], [1, 1, -1]] {
        write(&scene, &[2, 5, 3], &mask);
        scene.refuses(
            FORWARD,
            &[
                "in.safetensors",
                "row 0",
                "attention_mask",
                "ones and then zeros",
            ],
        );
    }
}

#[test]
fn tensors_must_be_there_with_one_shape_and_type() {
    let scene = Scene::new();
    write(&scene, &[2, 5, 3], &[1; 6]);
    scene.refuses(
        FORWARD,
        &[
            "in.safetensors",
            "attention_mask should be [1, 3]",
            "[2, 3]",
        ],
    );
    scene.write_integers("in.safetensors", &[("input_ids", &[3], &[2, 5, 3])]);
    scene.refuses(
        FORWARD,
        &["in.safetensors", "input_ids should be [batch, seq]", "[3]"],
    );
    scene.write_integers("in.safetensors", &[("input_ids", &[1, 3], &[2, 5, 3])]);
    scene.refuses(FORWARD, &["in.safetensors", "attention_mask"]);
    write(&scene, &[], &[]);
    scene.refuses(FORWARD, &["in.safetensors", "no rows"]);
    std::fs::copy(
        scene.path("bert/model.safetensors"),
        scene.path("in.safetensors"),
    )
    .unwrap();
    scene.refuses(FORWARD, &["in.safetensors", "input_ids"]);
    scene.write("in.safetensors", "short");
    scene.refuses(FORWARD, &["in.safetensors", "expected", "found"]);
    std::fs::remove_file(scene.path("in.safetensors")).unwrap();
    scene.refuses(FORWARD, &["in.safetensors", "No such file"]);
}

#[test]
fn a_sequence_must_fit_the_positions() {
    let scene = Scene::new();
    let long = [5; 65];
    scene.write_integers(
        "in.safetensors",
        &[
            ("input_ids", &[1, 65], &long),
            ("attention_mask", &[1, 65], &[1; 65]),
        ],
    );
    scene.refuses(FORWARD, &["65 tokens", "64 positions"]);
}

#[test]
fn adapters_and_a_head_that_are_there() {
    let scene = trained();
    write(&scene, &[2, 5, 3], &[1, 1, 1]);
    scene.refuses(
        &format!("{FORWARD} --adapter run --adapter bert"),
        &["bert", "adapter_config.json"],
    );
    scene.refuses(
        &format!("{FORWARD} --adapter bert"),
        &["bert", "adapter_config.json"],
    );
    scene.refuses(&format!("{FORWARD} --adapter nowhere"), &["nowhere"]);
    scene.refuses(
        &format!("{FORWARD} --head bert"),
        &["bert", "no classification head"],
    );
    let unwritable = FORWARD.replace("out.safetensors", "nowhere/out.safetensors");
    scene.refuses(&unwritable, &["nowhere/out.safetensors", "cannot write"]);
}
