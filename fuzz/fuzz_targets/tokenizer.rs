//! The files of a tokenizer, and texts that it splits. The first byte says which file the rest is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pelt_data::{Masking, TextPacking, TextRow, Tokenizer, Truncation, pack_texts};
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
    match kind % 6 {
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
        4 => {
            scene.write("vocab.json", PAIRS);
            scene.write("merges.txt", content);
        }
        _ => {
            scene.write("vocab.json", content);
            scene.write("merges.txt", MERGES);
        }
    }
    let Ok(tokenizer) = Tokenizer::load(scene.path()) else {
        return;
    };
    use_all(&tokenizer);
}

/// Everything that a tokenizer is asked for, with texts that no vocabulary knows.
fn use_all(tokenizer: &Tokenizer) {
    let text = "The films, and a naïve 電影: 👩‍🔬 ``x''\u{1}\u{200d}";
    let row = |pair: Option<&str>| TextRow {
        text: text.into(),
        pair: pair.map(str::to_string),
        label: None,
    };
    let rows = [row(None), row(Some("th")), row(Some(""))];
    let _ = tokenizer.encode_batch(&rows, 16);
    for truncation in [
        Truncation::LongestFirst,
        Truncation::OnlyFirst,
        Truncation::OnlySecond,
    ] {
        let _ = tokenizer.encode(1, text, Some("the film"), 9, truncation);
        let _ = tokenizer.encode_pieces(1, text, Some("the film"), 9, truncation);
    }
    let _ = tokenizer.encode_windows(1, "th", &text.repeat(3), 12, 2);
    if let Ok(ids) = tokenizer.encode_text_with_special_tokens(text) {
        let _ = tokenizer.decode(&ids);
    }
    let _ = tokenizer.decode(&[0, 1, u32::MAX]);
    let documents = [text.to_string(), format!("{text}\nthe\n")];
    let masking = Masking::new(tokenizer, 1000);
    for packing in [TextPacking::Documents, TextPacking::Lines] {
        let packed = pack_texts(tokenizer, &documents, 10, packing);
        if let (Ok(masking), Ok(packed)) = (&masking, packed) {
            for row in packed {
                let _ = masking.mask(&row, 1, 0, 0);
            }
        }
    }
}
