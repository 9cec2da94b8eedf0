//! Tokenizer files that are missing, broken or ask for something of their own.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use pelt_data::{TextRow, Tokenizer, Truncation};
use serde_json::{Value, json};

fn fixture(kind: &str, name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pelt-testkit/fixtures/tokenizers");
    std::fs::read_to_string(folder.join(kind).join(name)).unwrap()
}

/// Loads a tokenizer from a folder with these files.
fn load(files: &[(&str, &str)]) -> Result<Tokenizer, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    Tokenizer::load(folder.path()).map_err(|error| error.to_string())
}

fn row(text: &str, pair: Option<&str>) -> TextRow {
    TextRow {
        text: text.to_owned(),
        pair: pair.map(str::to_owned),
        label: None,
    }
}

#[test]
fn a_folder_without_a_tokenizer_lists_the_names_looked_for() {
    let message = load(&[("vocab.json", "{}")]).unwrap_err();
    assert!(
        message.ends_with(
            "holds no tokenizer: expected tokenizer.json, vocab.txt, or vocab.json with merges.txt"
        ),
        "{message}"
    );
}

#[test]
fn broken_files_are_named() {
    let cases: [(&[(&str, &str)], &str); 5] = [
        (
            &[("tokenizer.json", "{\"version\": \"1.0\"")],
            "tokenizer.json is not valid",
        ),
        (
            &[("vocab.txt", "[UNK]\n[SEP]\na\n")],
            "vocab.txt is not valid: it lacks the special token [CLS]",
        ),
        (
            &[("vocab.txt", "[CLS]\n[SEP]\na\n")],
            "vocab.txt is not valid: it lacks the special token [UNK]",
        ),
        (
            &[
                ("vocab.json", "{\"<s>\": 0, \"</s>\": 1}"),
                ("merges.txt", "a b\n"),
            ],
            "vocab.json is not valid: together with merges.txt",
        ),
        (
            &[
                ("vocab.txt", "[UNK]\n[CLS]\n[SEP]\n"),
                ("tokenizer_config.json", "[1"),
            ],
            "tokenizer_config.json is not valid",
        ),
    ];
    for (files, expected) in cases {
        let message = load(files).unwrap_err();
        assert!(
            message.contains(expected) && !message.contains('\n'),
            "{message}"
        );
    }
}

/// The tokenizer of the fixture with another value in one place.
fn changed(place: &str, value: Value) -> Result<Tokenizer, String> {
    let mut json: Value = serde_json::from_str(&fixture("wordpiece", "tokenizer.json")).unwrap();
    *json.pointer_mut(place).unwrap() = value;
    load(&[("tokenizer.json", &json.to_string())])
}

#[test]
fn what_would_take_too_much_is_refused_before_it_is_built() {
    let doubling = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let cases = [
        (
            "/normalizer",
            json!({"type": "Sequence", "normalizers": vec![doubling; 40]}),
            "64 times as long",
        ),
        (
            "/normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="}),
            "longer than it is",
        ),
        (
            "/model/max_input_chars_per_word",
            json!(1_000_000_000),
            "at most 1000",
        ),
        (
            "/model/vocab",
            json!({"[UNK]": 0, ("a".repeat(2000)): 0}),
            "more than 1024 bytes",
        ),
    ];
    for (place, value, expected) in cases {
        let message = changed(place, value).unwrap_err();
        assert!(
            message.contains("tokenizer.json is not valid") && message.contains(expected),
            "{message}"
        );
    }
}

#[test]
fn rules_that_contradict_themselves_are_an_error() {
    // A table of characters whose only entry leads out of it.
    let table = json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAAAEAAA="});
    let tokenizer = changed("/normalizer", table);
    let ids = tokenizer.and_then(|tokenizer| {
        let ids = tokenizer.encode_text_with_special_tokens("a");
        ids.map_err(|error| error.to_string())
    });
    assert!(ids.unwrap_err().contains("contradicts itself"));
}

