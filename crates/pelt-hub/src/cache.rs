//! The cache folder that Hugging Face's libraries share: `models--owner--name` with `refs`, `snapshots` and `blobs`.

use std::path::{Component, Path, PathBuf};

use crate::digest;
use crate::repository::is_plain;
use crate::{HubError, Repository};

/// One repository's folder in the cache.
pub(crate) struct CachedRepository {
    folder: PathBuf,
    revision: String,
}

impl CachedRepository {
    pub(crate) fn new(cache: &Path, repository: &Repository) -> Self {
        Self {
            folder: cache.join(repository.folder_name()),
            revision: repository.revision.clone(),
        }
    }

    /// The commit that the revision was when it was last asked for; a commit is its own.
    pub(crate) fn commit(&self) -> Option<String> {
        let known = std::fs::read_to_string(self.reference());
        let commit = match known {
            Ok(commit) => commit.trim().to_owned(),
            Err(_) => self.revision.clone(),
        };
        // It becomes part of a path.
        is_plain(&commit).then_some(commit)
    }

    fn reference(&self) -> PathBuf {
        self.folder.join("refs").join(&self.revision)
    }

    /// Notes which commit the revision is now.
    pub(crate) fn remember(&self, commit: &str) -> Result<(), HubError> {
        let path = self.reference();
        let failed = |source| HubError::io(&path, "be written", source);
        let folder = path.parent().unwrap_or(&self.folder);
        std::fs::create_dir_all(folder).map_err(failed)?;
        // A reader sees the old commit or the new one.
        let temporary = path.with_extension(format!("{}.new", std::process::id()));
        std::fs::write(&temporary, commit).map_err(failed)?;
        std::fs::rename(&temporary, &path).map_err(failed)
    }

    /// The folder of a commit's files. Without a commit, the one where all of them are.
    pub(crate) fn snapshot(&self, commit: Option<&str>) -> PathBuf {
        let snapshots = self.folder.join("snapshots");
        match commit {
            Some(commit) => snapshots.join(commit),
            None => snapshots,
        }
    }

    /// Where the content of a file with this tag lies.
    pub(crate) fn blob(&self, tag: &str) -> PathBuf {
        self.folder.join("blobs").join(tag)
    }
}

/// The files below a folder, as names with `/`; none if it is not there. Links count as what they point to.
pub(crate) fn list(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![(folder.to_path_buf(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let name = format!("{prefix}{name}");
            // A link to a folder could lead in a circle.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push((entry.path(), format!("{name}/")));
            } else if entry.path().is_file() {
                names.push(name);
            }
        }
    }
    names.sort();
    names
}

/// Beside a downloaded file whose digest has not been compared yet.
fn mark(blob: &Path) -> PathBuf {
    blob.with_extension("unverified")
}

/// Marks a file as one whose digest has to be compared.
pub(crate) fn mark_unverified(blob: &Path) -> Result<(), HubError> {
    let path = mark(blob);
    let failed = |source| HubError::io(&path, "be written", source);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(&path, "").map_err(failed)
}

/// Whether the program ended between downloading this file of a snapshot and comparing its digest.
pub(crate) fn is_unverified(file: &Path) -> bool {
    std::fs::canonicalize(file).is_ok_and(|blob| mark(&blob).exists())
}

/// Compares a downloaded file with its digest, the tag that it is named after. Another one is removed, with the link to it.
///
/// A tag that is no digest proves nothing; then the size that was announced has to do.
pub(crate) fn verify(
    blob: &Path,
    link: &Path,
    tag: &str,
    size: u64,
) -> Result<Result<(), String>, HubError> {
    let found = match digest::kind(tag) {
        Some(kind) => digest::of_file(blob, kind)?,
        None => {
            let metadata = std::fs::metadata(blob);
            let length = metadata
                .map_err(|source| HubError::io(blob, "be read", source))?
                .len();
            if length == size {
                tag.to_owned()
            } else {
                format!("{length} bytes in the place of {size}")
            }
        }
    };
    if found == tag {
        remove(&mark(blob))?;
        return Ok(Ok(()));
    }
    for path in [link, blob, &mark(blob)] {
        remove(path)?;
    }
    Ok(Err(found))
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) -> Result<(), HubError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(HubError::io(path, "be removed", error))
        }
        _ => Ok(()),
    }
}

/// Whether a name from a repository stays below the folder that it is joined to.
pub(crate) fn stays_below(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    !name.is_empty()
        && !name.contains('\\')
        && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// `owner/name` of a model whose snapshot in a cache this folder is.
pub fn repository_of(folder: &Path) -> Option<String> {
    let folder = std::path::absolute(folder).ok()?;
    let snapshots = folder.parent()?;
    if snapshots.file_name()? != "snapshots" {
        return None;
    }
    let name = snapshots.parent()?.file_name()?.to_str()?;
    let (owner, name) = name.strip_prefix("models--")?.split_once("--")?;
    Some(format!("{owner}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_says_whose_it_is() {
        let found = |path: &str| repository_of(Path::new(path));
        let snapshot = "/cache/models--owner--a--b/snapshots/abc";
        assert_eq!(found(snapshot).as_deref(), Some("owner/a--b"));
        assert_eq!(found("/cache/models--owner--name"), None);
        assert_eq!(found("/models/bert"), None);
    }

    #[test]
    fn names_that_lead_elsewhere_are_found_out() {
        for name in ["", "../x", "/etc/passwd", "a/../b", "a\\b", "."] {
            assert!(!stays_below(name), "{name:?}");
        }
        assert!(stays_below("a/b.json"));
    }

    #[test]
    fn a_commit_that_leads_elsewhere_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::model("a/b").unwrap();
        let cached = CachedRepository::new(folder.path(), &repository);
        cached.remember("../../elsewhere").unwrap();
        assert_eq!(cached.commit(), None);
        cached.remember("abc").unwrap();
        assert_eq!(cached.commit().as_deref(), Some("abc"));
    }
}
