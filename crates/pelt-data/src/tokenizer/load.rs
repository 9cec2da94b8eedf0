//! Tokenizers from the files of a model folder.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::bpe::BPE;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

use super::check::check;
use crate::error::{DataError, first_line};
use crate::regular_file;

/// The file names looked for, as an error message lists them.
const LOOKED_FOR: &str = "tokenizer.json, vocab.txt, or vocab.json with merges.txt";

/// The largest `tokenizer.json`, and the largest of the other files, in bytes.
const LARGEST_WHOLE: u64 = 256 * 1024 * 1024;
const LARGEST_PART: u64 = 64 * 1024 * 1024;

/// The longest token in bytes. The same few characters can have any token's number, and get its text each time.
const LONGEST_TOKEN: usize = 1024;

/// Loads the tokenizer of a model folder, without truncation and padding.
pub(super) fn load(folder: &Path) -> Result<Tokenizer, DataError> {
    // The library panics where parts of a file contradict each other.
    catch_unwind(|| load_files(folder))
        .unwrap_or_else(|_| Err(invalid(&main_file(folder), "it contradicts itself")))
}

/// The file that the tokenizer of a folder is made from, for a message.
fn main_file(folder: &Path) -> PathBuf {
    let names = ["tokenizer.json", "vocab.txt", "vocab.json"];
    let mut files = names.iter().map(|name| folder.join(name));
    files
        .find(|file| file.is_file())
        .unwrap_or_else(|| folder.to_owned())
}

fn load_files(folder: &Path) -> Result<Tokenizer, DataError> {
    let whole = folder.join("tokenizer.json");
    let word_pieces = folder.join("vocab.txt");
    let pairs = (folder.join("vocab.json"), folder.join("merges.txt"));
    let mut tokenizer = if whole.is_file() {
        from_json(&whole)?
    } else if word_pieces.is_file() {
        word_piece(&word_pieces, &Options::read(folder)?)?
    } else if pairs.0.is_file() && pairs.1.is_file() {
        byte_pairs(&pairs.0, &pairs.1, &Options::read(folder)?)?
    } else {
        return Err(DataError::NoTokenizer {
            folder: folder.to_owned(),
            looked: LOOKED_FOR,
        });
    };
    let vocabulary = tokenizer.get_vocab(true);
    if vocabulary.keys().any(|token| token.len() > LONGEST_TOKEN) {
        let message = format!("it has a token of more than {LONGEST_TOKEN} bytes");
        return Err(invalid(&main_file(folder), &message));
    }
    if tokenizer.get_post_processor().is_none() {
        tokenizer.with_post_processor(Some(nothing_added(folder)?));
    }
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|error| invalid(folder, &error.to_string()))?;
    Ok(tokenizer)
}

fn from_json(path: &Path) -> Result<Tokenizer, DataError> {
    let wrong = |error: serde_json::Error| invalid(path, &error.to_string());
    let bytes = regular_file::read(path, LARGEST_WHOLE)?;
    let json: Value = serde_json::from_slice(&bytes).map_err(wrong)?;
    check(&json).map_err(|message| invalid(path, &message))?;
    // The library gets what was checked. In the file a field can stand twice, and it might take the other one.
    let checked = serde_json::to_vec(&json).map_err(wrong)?;
    drop((bytes, json));
    Tokenizer::from_bytes(checked).map_err(|error| invalid(path, &error.to_string()))
}

/// A post-processor that adds no tokens. Without any, the tokens of a single text are not marked as that text's.
fn nothing_added(folder: &Path) -> Result<TemplateProcessing, DataError> {
    TemplateProcessing::builder()
        .try_single("$A")
        .and_then(|builder| builder.try_pair("$A:0 $B:1"))
        .map_err(|error| invalid(folder, &error))?
        .build()
        .map_err(|error| invalid(folder, &error.to_string()))
}

/// The parts of `tokenizer_config.json` that matter here, with the defaults of transformers.
#[derive(Debug, Default, Deserialize)]
struct Options {
    do_lower_case: Option<bool>,
    strip_accents: Option<bool>,
    tokenize_chinese_chars: Option<bool>,
    add_prefix_space: Option<bool>,
    bos_token: Option<TokenName>,
    eos_token: Option<TokenName>,
    unk_token: Option<TokenName>,
    sep_token: Option<TokenName>,
    pad_token: Option<TokenName>,
    cls_token: Option<TokenName>,
    mask_token: Option<TokenName>,
}

/// A special token is written as its name, or as an object with more about it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TokenName {
    Name(String),
    Object { content: String },
}

