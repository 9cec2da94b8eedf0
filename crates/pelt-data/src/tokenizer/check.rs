//! What a `tokenizer.json` asks for, checked before the tokenizers library does it.
//!
//! The library does whatever a file says: text that is replaced by longer text a hundred times over, a word whose pieces
//! are looked for in more time than there is, a table whose size is a number in the file. The limits here are far
//! beyond what tokenizers of published models ask for.

use serde_json::{Map, Value};

/// Components that the library knows; each has been looked at for what it can do to the length of a text.
const KINDS: [&str; 32] = [
    "BPEDecoder",
    "BertNormalizer",
    "BertPreTokenizer",
    "BertProcessing",
    "ByteFallback",
    "ByteLevel",
    "CTC",
    "CharDelimiterSplit",
    "Digits",
    "FixedLength",
    "Fuse",
    "Lowercase",
    "Metaspace",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Nmt",
    "Precompiled",
    "Prepend",
    "Punctuation",
    "Replace",
    "RobertaProcessing",
    "Sequence",
    "Split",
    "Strip",
    "StripAccents",
    "TemplateProcessing",
    "UnicodeScripts",
    "Whitespace",
    "WhitespaceSplit",
    "WordPiece",
];

/// Those that can double the length of a text.
const DOUBLING: [&str; 2] = ["ByteLevel", "BPEDecoder"];

/// Where a sequence of components lists them.
const LISTS: [&str; 4] = ["normalizers", "pretokenizers", "processors", "decoders"];

/// The parts of a file that consist of components.
const SECTIONS: [&str; 4] = ["normalizer", "pre_tokenizer", "post_processor", "decoder"];

/// The most components of a section, and how many times longer they may make a text.
const MOST_COMPONENTS: usize = 32;
const LARGEST_GROWTH: usize = 64;

/// The longest text outside of the vocabulary, such as a pattern, in bytes.
const LONGEST_TEXT: usize = 512;

/// The longest text that a table of characters puts in the place of one; the longest of Unicode's own has 33 bytes.
const LONGEST_REPLACEMENT: usize = 128;

/// The most tokens and texts in the templates of a file, all together.
const MOST_PIECES: usize = 64;

/// The longest word that is cut into pieces, in characters: the time grows with the third power.
const LONGEST_WORD: u64 = 1000;

/// The text of a vocabulary that is a list, and of added tokens, in bytes: each byte takes hundreds in memory.
const LARGEST_LIST: usize = 16 * 1024 * 1024;
const LARGEST_ADDED: usize = 1024 * 1024;

/// Checks everything but the texts of a vocabulary. The error is what is wrong.
pub(super) fn check(json: &Value) -> Result<(), String> {
    for name in SECTIONS {
        let mut section = Section {
            name,
            components: 0,
            growth: 1,
            tables: 0,
            pieces: 0,
        };
        match json.get(name) {
            None | Some(Value::Null) => {}
            Some(component) => section.component(component)?,
        }
    }
    let model = json.get("model").unwrap_or(&Value::Null);
    for (field, value) in model.as_object().into_iter().flatten() {
        match (field.as_str(), value) {
            ("vocab", Value::Array(entries)) => check_total(entries, "model", LARGEST_LIST)?,
            ("vocab" | "merges", _) => {}
            ("max_input_chars_per_word", Value::Number(number)) => {
                if number.as_u64().is_none_or(|number| number > LONGEST_WORD) {
                    return Err(format!(
                        "its model has {field} {number}, at most {LONGEST_WORD} is read"
                    ));
                }
            }
            (_, value) => check_texts(value, "model")?,
        }
    }
    let added = json.get("added_tokens").unwrap_or(&Value::Null);
    check_texts(added, "added_tokens")?;
    let added = added.as_array().map(Vec::as_slice);
    check_total(added.unwrap_or_default(), "added_tokens", LARGEST_ADDED)
}

/// Checks how much text there is in a list.
fn check_total(entries: &[Value], section: &str, largest: usize) -> Result<(), String> {
    let texts = entries.iter().map(|entry| match entry {
        Value::Object(fields) => fields.get("content").and_then(Value::as_str),
        other => other.get(0).and_then(Value::as_str),
    });
    let total: usize = texts.map(|text| text.map_or(0, str::len)).sum();
    if total > largest {
        return Err(format!(
            "its {section} has {total} bytes of tokens, at most {largest} are read"
        ));
    }
    Ok(())
}

