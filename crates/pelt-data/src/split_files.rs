//! Files of a split: `SPLIT-00000-of-00002.parquet` and so on, or `SPLIT.jsonl`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::card::{Card, Layout};
use crate::error::{DataError, join_names};

/// What the name of a split's file says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SplitFile {
    pub(crate) split: String,
    pub(crate) index: usize,
    pub(crate) count: usize,
    pub(crate) name: String,
    pub(crate) layout: Layout,
}

impl SplitFile {
    /// Reads a file name; `None` where it is not the name of a split's file.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        for (ending, layout) in [
            (".jsonl", Layout::JsonLines),
            ("-v1.1.json", Layout::OfficialJson),
        ] {
            let Some(stem) = name.strip_suffix(ending) else {
                continue;
            };
            return (!stem.is_empty()).then(|| Self {
                split: if stem == "dev" { "validation" } else { stem }.to_owned(),
                index: 0,
                count: 1,
                name: name.to_owned(),
                layout,
            });
        }
        let stem = name.strip_suffix(".parquet")?;
        let (rest, count) = stem.rsplit_once('-')?;
        let (rest, of) = rest.rsplit_once('-')?;
        let (split, index) = rest.rsplit_once('-')?;
        if of != "of" || split.is_empty() || name.contains(['/', '\\']) {
            return None;
        }
        Some(Self {
            split: split.to_owned(),
            index: number(index)?,
            count: number(count)?,
            name: name.to_owned(),
            layout: Layout::Parquet,
        })
    }
}