impl Options {
    fn read(folder: &Path) -> Result<Self, DataError> {
        let path = folder.join("tokenizer_config.json");
        if !path.is_file() {
            return Ok(Self::default());
        }
        serde_json::from_slice(&regular_file::read(&path, LARGEST_PART)?)
            .map_err(|error| invalid(&path, &error.to_string()))
    }
}

fn name(option: &Option<TokenName>, default: &str) -> String {
    match option {
        Some(TokenName::Name(name) | TokenName::Object { content: name }) => name.clone(),
        None => default.to_owned(),
    }
}

fn word_piece(path: &Path, options: &Options) -> Result<Tokenizer, DataError> {
    let wrong = |message: &str| invalid(path, message);
    let unknown = name(&options.unk_token, "[UNK]");
    let separator = name(&options.sep_token, "[SEP]");
    let class = name(&options.cls_token, "[CLS]");
    let bytes = regular_file::read(path, LARGEST_PART)?;
    let vocabulary = WordPiece::read_bytes(&bytes).map_err(|error| wrong(&error.to_string()))?;
    let model = WordPiece::builder()
        .vocab(vocabulary)
        .unk_token(unknown.clone())
        .build()
        .map_err(|error| wrong(&error.to_string()))?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(BertNormalizer::new(
        true,
        options.tokenize_chinese_chars.unwrap_or(true),
        options.strip_accents,
        options.do_lower_case.unwrap_or(true),
    )));
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_decoder(Some(WordPieceDecoder::default()));
    let separator_id = with_id(path, &tokenizer, &separator)?;
    let class_id = with_id(path, &tokenizer, &class)?;
    tokenizer.with_post_processor(Some(BertProcessing::new(separator_id, class_id)));
    with_id(path, &tokenizer, &unknown)?;
    let padding = name(&options.pad_token, "[PAD]");
    let mask = name(&options.mask_token, "[MASK]");
    add_special(
        &mut tokenizer,
        &[unknown, separator, padding, class],
        &mask,
        false,
    );
    Ok(tokenizer)
}

fn byte_pairs(vocabulary: &Path, merges: &Path, options: &Options) -> Result<Tokenizer, DataError> {
    let wrong = |message: &str| invalid(vocabulary, message);
    let (Some(vocabulary_name), Some(merges_name)) = (vocabulary.to_str(), merges.to_str()) else {
        return Err(wrong("its path is not UTF-8"));
    };
    for path in [vocabulary, merges] {
        regular_file::check_length(path, LARGEST_PART)?;
    }
    let model = BPE::from_file(vocabulary_name, merges_name)
        .build()
        .map_err(|error| wrong(&format!("together with merges.txt: {error}")))?;
    let prefix_space = options.add_prefix_space.unwrap_or(false);
    let separator = name(&options.sep_token, "</s>");
    let class = name(&options.cls_token, "<s>");
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(prefix_space, true, true)));
    tokenizer.with_decoder(Some(ByteLevelDecoder::default()));
    let processing = RobertaProcessing::new(
        with_id(vocabulary, &tokenizer, &separator)?,
        with_id(vocabulary, &tokenizer, &class)?,
    );
    tokenizer.with_post_processor(Some(
        processing.trim_offsets(true).add_prefix_space(prefix_space),
    ));
    let others = [
        name(&options.bos_token, "<s>"),
        name(&options.eos_token, "</s>"),
        separator,
        class,
        name(&options.unk_token, "<unk>"),
        name(&options.pad_token, "<pad>"),
    ];
    // RoBERTa's mask takes the space before it, so that a masked word reads as any other.
    add_special(
        &mut tokenizer,
        &others,
        &name(&options.mask_token, "<mask>"),
        true,
    );
    Ok(tokenizer)
}

/// Special tokens that the vocabulary has are recognised in texts. Those it lacks are left out: they would get an id
/// beyond the embedding table of the model.
fn add_special(tokenizer: &mut Tokenizer, names: &[String], mask: &str, mask_takes_space: bool) {
    let mut tokens: Vec<AddedToken> = names
        .iter()
        .map(|name| AddedToken::from(name.as_str(), true))
        .collect();
    tokens.push(AddedToken::from(mask, true).lstrip(mask_takes_space));
    tokens.retain(|token| tokenizer.token_to_id(&token.content).is_some());
    tokenizer.add_special_tokens(&tokens);
}

fn with_id(path: &Path, tokenizer: &Tokenizer, token: &str) -> Result<(String, u32), DataError> {
    match tokenizer.token_to_id(token) {
        Some(id) => Ok((token.to_owned(), id)),
        None => Err(invalid(
            path,
            &format!("it lacks the special token {token}"),
        )),
    }
}

fn invalid(path: &Path, message: &str) -> DataError {
    DataError::Tokenizer {
        path: PathBuf::from(path),
        message: first_line(message),
    }
}
