//! Splits from the Hugging Face Hub.

use std::path::{Path, PathBuf};

use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use crate::card::Card;
use crate::error::{DataError, first_line};
use crate::split_files::{self, SplitFile};

/// Fetches the files of a split and gives the folder they lie in, which [`crate::read_split`] takes as it is.
///
/// `cache` is a cache in the layout of Hugging Face's libraries, usually `~/.cache/huggingface/hub`; what lies there is
/// not fetched again. The caller decides on it, because a library reads no environment variables.
///
/// # Errors
/// No network, no such repository, or no such split in it.
pub fn fetch_from_hub(card: &Card, split: &str, cache: &Path) -> Result<PathBuf, DataError> {
    let (Some(repository), Some(hub_folder)) = (&card.source.repository, &card.source.hub_folder)
    else {
        return Err(DataError::NotOnHub {
            name: card.name.clone(),
        });
    };
    let cache = Cache::new(cache.to_owned());
    let repo = Repo::new(repository.clone(), RepoType::Dataset);
    let alias = card.aliases.get(split).map(String::as_str);
    for name in [Some(split), alias].into_iter().flatten() {
        // A split in one file can be found without asking the Hub for a list, and so without a network.
        let file = format!("{}/{name}-00000-of-00001.parquet", hub_folder);
        if let Some(folder) = cache
            .repo(repo.clone())
            .get(&file)
            .as_deref()
            .and_then(Path::parent)
        {
            return Ok(folder.to_owned());
        }
    }
    let failed = |what: &str, error: ApiError| DataError::Hub {
        what: format!("{}/{what}", repository),
        message: first_line(&error.to_string()),
    };
    let api = ApiBuilder::from_cache(cache)
        .with_progress(false)
        .build()
        .map_err(|error| failed(hub_folder, error))?
        .repo(repo);
    let files = list(&api, hub_folder).map_err(|error| failed(hub_folder, error))?;
    let place = Path::new(repository).join(hub_folder);
    let (_, chosen) = split_files::choose(card, split, &place, files)?;
    let mut folder = None;
    for file in chosen {
        let name = format!("{}/{}", hub_folder, file.name);
        let path = api.get(&name).map_err(|error| failed(&name, error))?;
        folder = path.parent().map(Path::to_owned);
    }
    folder.ok_or_else(|| DataError::Hub {
        what: place.display().to_string(),
        message: "the client gave no folder".to_owned(),
    })
}

fn list(api: &ApiRepo, folder: &str) -> Result<Vec<SplitFile>, ApiError> {
    let info = api.info()?;
    let names = info.siblings.iter().filter_map(|file| {
        let name = file.rfilename.strip_prefix(folder)?.strip_prefix('/')?;
        SplitFile::parse(name)
    });
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_that_is_not_on_the_hub_says_so() {
        let card = Card::builtin("chemprot").unwrap();
        let error = fetch_from_hub(&card, "train", Path::new("none")).unwrap_err();
        assert!(error.to_string().contains("--data"), "{error}");
    }

    #[test]
    fn a_split_in_the_cache_needs_no_network() {
        let cache = tempfile::tempdir().unwrap();
        let repository = cache.path().join("datasets--nyu-mll--glue");
        let folder = repository.join("snapshots/abc/mnli");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(repository.join("refs")).unwrap();
        std::fs::write(repository.join("refs/main"), "abc").unwrap();
        std::fs::write(folder.join("validation_matched-00000-of-00001.parquet"), "").unwrap();
        let card = Card::builtin("mnli").unwrap();
        assert_eq!(
            fetch_from_hub(&card, "validation", cache.path()).unwrap(),
            folder
        );
    }
}
