//! Splits from the Hugging Face Hub.

use std::path::{Path, PathBuf};

use pelt_hub::{Hub, Progress, Repository};

use crate::card::Card;
use crate::error::DataError;
use crate::split_files::{self, SplitFile};

/// Fetches the files of a split and gives the folder they lie in, which [`crate::read_split`] takes as it is. What lies in
/// the Hub's cache is not fetched again.
///
/// # Errors
/// No network, no such repository, or no such split in it.
pub fn fetch_from_hub(
    card: &Card,
    split: &str,
    hub: &Hub,
    progress: &mut dyn Progress,
) -> Result<PathBuf, DataError> {
    let (Some(name), Some(folder)) = (&card.source.repository, &card.source.hub_folder) else {
        return Err(DataError::NotOnHub {
            name: card.name.clone(),
        });
    };
    let place = Path::new(name).join(folder);
    let choose = |all: &[String]| {
        let files = all.iter().filter_map(|file| {
            SplitFile::parse(file.strip_prefix(folder.as_str())?.strip_prefix('/')?)
        });
        let chosen = split_files::choose(card, split, &place, files.collect());
        let (_, chosen) = chosen.map_err(|_| format!("{folder} with the split {split:?}"))?;
        Ok(chosen
            .into_iter()
            .map(|file| format!("{folder}/{}", file.name))
            .collect())
    };
    let repository = Repository::dataset(name);
    let snapshot = repository.and_then(|repository| hub.fetch(&repository, &choose, progress));
    let snapshot = snapshot.map_err(|source| DataError::Hub {
        name: card.name.clone(),
        source: Box::new(source),
    })?;
    Ok(snapshot.join(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offline(cache: &Path) -> Hub {
        Hub {
            offline: true,
            ..Hub::new(cache.to_path_buf())
        }
    }

    #[test]
    fn a_set_that_is_not_on_the_hub_says_so() {
        let card = Card::builtin("chemprot").unwrap();
        let hub = offline(Path::new("none"));
        let error = fetch_from_hub(&card, "train", &hub, &mut ()).unwrap_err();
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
        let hub = offline(cache.path());
        assert_eq!(
            fetch_from_hub(&card, "validation", &hub, &mut ()).unwrap(),
            folder
        );
        let error = fetch_from_hub(&card, "train", &hub, &mut ()).unwrap_err();
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            why.contains("train") && why.contains("snapshots/abc"),
            "{why}"
        );
    }
}