fn number(digits: &str) -> Option<usize> {
    if digits.bytes().all(|digit| digit.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}

/// The files of a split among those of a folder, in order, and the split's own name: an alias counts only where there
/// are no files of the name asked for. Files in layouts that the card does not name are another data set's.
pub(crate) fn choose(
    card: &Card,
    split: &str,
    folder: &Path,
    files: Vec<SplitFile>,
) -> Result<(String, Vec<SplitFile>), DataError> {
    let layouts = &card.source.layouts;
    let other_layouts = files.iter().any(|file| !layouts.contains(&file.layout));
    let mut files = files;
    files.retain(|file| layouts.contains(&file.layout));
    let found: BTreeSet<&str> = files.iter().map(|file| file.split.as_str()).collect();
    let alias = card.aliases.get(split).map(String::as_str);
    let name = [Some(split), alias]
        .into_iter()
        .flatten()
        .find(|name| found.contains(name));
    let Some(name) = name.map(str::to_owned) else {
        return Err(DataError::NoSplit {
            folder: folder.to_owned(),
            split: split.to_owned(),
            found: match (found.is_empty(), layouts.first()) {
                // Such as Parquet files where a card reads JSON lines.
                (true, Some(layout)) if other_layouts => {
                    format!("(none as {})", layout.example())
                }
                _ => join_names(found),
            },
        });
    };
    files.retain(|file| file.split == name);
    let layout = layouts
        .iter()
        .find(|layout| files.iter().any(|file| file.layout == **layout));
    let mut chosen = files;
    chosen.retain(|file| Some(&file.layout) == layout);
    chosen.sort_by_key(|file| (file.count, file.index));
    let expected = chosen.first().map_or(0, |file| file.count);
    let complete = chosen.len() == expected
        && chosen
            .iter()
            .enumerate()
            .all(|(index, file)| file.index == index && file.count == expected);
    if !complete {
        return Err(DataError::MissingFile {
            folder: folder.to_owned(),
            split: name,
            expected,
            found: chosen.len(),
        });
    }
    Ok((name, chosen))
}

/// The folder of a data set below a data directory. The directory may also be the parent of the task's folder, or that
/// folder itself.
pub(crate) fn task_folder(root: &Path, card: &Card) -> Result<PathBuf, DataError> {
    let candidates = card.candidate_folders(root);
    candidates
        .iter()
        .find(|folder| folder.is_dir())
        .cloned()
        .ok_or_else(|| DataError::NoFolder {
            name: card.name.clone(),
            root: root.to_owned(),
            looked: join_names(
                candidates
                    .iter()
                    .map(|folder| folder.to_str().unwrap_or("(not UTF-8)")),
            ),
        })
}

/// All files of splits in a folder.
pub(crate) fn list(folder: &Path) -> Result<Vec<SplitFile>, DataError> {
    let failed = |reason| DataError::Read {
        path: folder.to_owned(),
        reason,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        files.extend(name.to_str().and_then(SplitFile::parse));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<SplitFile> {
        names
            .iter()
            .filter_map(|name| SplitFile::parse(name))
            .collect()
    }

    fn choose_from(
        card: &str,
        split: &str,
        names: &[&str],
    ) -> Result<(String, Vec<SplitFile>), DataError> {
        choose(
            &Card::builtin(card).unwrap(),
            split,
            Path::new("folder"),
            files(names),
        )
    }

    #[test]
    fn only_names_of_the_layout_count() {
        let file = SplitFile::parse("train_constructed-00001-of-00012.parquet").unwrap();
        assert_eq!(
            (file.split.as_str(), file.index, file.count),
            ("train_constructed", 1, 12)
        );
        for name in [
            "train.parquet",
            "-00000-of-00001.parquet",
            "train-0-of-x.parquet",
            "train-+0-of-1.parquet",
            "train-0-of-99999999999999999999999.parquet",
            "train-00000-of-00001.csv",
            "a/train-00000-of-00001.parquet",
            ".jsonl",
            "train.json",
        ] {
            assert_eq!(SplitFile::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_missing_split_names_those_there_and_no_longer_name_matches() {
        let names = [
            "train_constructed-00000-of-00001.parquet",
            "validation-00000-of-00001.parquet",
        ];
        let message = choose_from("qnli", "train", &names)
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "folder has no split \"train\"; the splits there are train_constructed, validation"
        );
    }

    #[test]
    fn an_alias_is_used_where_the_name_is_not_there() {
        let matched = "validation_matched-00000-of-00001.parquet";
        let (name, _) = choose_from("mnli", "validation", &[matched]).unwrap();
        assert_eq!(name, "validation_matched");
        let plain = "validation-00000-of-00001.parquet";
        let (name, _) = choose_from("mnli", "validation", &[matched, plain]).unwrap();
        assert_eq!(name, "validation");
    }

    #[test]
    fn a_card_chooses_among_the_layouts_it_names() {
        let parquet = "validation-00000-of-00001.parquet";
        let both = [parquet, "dev.jsonl"];
        let chosen = |card: &str, names: &[&str]| {
            choose_from(card, "validation", names).map(|(name, chosen)| {
                assert_eq!((name.as_str(), chosen.len()), ("validation", 1));
                chosen[0].name.clone()
            })
        };
        assert_eq!(chosen("chemprot", &both).unwrap(), "dev.jsonl");
        assert_eq!(chosen("chemprot", &both[..1]).unwrap(), parquet);
        assert_eq!(chosen("hyperpartisan_resplit", &both).unwrap(), parquet);
        let message = chosen("hyperpartisan", &both[..1]).unwrap_err().to_string();
        assert!(
            message.ends_with("the splits there are (none as SPLIT.jsonl)"),
            "{message}"
        );
    }

    #[test]
    fn all_files_of_a_split_must_be_there() {
        let names = [
            "train-00001-of-00002.parquet",
            "train-00000-of-00002.parquet",
        ];
        let (_, chosen) = choose_from("cola", "train", &names).unwrap();
        assert_eq!(
            chosen.iter().map(|file| file.index).collect::<Vec<_>>(),
            [0, 1]
        );
        let message = choose_from("cola", "train", &names[..1])
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "the split \"train\" in folder should have 2 files, found 1"
        );
    }
}
