//! The files of a tokenizer, and a text that it splits. The first byte says which file the rest is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pelt_data::{TextRow, Tokenizer};
use pelt_fuzz::Scene;

const WORDS: &[u8] = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nfilm\n##s\n";
const PAIRS: &[u8] = br#"{"<s>":0,"<pad>":1,"</s>":2,"<unk>":3,"<mask>":4,"t":5,"h":6,"th":7}"#;
const MERGES: &[u8] = b"#version: 0.2\nt h\n";

fuzz_target!(init: pelt_fuzz::allow_caught_panics(), |content: &[u8]| {
    pelt_fuzz::read(|| read(content));
});

fn read(content: &[u8]) {
    let Some((kind, content)) = content.split_first() else {
        return;
    };
    let scene = Scene::new();
    match kind % 5 {
        0 => {
            scene.write("tokenizer.json", content);
        }
        1 => {
            scene.write("vocab.txt", WORDS);
            scene.write("tokenizer_config.json", content);
        }
        2 => {
            scene.write("vocab.json", PAIRS);
            scene.write("merges.txt", MERGES);
            scene.write("tokenizer_config.json", content);
        }
        3 => {
            scene.write("vocab.txt", content);
        }
        _ => {
            scene.write("vocab.json", PAIRS);
            scene.write("merges.txt", content);
        }
    }
    let Ok(tokenizer) = Tokenizer::load(scene.path()) else {
        return;
    };
    let row = TextRow {
        text: "The films, and a naïve 電影".into(),
        pair: Some("th".into()),
        label: None,
    };
    let _ = tokenizer.encode_batch(&[row], 16);
}
