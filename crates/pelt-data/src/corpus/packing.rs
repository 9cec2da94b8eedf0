//! Documents to rows of tokens.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Tokenizer;
use crate::error::DataError;

/// How texts become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextPacking {
    /// All documents one after another with a separator between them, cut into rows of the maximum length.
    Documents,
    /// Every line a row of its own; a longer one goes on in the next row.
    Lines,
}

/// The token ids of every row, special tokens included. Nothing is cut off; rows in which every token is a special one
/// are left out, for there is nothing to predict in them.
///
/// # Errors
/// `max_length` leaves no room for text beside the special tokens, or a text cannot be tokenised.
pub fn pack_texts(
    tokenizer: &Tokenizer,
    documents: &[String],
    max_length: usize,
    packing: TextPacking,
) -> Result<Vec<Vec<u32>>, DataError> {
    let frame = tokenizer.frame()?;
    let added = frame.leading.len() + frame.trailing.len();
    let room = max_length.saturating_sub(added);
    if room == 0 {
        return Err(DataError::MaxLength {
            max_length,
            special: added,
        });
    }
    let texts: Vec<String> = match packing {
        TextPacking::Documents => documents
            .iter()
            .map(|text| text.lines().collect::<Vec<_>>().join(" "))
            .collect(),
        TextPacking::Lines => {
            let lines = documents.iter().flat_map(|text| text.lines());
            lines.map(str::to_owned).collect()
        }
    };
    let encoded = tokenizer.encode_bare(&texts)?;
    let special = tokenizer.special_ids();
    let mut rows = Vec::new();
    let mut add = |tokens: &[u32]| {
        for part in tokens.chunks(room) {
            if part.iter().any(|id| !special.contains(id)) {
                rows.push([&frame.leading, part, &frame.trailing].concat());
            }
        }
    };
    match packing {
        TextPacking::Lines => encoded.iter().for_each(|tokens| add(tokens)),
        TextPacking::Documents => {
            let mut stream = Vec::new();
            for tokens in encoded.iter().filter(|tokens| !tokens.is_empty()) {
                if !stream.is_empty() {
                    stream.extend(frame.trailing.first());
                }
                stream.extend_from_slice(tokens);
            }
            add(&stream);
        }
    }
    Ok(rows)
}

/// SHA-256, in hexadecimal digits, over the tokens of all rows in their order.
pub fn fingerprint_of_rows(rows: &[Vec<u32>]) -> String {
    let mut hash = Sha256::new();
    for row in rows {
        hash.update((row.len() as u64).to_le_bytes());
        for id in row {
            hash.update(id.to_le_bytes());
        }
    }
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> (tempfile::TempDir, Tokenizer) {
        let folder = tempfile::tempdir().unwrap();
        let words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd";
        std::fs::write(folder.path().join("vocab.txt"), words).unwrap();
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        (folder, tokenizer)
    }

    fn rows(texts: &[&str], packing: TextPacking, max_length: usize) -> Vec<Vec<u32>> {
        let texts: Vec<String> = texts.iter().map(|text| text.to_string()).collect();
        pack_texts(&tokenizer().1, &texts, max_length, packing).unwrap()
    }

    #[test]
    fn documents_follow_one_another_and_lines_stand_alone() {
        let texts = ["a b\nc", "d d d d"];
        let documents = rows(&texts, TextPacking::Documents, 5);
        let expected: [&[u32]; 3] = [&[2, 5, 6, 7, 3], &[2, 3, 8, 8, 3], &[2, 8, 8, 3]];
        assert_eq!(documents, expected);
        let lines = rows(&texts, TextPacking::Lines, 5);
        let expected: [&[u32]; 4] = [&[2, 5, 6, 3], &[2, 7, 3], &[2, 8, 8, 8, 3], &[2, 8, 3]];
        assert_eq!(lines, expected);
        assert_ne!(fingerprint_of_rows(&documents), fingerprint_of_rows(&lines));
    }

    #[test]
    fn rows_of_special_tokens_alone_are_left_out() {
        assert!(rows(&["zzz", "zzz zzz"], TextPacking::Lines, 8).is_empty());
        assert!(rows(&["zzz", "zzz zzz"], TextPacking::Documents, 8).is_empty());
        assert_eq!(rows(&["a"], TextPacking::Documents, 3), [[2, 5, 3]]);
    }

    #[test]
    fn there_must_be_room_for_a_token() {
        let (_folder, tokenizer) = tokenizer();
        let error = pack_texts(&tokenizer, &["a".into()], 2, TextPacking::Lines).unwrap_err();
        assert!(error.to_string().contains("2 special tokens"), "{error}");
    }
}