#[test]
fn special_tokens_without_texts_have_empty_ones() {
    let mut json: Value = serde_json::from_str(&fixture("wordpiece", "tokenizer.json")).unwrap();
    json["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "end", "type_id": 0}}
        ],
        "pair": [],
        "special_tokens": {"end": {"id": "end", "ids": [2, 3], "tokens": ["one"]}}
    });
    let tokenizer = load(&[("tokenizer.json", &json.to_string())]).unwrap();
    let window = tokenizer
        .encode_pieces(1, "the", None, 16, Truncation::LongestFirst)
        .unwrap();
    let last = window.pieces.last().unwrap();
    assert_eq!((last.id, last.token.as_str()), (3, ""));
}

#[test]
fn truncation_and_padding_of_the_file_are_replaced() {
    let mut json: Value = serde_json::from_str(&fixture("wordpiece", "tokenizer.json")).unwrap();
    json["truncation"] =
        json!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = json!({
        "strategy": {"Fixed": 12}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"
    });
    let tokenizer = load(&[("tokenizer.json", &json.to_string())]).unwrap();
    let rows = [row("the small adapter was trained", None)];
    let encoded = tokenizer.encode_batch(&rows, 128).unwrap();
    assert_eq!(encoded[0].input_ids.len(), 7);
    assert!(!encoded[0].truncated);
    let encoded = tokenizer.encode_batch(&rows, 5).unwrap();
    assert_eq!(encoded[0].input_ids.len(), 5);
    assert!(encoded[0].truncated);
}

#[test]
fn options_of_the_configuration_count() {
    let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nThe\nthe\nn\u{e9}\nne\n";
    let ids = |options: &str, text: &str| {
        let files = [
            ("vocab.txt", vocabulary),
            ("tokenizer_config.json", options),
        ];
        load(&files)
            .unwrap()
            .encode_text_with_special_tokens(text)
            .unwrap()[1]
    };
    assert_eq!(ids("{}", "The"), 6);
    assert_eq!(ids("{\"do_lower_case\": false, \"other\": [1]}", "The"), 5);
    assert_eq!(ids("{}", "n\u{e9}"), 8);
    assert_eq!(ids("{\"strip_accents\": false}", "n\u{e9}"), 7);
    let named =
        "{\"cls_token\": {\"content\": \"the\", \"lstrip\": false}, \"sep_token\": \"The\"}";
    let tokenizer = load(&[("vocab.txt", vocabulary), ("tokenizer_config.json", named)]).unwrap();
    assert_eq!(
        tokenizer.encode_text_with_special_tokens("ne").unwrap(),
        [6, 8, 5]
    );
}

#[test]
fn a_tokenizer_without_special_tokens_is_shortened_too() {
    let mut json: Value = serde_json::from_str(&fixture("wordpiece", "tokenizer.json")).unwrap();
    json["post_processor"] = Value::Null;
    let tokenizer = load(&[("tokenizer.json", &json.to_string())]).unwrap();
    let rows = [
        row("the small adapter was", None),
        row("the small", Some("adapter was trained")),
    ];
    let encoded = tokenizer.encode_batch(&rows, 3).unwrap();
    assert!(
        encoded
            .iter()
            .all(|encoded| encoded.input_ids.len() == 3 && encoded.truncated)
    );
}

#[test]
fn a_length_without_room_for_text_is_an_error() {
    let tokenizer = load(&[("tokenizer.json", &fixture("wordpiece", "tokenizer.json"))]).unwrap();
    let message = tokenizer
        .encode_batch(&[row("a", Some("b"))], 3)
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "a maximum length of 3 tokens leaves no room for text beside 3 special tokens"
    );
}

#[test]
fn the_order_of_rows_does_not_depend_on_threads() {
    let tokenizer = load(&[("tokenizer.json", &fixture("bytebpe", "tokenizer.json"))]).unwrap();
    let rows: Vec<TextRow> = (0..500)
        .map(|number| row(&format!("row {number}"), None))
        .collect();
    let many = tokenizer.encode_batch(&rows, 32).unwrap();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let one = pool.install(|| tokenizer.encode_batch(&rows, 32)).unwrap();
    assert_eq!(many, one);
    for (row, encoded) in rows.iter().zip(&many).step_by(50) {
        assert_eq!(
            encoded.input_ids,
            tokenizer
                .encode_text_with_special_tokens(&row.text)
                .unwrap()
        );
    }
}
