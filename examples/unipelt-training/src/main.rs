//! UniPELT with a prompt, trained from a library: texts in memory, the loop with its checkpoints and evaluation, and files that
//! AdapterHub's `adapters` reads too.
//!
//!     cargo run --release -p unipelt-training -- MODEL_FOLDER OUT
#![allow(clippy::print_stdout)] // It shows what it does.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use burn::tensor::Device;
use pelt_data::{Label, TextRow, Tokenizer};
use pelt_encoder::{Checkpoint, Head, HeadConfig, HeadKind};
use pelt_hooks::Sequence;
use pelt_methods::{AdapterConfig, ModelInfo, save};
use pelt_metrics::Metric;
use pelt_train::{
    Development, Examples, NoObserver, PeftModel, TrainConfig, Trainer, TrainingRows, predict,
};

const TEXTS: [(&str, usize); 8] = [
    ("a warm and funny film", 1),
    ("dull and far too long", 0),
    ("the best film of the year", 1),
    ("a waste of an evening", 0),
    ("wonderful acting and a fine story", 1),
    ("bad acting and a dull story", 0),
    ("funny and fine", 1),
    ("long and bad", 0),
];

/// Tokenised texts with their labels.
fn examples(tokenizer: &Tokenizer) -> Result<Examples> {
    let rows = TEXTS.map(|(text, class)| TextRow {
        text: text.into(),
        pair: None,
        label: Some(Label::Class(class)),
    });
    let encoded = tokenizer.encode_batch(&rows, 32)?;
    let sequence = |row: pelt_data::Encoded| Sequence {
        input_ids: row.input_ids,
        token_type_ids: row.token_type_ids,
    };
    Ok(Examples {
        sequences: encoded.into_iter().map(sequence).collect(),
        labels: rows.into_iter().filter_map(|row| row.label).collect(),
    })
}

/// Trains, saves the adapter in `out`, and gives the share of texts that it then gets right.
fn train(folder: &Path, out: &Path, epochs: usize) -> Result<f64> {
    let device = Device::flex();
    let checkpoint = Checkpoint::open(folder)?;
    let tokenizer = Tokenizer::load(folder)?;
    // One frozen encoder serves any number of adapters.
    let encoder = Arc::new(checkpoint.encoder(&device)?);
    let shape = *encoder.shape();

    let training = device.autodiff();
    let mut config = AdapterConfig::preset("unipelt-prompt")?;
    config.set("prompt.prompt_length=4")?;
    config.validate(&shape)?;
    pelt_hooks::seed(42);
    let adapter = config.init(&shape, &training, &|_| None)?;
    let head = HeadConfig {
        kind: HeadKind::Flexible,
        labels: 2,
        dropout: 0.1,
    };
    let head = Head::new(head, shape.hidden_size, &training);
    let model = PeftModel::new(encoder, adapter, head);

    let examples = examples(&tokenizer)?;
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let settings = TrainConfig {
        epochs,
        batch_size: 4,
        learning_rate: 2e-3,
        ..TrainConfig::default()
    };
    let trainer = Trainer {
        config: &settings,
        train: TrainingRows::Labelled(&examples),
        development: Some(Development::Rows(&examples)),
        metrics: &[Metric::Accuracy],
        primary_metric: Metric::Accuracy,
        folder: out,
        identity: "{}",
    };
    let trained = trainer.run(model, false, &mut NoObserver)?.model;

    let info = ModelInfo {
        model_type: checkpoint.config().architecture.name().into(),
        model_class: "BertModel".into(),
        model_name: folder.display().to_string(),
        hidden_size: shape.hidden_size,
    };
    save(out, "sentiment", &config, &trained.method, &info)?;
    let logits = predict(&trained, &examples.sequences, 8)?;
    let right = logits.iter().zip(TEXTS).filter(|(logits, (_, class))| {
        let other = 1 - class;
        logits[*class] > logits[other]
    });
    Ok(right.count() as f64 / TEXTS.len() as f64)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .context("name the folder of a BERT model, and an output folder")?;
    let out = arguments.next().context("name an output folder")?;
    let accuracy = train(Path::new(&folder), Path::new(&out), 30)?;
    println!("accuracy on the training texts: {accuracy}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_learns_its_texts_and_leaves_an_adapter() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        std::fs::create_dir(&model).unwrap();
        let fixture = pelt_testkit::fixture("models/bert/cls");
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(fixture.join(file), model.join(file)).unwrap();
        }
        let words = TEXTS.iter().flat_map(|(text, _)| text.split(' '));
        let mut vocabulary = vec!["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
        vocabulary.extend(words);
        vocabulary.sort_unstable();
        vocabulary.dedup();
        std::fs::write(model.join("vocab.txt"), vocabulary.join("\n")).unwrap();
        let out = folder.path().join("out");
        let accuracy = train(&model, &out, 30).unwrap();
        assert!(accuracy >= 0.75, "{accuracy}");
        assert!(out.join("adapter.safetensors").is_file());
    }
}
