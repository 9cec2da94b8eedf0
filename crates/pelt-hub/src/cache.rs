//! The cache folder that Hugging Face's libraries share: `models--owner--name` with `refs`, `snapshots` and `blobs`.
//!
//! Beside them this crate keeps `listings`: the names of all files of a commit, so that it is known without the Hub whether
//! a snapshot that somebody else began has everything.

use std::fs::{File, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};

use crate::choose::Choose;
use crate::digest::is_commit;
use crate::repository::is_plain;
use crate::{HubError, Repository};

/// One repository's folder in the cache.
pub(crate) struct CachedRepository {
    folder: PathBuf,
    revision: String,
}

/// What the cache has of the files that are wanted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// All of them.
    Whole(PathBuf),
    /// All that is indispensable; whether the repository has more is not known.
    Likely(PathBuf),
    /// Not all: this is missing in this folder.
    Missing { what: String, folder: PathBuf },
}

impl CachedRepository {
    pub(crate) fn new(cache: &Path, repository: &Repository) -> Self {
        Self {
            folder: cache.join(repository.folder_name()),
            revision: repository.revision.clone(),
        }
    }

    /// The commit that the revision was when it was last asked for; a commit is its own.
    fn commit(&self) -> Option<String> {
        if is_commit(&self.revision) {
            return Some(self.revision.clone());
        }
        let known = std::fs::read_to_string(self.reference()).unwrap_or_default();
        // It becomes part of a path. A reference that was only half written is none.
        let candidates = [known.trim(), &self.revision];
        let commit = candidates.into_iter().find(|commit| is_plain(commit));
        commit.map(str::to_owned)
    }

    fn reference(&self) -> PathBuf {
        self.folder.join("refs").join(&self.revision)
    }

    fn listing(&self, commit: &str) -> PathBuf {
        self.folder.join("listings").join(commit)
    }

    /// Looks for the files that `choose` picks.
    pub(crate) fn find(&self, choose: &Choose<'_>) -> Found {
        let Some(commit) = self.commit() else {
            return Found::Missing {
                what: wanted(choose),
                folder: self.folder.join("snapshots"),
            };
        };
        let folder = self.snapshot(&commit);
        if let Ok(listing) = std::fs::read_to_string(self.listing(&commit)) {
            let all: Vec<String> = listing.lines().map(str::to_owned).collect();
            let absent = match choose(&all) {
                Ok(names) => names.into_iter().find(|name| !folder.join(name).is_file()),
                Err(missing) => Some(missing),
            };
            return match absent {
                None => Found::Whole(folder),
                Some(what) => Found::Missing { what, folder },
            };
        }
        match choose(&list(&folder)) {
            Ok(_) => Found::Likely(folder),
            Err(what) => Found::Missing { what, folder },
        }
    }

    /// Notes which files a commit has.
    pub(crate) fn remember_files(&self, commit: &str, files: &[String]) -> Result<(), HubError> {
        write(&self.listing(commit), &files.join("\n"))
    }

    /// Notes that the revision is this commit now, once its files are there.
    pub(crate) fn remember_commit(&self, commit: &str) -> Result<(), HubError> {
        match self.revision == commit {
            true => Ok(()),
            false => write(&self.reference(), commit),
        }
    }

    /// The folder of a commit's files.
    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// Where the content with this digest lies.
    pub(crate) fn blob(&self, digest: &str) -> Result<PathBuf, HubError> {
        let blobs = self.folder.join("blobs");
        std::fs::create_dir_all(&blobs)
            .map_err(|error| HubError::io(&blobs, "be created", error))?;
        Ok(blobs.join(digest))
    }

    /// Puts a file whose content is a blob into a snapshot, at once.
    pub(crate) fn link(&self, blob: &Path, commit: &str, name: &str) -> Result<(), HubError> {
        let place = self.snapshot(commit).join(name);
        let failed = |error| HubError::io(&place, "be written", error);
        let folder = place.parent().unwrap_or(&self.folder);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let temporary = temporary(&place);
        let above = "../".repeat(2 + name.split('/').count() - 1);
        let digest = blob.file_name().unwrap_or_default();
        let target = Path::new(&above).join("blobs").join(digest);
        link_to(&target, blob, &temporary).map_err(failed)?;
        std::fs::rename(&temporary, &place).map_err(failed)
    }
}

