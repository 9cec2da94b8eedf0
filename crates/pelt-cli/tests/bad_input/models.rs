//! Broken and foreign model folders.

use crate::common::Scene;
use crate::train_on;

#[test]
fn a_missing_folder_or_file_is_named() {
    let scene = Scene::new();
    // As models were named on the Hub before they had owners.
    for arguments in [train_on("nowhere"), "inspect --model nowhere".into()] {
        scene.refuses(&arguments, &["nowhere", "no such folder", "owner"]);
    }
    scene.refuses(&train_on("./no/where"), &["./no/where", "tokenizer"]);
    scene.refuses(
        "inspect --model ./no/where",
        &["./no/where/config.json", "cannot read"],
    );
    std::fs::remove_file(scene.path("bert/model.safetensors")).unwrap();
    let fragments = [
        "bert",
        "no tensor file",
        "model.safetensors",
        "pytorch_model.bin",
    ];
    scene.refuses(&train_on("bert"), &fragments);
    scene.refuses("inspect --model bert", &fragments);
}

#[test]
fn a_missing_or_broken_tokenizer_is_named() {
    let scene = Scene::new();
    scene.write("bert/vocab.txt", "good\nbad\n");
    scene.refuses(&train_on("bert"), &["bert/vocab.txt", "special token"]);
    std::fs::remove_file(scene.path("bert/vocab.txt")).unwrap();
    scene.refuses(
        &train_on("bert"),
        &["bert", "no tokenizer", "tokenizer.json", "vocab.txt"],
    );
    scene.write("bert/tokenizer.json", "{\"model\": 1}");
    scene.refuses(&train_on("bert"), &["bert/tokenizer.json", "not valid"]);
}

#[test]
fn a_tokenizer_of_another_model_is_noticed_before_training() {
    let scene = Scene::new();
    let mut words = String::from("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    (0..150).for_each(|word| words.push_str(&format!("word{word}\n")));
    words.push_str("good\n");
    scene.write("bert/vocab.txt", words);
    scene.refuses(
        &train_on("bert"),
        &["bert", "tokenizer", "row", "train", "token 155", "120"],
    );
}

#[test]
fn a_file_cut_short_is_refused() {
    let scene = Scene::new();
    let whole = scene.read("bert/model.safetensors");
    for length in [0, 4, 100, whole.len() / 2, whole.len() - 1] {
        scene.write("bert/model.safetensors", &whole[..length]);
        for command in [train_on("bert"), "inspect --model bert".into()] {
            scene.refuses(&command, &["bert/model.safetensors", "expected", "found"]);
        }
    }
}

#[test]
fn a_header_that_claims_more_than_the_file_holds_is_refused() {
    let scene = Scene::new();
    let header = |declared: u64, text: &str, data: usize| {
        let mut bytes = declared.to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes.extend(vec![0; data]);
        scene.write("bert/model.safetensors", bytes);
        scene.refuses(
            &train_on("bert"),
            &["bert/model.safetensors", "expected", "found"],
        );
    };
    // The header's length; its largest tensor; and a shape whose size does not even fit a number.
    header(u64::MAX, "{}", 0);
    header(1 << 40, "{}", 8);
    let tensor = |shape: &str, end: u64| {
        format!("{{\"a\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[0,{end}]}}}}")
    };
    for text in [
        tensor("[1000000000000]", 4_000_000_000_000),
        tensor("[4294967296,4294967296,4294967296]", 16),
        tensor("[4]", u64::MAX),
    ] {
        header(text.len() as u64, &text, 16);
    }
}

#[test]
fn a_flipped_bit_in_the_header_is_noticed() {
    let scene = Scene::new();
    let whole = scene.read("bert/model.safetensors");
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    // Enough places to hit names, types, shapes and offsets.
    for (place, bit) in (0..8 + header)
        .step_by(211)
        .zip([0, 1, 3, 4, 6].into_iter().cycle())
    {
        let mut flipped = whole.clone();
        flipped[place] ^= 1 << bit;
        scene.write("bert/model.safetensors", flipped);
        scene.refuses("inspect --model bert", &["bert/model.safetensors"]);
    }
}

#[test]
fn every_wrong_shape_is_listed() {
    let scene = Scene::new();
    scene.change_json("bert/config.json", |config| {
        config["intermediate_size"] = 48.into()
    });
    scene.refuses(
        &train_on("bert"),
        &[
            "bert/model.safetensors",
            "encoder.layer.0.intermediate.dense.weight should be [48, 32] but is [64, 32]",
            "encoder.layer.1.output.dense.weight should be [32, 48] but is [32, 64]",
        ],
    );
    scene.change_json("bert/config.json", |config| {
        config["intermediate_size"] = 64.into();
        config["num_hidden_layers"] = 1.into();
    });
    scene.refuses(
        &train_on("bert"),
        &["encoder.layer.1.attention.self.query.weight is unexpected"],
    );
    scene.change_json("bert/config.json", |config| {
        config["num_hidden_layers"] = 3.into()
    });
    scene.refuses(
        &train_on("bert"),
        &["encoder.layer.2.attention.self.query.weight is missing"],
    );
}

#[test]
fn a_configuration_that_is_not_supported_is_named() {
    let scene = Scene::new();
    scene.change_json("bert/config.json", |config| {
        config["model_type"] = "t5".into()
    });
    scene.refuses(
        &train_on("bert"),
        &["bert/config.json", "model_type", "bert, roberta", "\"t5\""],
    );
    scene.change_json("bert/config.json", |config| {
        config["model_type"] = "bert".into();
        config["hidden_size"] = "wide".into();
    });
    scene.refuses(&train_on("bert"), &["bert/config.json", "wide"]);
    scene.write("bert/config.json", [0xff, 0xfe, 0x00]);
    scene.refuses(&train_on("bert"), &["bert/config.json"]);
    scene.write("bert/config.json", "{\n  \"model_type\":\n");
    scene.refuses(
        &train_on("bert"),
        &["bert/config.json", "not a model configuration"],
    );
}