/// Checks the length of every text in a value.
fn check_texts(value: &Value, section: &str) -> Result<(), String> {
    match value {
        Value::String(text) if text.len() > LONGEST_TEXT => Err(format!(
            "its {section} has a text of {} bytes, at most {LONGEST_TEXT} are read",
            text.len()
        )),
        Value::Array(items) => items.iter().try_for_each(|item| check_texts(item, section)),
        Value::Object(fields) => {
            let mut values = fields.values();
            values.try_for_each(|value| check_texts(value, section))
        }
        _ => Ok(()),
    }
}

/// A part of the file, and what has been found in it so far.
struct Section {
    name: &'static str,
    components: usize,
    /// How many times longer a text can become.
    growth: usize,
    tables: usize,
    pieces: usize,
}

impl Section {
    fn component(&mut self, component: &Value) -> Result<(), String> {
        let name = self.name;
        let kind = component.get("type").and_then(Value::as_str);
        let (Some(fields), Some(kind)) = (component.as_object(), kind) else {
            return Err(format!("its {name} has a component without a type"));
        };
        if !KINDS.contains(&kind) {
            return Err(format!("its {name} has a component of no known type"));
        }
        self.components += 1;
        if self.components > MOST_COMPONENTS {
            return Err(format!(
                "its {name} has more than {MOST_COMPONENTS} components"
            ));
        }
        if DOUBLING.contains(&kind) {
            self.grow(2)?;
        }
        // What a component does is told by its fields as well: the library can take one of another type for it.
        if let (Some(pattern), Some(content)) = (fields.get("pattern"), fields.get("content")) {
            self.grow(growth(pattern, content.as_str().unwrap_or_default()))?;
        }
        if ["single", "pair"]
            .iter()
            .any(|part| fields.contains_key(*part))
        {
            self.template(fields)?;
        }
        for (field, value) in fields {
            match (field.as_str(), value) {
                (list, Value::Array(components)) if LISTS.contains(&list) => {
                    for component in components {
                        self.component(component)?;
                    }
                }
                ("precompiled_charsmap", Value::String(table)) => self.table(table)?,
                _ => check_texts(value, name)?,
            }
        }
        Ok(())
    }

    fn grow(&mut self, times: usize) -> Result<(), String> {
        self.growth = self.growth.saturating_mul(times);
        if self.growth > LARGEST_GROWTH {
            return Err(format!(
                "its {} makes texts more than {LARGEST_GROWTH} times as long",
                self.name
            ));
        }
        Ok(())
    }

    /// A table of characters and what is put in their places: the length of the one part, that part, and the other one.
    fn table(&mut self, base64: &str) -> Result<(), String> {
        let wrong = |what: &str| format!("its {} has a table of characters {what}", self.name);
        let bytes = decode_base64(base64).ok_or_else(|| wrong("that is not in base 64"))?;
        let (length, rest) = bytes
            .split_first_chunk::<4>()
            .ok_or_else(|| wrong("without a length"))?;
        // The length counts whole entries of four bytes.
        let length = u32::from_le_bytes(*length) as usize / 4 * 4;
        let replacements = rest
            .get(length..)
            .ok_or_else(|| wrong("that claims to be longer than it is"))?;
        let mut replacements = replacements.split(|byte| *byte == 0);
        if replacements.any(|text| text.len() > LONGEST_REPLACEMENT) {
            return Err(wrong("that puts too long a text in the place of one"));
        }
        self.tables += 1;
        if self.tables > 1 {
            return Err(wrong("twice"));
        }
        Ok(())
    }

    /// A template says which tokens stand around a text and a pair of texts, and each name of a token there stands for
    /// some in a list.
    fn template(&mut self, fields: &Map<String, Value>) -> Result<(), String> {
        let tokens = fields.get("special_tokens").unwrap_or(&Value::Null);
        let count = |piece: &Value| {
            let id = piece.pointer("/SpecialToken/id").and_then(Value::as_str);
            let token = id.and_then(|id| tokens.get(id)).unwrap_or(&Value::Null);
            let lists = ["ids", "tokens"].map(|list| token.get(list).and_then(Value::as_array));
            let longest = lists.iter().flatten().map(|list| list.len()).max();
            longest.unwrap_or(0).max(1)
        };
        for part in ["single", "pair"] {
            let pieces = fields.get(part).and_then(Value::as_array);
            self.pieces += pieces.into_iter().flatten().map(count).sum::<usize>();
        }
        if self.pieces > MOST_PIECES {
            return Err(format!(
                "its {} puts more than {MOST_PIECES} tokens around a text",
                self.name
            ));
        }
        Ok(())
    }
}