/// A link where the system has links, else a file of its own.
fn link_to(target: &Path, blob: &Path, place: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(target, place);
    #[cfg(windows)]
    let linked = std::os::windows::fs::symlink_file(target, place);
    #[cfg(not(any(unix, windows)))]
    let linked: std::io::Result<()> = {
        let _ = target;
        Err(std::io::ErrorKind::Unsupported.into())
    };
    linked
        .or_else(|_| std::fs::hard_link(blob, place))
        .or_else(|_| std::fs::copy(blob, place).map(|_| ()))
}

/// What is missing where there is nothing.
fn wanted(choose: &Choose<'_>) -> String {
    choose(&[]).err().unwrap_or_default()
}

/// A name beside a file's place that nobody else uses; processes in containers may share their number.
fn temporary(place: &Path) -> PathBuf {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let random = RandomState::new().build_hasher().finish();
    place.with_file_name(format!(".{name}.{random:016x}"))
}

/// Writes a small file: a reader sees the old content or the new one.
fn write(path: &Path, content: &str) -> Result<(), HubError> {
    let failed = |error| HubError::io(path, "be written", error);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let temporary = temporary(path);
    std::fs::write(&temporary, content).map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)
}

/// Holds a blob against other programs for as long as the file is open; `wait` is called if one of them has it.
pub(crate) fn lock(blob: &Path, wait: impl FnOnce()) -> Result<File, HubError> {
    let path = blob.with_extension("lock");
    let failed = |error| HubError::io(&path, "be locked", error);
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            wait();
            file.lock().map_err(failed)?;
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    Ok(file)
}

/// The files below a folder, as names with `/`; none if it is not there. Links count as what they point to.
fn list(folder: &Path) -> Vec<String> {
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

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) -> Result<(), HubError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(HubError::io(path, "be removed", error))
        }
        _ => Ok(()),
    }
}

/// Whether a name from a repository stays below the folder that it is joined to, and fits on a line.
pub(crate) fn stays_below(name: &str) -> bool {
    let part = |part: &str| !matches!(part, "" | "." | "..");
    !name.contains(['\\', ':']) && !name.chars().any(char::is_control) && name.split('/').all(part)
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
        for name in [
            "",
            "../x",
            "/etc/passwd",
            "a/../b",
            "a\\b",
            ".",
            "a\nb",
            "a//b",
            "a/./b",
            "a/",
            "c:x",
        ] {
            assert!(!stays_below(name), "{name:?}");
        }
        assert!(stays_below("a/b.json"));
    }

    #[test]
    fn a_reference_that_leads_elsewhere_or_is_empty_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::model("a/b@main").unwrap();
        let cached = CachedRepository::new(folder.path(), &repository);
        for content in ["../../elsewhere", "", "a/b"] {
            write(&cached.reference(), content).unwrap();
            assert_eq!(cached.commit().as_deref(), Some("main"), "{content:?}");
        }
        write(&cached.reference(), "abc\n").unwrap();
        assert_eq!(cached.commit().as_deref(), Some("abc"));
    }

    #[test]
    fn links_lead_to_blobs_from_any_depth() {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::dataset("a/b").unwrap();
        let cached = CachedRepository::new(folder.path(), &repository);
        let blob = cached.blob("0123").unwrap();
        std::fs::write(&blob, "content").unwrap();
        for name in ["file", "one/file", "one/two/file"] {
            cached.link(&blob, "abc", name).unwrap();
            // Once more in the place of what is there.
            cached.link(&blob, "abc", name).unwrap();
            let path = cached.snapshot("abc").join(name);
            assert_eq!(std::fs::read_to_string(path).unwrap(), "content");
        }
    }
}
