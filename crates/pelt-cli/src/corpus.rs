//! The texts of `pelt pretrain`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use pelt_data::{
    Card, Masking, TextPacking, Tokenizer, fingerprint_of_rows, first_rows, pack_texts,
    read_documents,
};
use pelt_train::MaskedTexts;
use serde::{Deserialize, Serialize};

use crate::data;
use crate::model::Base;
use crate::pretrain_args::PretrainArgs;

/// Texts to learn from, and texts that perplexity is measured on.
pub struct Corpus {
    train: Vec<String>,
    held_out: Vec<String>,
    packing: TextPacking,
}

/// What is kept of texts in a run's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextsRecord {
    /// Documents, or lines where every line is a row of its own.
    pub texts: usize,
    pub rows: usize,
    /// Special tokens included.
    pub tokens: usize,
    /// SHA-256 of the tokens.
    pub fingerprint: String,
}

/// Texts as a model reads them.
pub struct Texts {
    pub texts: MaskedTexts,
    pub record: TextsRecord,
}

/// What `--held-out` asks for.
enum HeldOut {
    Share(f64),
    File(PathBuf),
}

impl HeldOut {
    fn parse(text: &str) -> Result<Self> {
        match text.parse::<f64>() {
            Ok(share) => {
                ensure!(
                    (0.0..1.0).contains(&share),
                    "--held-out must be a share in [0, 1) or a file, but is {text}"
                );
                Ok(Self::Share(share))
            }
            Err(_) => Ok(Self::File(text.into())),
        }
    }
}

impl Corpus {
    pub fn read(args: &PretrainArgs) -> Result<Self> {
        let held_out = HeldOut::parse(&args.held_out)?;
        let packing = args.packing.packing();
        let mut texts = Vec::new();
        for source in &args.corpus {
            texts.extend(units(documents(source, args)?, packing));
        }
        let (train, held_out) = match held_out {
            HeldOut::File(file) => {
                let held_out = read_documents(&file, &args.text_column)?;
                (texts, units(held_out, packing))
            }
            HeldOut::Share(0.0) => (texts, Vec::new()),
            HeldOut::Share(share) => part(texts, share, args.optimiser.seed)?,
        };
        Ok(Self {
            train,
            held_out,
            packing,
        })
    }

    /// The texts to learn from, and those to measure on, as rows of tokens.
    pub fn tokenise(
        &self,
        tokenizer: &Tokenizer,
        base: &Base,
        model: &Path,
        max_length: usize,
    ) -> Result<(Texts, Option<Texts>)> {
        let masking = Masking::new(tokenizer, base.config().shape.vocab_size)
            .with_context(|| format!("{}: cannot be pretrained", model.display()))?;
        let rows = |texts: &[String], what: &str| -> Result<Texts> {
            let rows = pack_texts(tokenizer, texts, max_length, self.packing)?;
            ensure!(
                !rows.is_empty(),
                "{what} have no token that could be predicted: the tokenizer knows none of their words"
            );
            let ids = rows.iter().map(|row| [row.as_slice(), &[]]).enumerate();
            data::check_vocabulary(ids, what, model, base)?;
            let record = TextsRecord {
                texts: texts.len(),
                rows: rows.len(),
                tokens: rows.iter().map(Vec::len).sum(),
                fingerprint: fingerprint_of_rows(&rows),
            };
            Ok(Texts {
                texts: MaskedTexts::new(rows, masking.clone()),
                record,
            })
        };
        let train = rows(&self.train, "the texts of --corpus")?;
        let held_out = match self.held_out.is_empty() {
            true => None,
            false => Some(rows(&self.held_out, "the held-out texts")?),
        };
        Ok((train, held_out))
    }
}

/// The documents of one `--corpus`.
fn documents(source: &str, args: &PretrainArgs) -> Result<Vec<String>> {
    let path = Path::new(source);
    if path.exists() {
        return Ok(read_documents(path, &args.text_column)?);
    }
    let Some(card) = Card::builtin(source) else {
        bail!("{source}: there is no file or folder of this name, and no task");
    };
    let Some(split) = &card.train_split else {
        bail!("the task {source} has no training texts");
    };
    let rows = data::task_split(&card, args.data.as_deref(), split)?.rows;
    let texts = rows.into_iter().map(|row| match row.pair {
        Some(pair) => format!("{} {pair}", row.text),
        None => row.text,
    });
    Ok(texts.filter(|text| !text.trim().is_empty()).collect())
}

/// What may be held out: a document, or a line where lines stand alone.
fn units(documents: Vec<String>, packing: TextPacking) -> Vec<String> {
    match packing {
        TextPacking::Documents => documents,
        TextPacking::Lines => documents
            .iter()
            .flat_map(|document| document.lines())
            .filter(|line| !line.trim().is_empty())
            .map(str::to_owned)
            .collect(),
    }
}

/// The texts without those that are held out, and these; both in their order.
fn part(texts: Vec<String>, share: f64, seed: u64) -> Result<(Vec<String>, Vec<String>)> {
    let count = ((texts.len() as f64 * share).round() as usize).max(1);
    ensure!(
        count < texts.len(),
        "the corpus has {} {}, which is too little to hold some out: give --held-out FILE, or --held-out 0 for none",
        texts.len(),
        if texts.len() == 1 { "text" } else { "texts" }
    );
    let mut is_held_out = vec![false; texts.len()];
    for row in first_rows(texts.len(), count, seed) {
        is_held_out[row] = true;
    }
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    for (text, is_held_out) in texts.into_iter().zip(is_held_out) {
        match is_held_out {
            true => held_out.push(text),
            false => train.push(text),
        }
    }
    Ok((train, held_out))
}