/// How many times longer a text can become in which a pattern is replaced.
fn growth(pattern: &Value, content: &str) -> usize {
    match pattern.get("String").and_then(Value::as_str) {
        Some(pattern) if !pattern.is_empty() => content.len().div_ceil(pattern.len()).max(1),
        // An empty pattern, and perhaps a regular expression, is found before every character.
        _ => content.len() + 1,
    }
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len());
    for group in digits.chunks(4) {
        let mut number: u32 = 0;
        for digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            number = (number << 6) | u32::from(value);
        }
        number <<= 6 * (4 - group.len());
        let [_, decoded @ ..] = number.to_be_bytes();
        bytes.extend_from_slice(&decoded[..group.len() - 1]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn replace(pattern: &Value, content: &str) -> Value {
        json!({"type": "Replace", "pattern": pattern, "content": content})
    }

    fn sequence(normalizers: &[Value]) -> Value {
        json!({"normalizer": {"type": "Sequence", "normalizers": normalizers}})
    }

    fn text(pattern: &str) -> Value {
        json!({"String": pattern})
    }

    #[test]
    fn base64_is_decoded() {
        assert_eq!(decode_base64("/////w==").unwrap(), [255; 4]);
        assert_eq!(decode_base64("aGVsbG8+").unwrap(), b"hello>");
        assert_eq!(decode_base64("").unwrap(), b"");
        assert_eq!(decode_base64("a-b="), None);
    }

    #[test]
    fn what_published_tokenizers_ask_for_is_let_through() {
        let spaces = json!({"Regex": " {2,}"});
        // ALBERT, XLM-RoBERTa and DeBERTa; and Llama.
        let table = json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAB0bQA="});
        let albert = [
            replace(&text("``"), "\""),
            replace(&text("''"), "\""),
            json!({"type": "NFKD"}),
            json!({"type": "StripAccents"}),
            json!({"type": "Lowercase"}),
            table,
            replace(&spaces, " "),
        ];
        check(&sequence(&albert)).unwrap();
        let llama = [
            json!({"type": "Prepend", "prepend": "\u{2581}"}),
            replace(&text(" "), "\u{2581}"),
        ];
        check(&sequence(&llama)).unwrap();
        // RoBERTa and BERT.
        let piece = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let whole = json!({
            "normalizer": {"type": "BertNormalizer", "lowercase": true},
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [piece("[CLS]"), text, piece("[SEP]")],
                "pair": [piece("[CLS]"), text, piece("[SEP]"), text, piece("[SEP]")],
                "special_tokens": {
                    "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                    "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}
                }
            },
            "decoder": null,
            "model": {"unk_token": "[UNK]", "max_input_chars_per_word": 100, "vocab": {"a": 0}}
        });
        check(&whole).unwrap();
    }

    #[test]
    fn what_would_take_too_much_is_refused() {
        let piece = json!({"SpecialToken": {"id": "x", "type_id": 0}});
        let tokens = json!({"x": {"id": "x", "ids": vec![1; 30], "tokens": vec!["x"; 30]}});
        let template = json!({
            "type": "TemplateProcessing",
            "single": [piece, piece, piece], "pair": [], "special_tokens": tokens
        });
        let table = |base64: &str| json!({"normalizer": {"type": "Precompiled", "precompiled_charsmap": base64}});
        let levels =
            json!({"type": "Sequence", "pretokenizers": vec![json!({"type": "ByteLevel"}); 9]});
        let cases = [
            (sequence(&vec![replace(&text("a"), "aa"); 7]), "64 times"),
            (sequence(&[replace(&text(""), &"a".repeat(64))]), "64 times"),
            (
                sequence(&[replace(&json!({"Regex": "x*"}), &"a".repeat(64))]),
                "64 times",
            ),
            (sequence(&vec![json!({"type": "NFC"}); 32]), "more than 32"),
            (json!({"pre_tokenizer": levels}), "64 times"),
            (table("/////w=="), "longer than it is"),
            (
                table(&format!("AAAAAGFh{}", "YWFh".repeat(60))),
                "too long a text",
            ),
            (table("AA-A"), "base 64"),
            (table(""), "without a length"),
            (json!({"post_processor": template}), "more than 64 tokens"),
            (
                json!({"model": {"max_input_chars_per_word": 1_000_000_000}}),
                "at most 1000",
            ),
            (
                json!({"model": {"unk_token": "x".repeat(1000)}}),
                "at most 512",
            ),
            (
                json!({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a".repeat(600)}}}),
                "at most 512",
            ),
            (
                json!({"decoder": {"pattern": {"String": "a"}, "content": "b"}}),
                "without a type",
            ),
            (json!({"decoder": {"type": "Other"}}), "no known type"),
        ];
        for (json, expected) in cases {
            let message = check(&json).unwrap_err();
            assert!(message.contains(expected), "{expected}: {message}");
        }
    }
}
