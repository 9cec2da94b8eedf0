//! Which files of a folder hold its tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::TensorError;
use crate::error::{clipped, quoted};
use crate::shard::open_regular_file;

/// The largest index of a sharded set that is read, in bytes; an entry takes about a hundred.
const LARGEST_INDEX: u64 = 64 * 1024 * 1024;

/// What a folder has.
pub(crate) enum Found {
    /// All tensors in one file.
    File(PathBuf),
    /// The index of a sharded set.
    Index(PathBuf),
}

/// Looks for the tensors of a folder, as [`crate::TensorFiles::open_folder`] says.
pub(crate) fn find(folder: &Path, stems: &[&str]) -> Result<Found, TensorError> {
    let mut looked_for = Vec::new();
    for stem in stems {
        for file in [
            format!("{stem}.safetensors"),
            format!("pytorch_{stem}.bin"),
            format!("{stem}.bin"),
        ] {
            let index = format!("{file}.index.json");
            if exists(&folder.join(&file))? {
                return Ok(Found::File(folder.join(file)));
            }
            if exists(&folder.join(&index))? {
                return Ok(Found::Index(folder.join(index)));
            }
            looked_for.extend([file, index]);
        }
    }
    Err(TensorError::NotFound {
        folder: folder.to_path_buf(),
        looked_for,
    })
}

fn exists(path: &Path) -> Result<bool, TensorError> {
    path.try_exists()
        .map_err(|e| TensorError::io(path, "look for", e))
}

/// The index of a sharded set: for each tensor, the name of the file that holds it. Other keys are ignored.
#[derive(Debug, Deserialize)]
pub(crate) struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// Reads an index and checks that it names at least one file and none outside its folder.
pub(crate) fn read_index(path: &Path) -> Result<ShardIndex, TensorError> {
    let mut json = Vec::new();
    open_regular_file(path)?
        .take(LARGEST_INDEX + 1)
        .read_to_end(&mut json)
        .map_err(|e| TensorError::io(path, "read", e))?;
    if json.len() as u64 > LARGEST_INDEX {
        return Err(TensorError::malformed(
            path,
            format!("an index of at most {LARGEST_INDEX} bytes"),
            "a larger one",
        ));
    }
    let index: ShardIndex = serde_json::from_slice(&json).map_err(|e| {
        TensorError::malformed(path, "JSON with a \"weight_map\"", clipped(&e.to_string()))
    })?;
    if index.weight_map.is_empty() {
        return Err(TensorError::malformed(
            path,
            "at least one tensor in \"weight_map\"",
            "none",
        ));
    }
    if let Some(name) = index
        .shard_names()
        .into_iter()
        .find(|name| !is_plain_file_name(name))
    {
        return Err(TensorError::malformed(
            path,
            "plain file names in \"weight_map\"",
            quoted(name),
        ));
    }
    Ok(index)
}

impl ShardIndex {
    /// The names of the shard files, sorted.
    pub(crate) fn shard_names(&self) -> BTreeSet<&str> {
        self.weight_map.values().map(String::as_str).collect()
    }

    /// Checks that every tensor is where the index says, given the name of the file that has it.
    pub(crate) fn check<'a>(
        &self,
        path: &Path,
        actual_file: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<(), TensorError> {
        for (name, expected) in &self.weight_map {
            let actual = actual_file(name);
            if actual != Some(expected) {
                return Err(TensorError::malformed(
                    path,
                    format!("tensor {} in {}", quoted(name), quoted(expected)),
                    actual.map_or("it in no shard".to_string(), |actual| {
                        format!("it in {}", quoted(actual))
                    }),
                ));
            }
        }
        Ok(())
    }
}

/// The longest name that file systems allow, in bytes.
const LONGEST_NAME: usize = 255;

/// Whether joining the name to a folder gives a file of that folder, on any system, with a path that can be shown.
fn is_plain_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(components.next(), Some(Component::Normal(only)) if only == name)
        && components.next().is_none()
        && !name.contains(['/', '\\', ':'])
        && name.len() <= LONGEST_NAME
        && !name.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_files_of_the_folder() {
        assert!(is_plain_file_name("model-00001-of-00002.safetensors"));
        for name in [
            "",
            ".",
            "..",
            "/etc/passwd",
            "../model.bin",
            "a/b",
            "a/",
            "a\\b",
            "C:model.bin",
            "a\0b",
            "a\nb",
            &"a".repeat(256),
        ] {
            assert!(!is_plain_file_name(name), "{name:?}");
        }
    }
}
