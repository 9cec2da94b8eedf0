//! Fetching files of a repository.

use std::path::PathBuf;
use std::time::Duration;

use crate::cache::{self, CachedRepository};
use crate::choose::Choose;
use crate::client::{self, Client, Failure, Listing};
use crate::repository::is_plain;
use crate::{HubError, Progress, Repository};

/// How often a download that breaks off is gone on with before it counts as failed.
const ATTEMPTS: usize = 3;

/// Before it is gone on with.
const PAUSE: Duration = Duration::from_millis(500);

/// Hugging Face's own Hub.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// A Hub, and the cache of what was fetched from it.
///
/// The caller sets all of it, because a library reads no environment variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    /// The cache in the layout of Hugging Face's libraries, usually `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// The Hub's address.
    pub endpoint: String,
    /// A token of a user, for repositories that are not public.
    pub token: Option<String>,
    /// Use the cache alone.
    pub offline: bool,
}

impl Hub {
    /// Hugging Face's Hub without a token, with a cache in this folder.
    pub fn new(cache: PathBuf) -> Self {
        Self {
            cache,
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            token: None,
            offline: false,
        }
    }

    /// Gives the folder of a repository's snapshot that holds all files which `choose` picks from the names of all files
    /// there (or names as missing); what the cache does not have is fetched. All of them are from one commit.
    ///
    /// A snapshot in the cache that holds everything `choose` asks for is taken without asking the Hub whether there is a
    /// newer one. Only the files chosen are fetched, in the order in which they are chosen.
    ///
    /// # Errors
    /// Something needed is neither in the cache nor to be had; what came is not what the Hub announced; the cache cannot be
    /// written to. A download that broke off goes on the next time.
    pub fn fetch(
        &self,
        repository: &Repository,
        choose: &Choose<'_>,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, HubError> {
        let cached = CachedRepository::new(&self.cache, repository);
        let commit = cached.commit();
        let folder = cached.snapshot(commit.as_deref());
        let found = commit.map_or(Vec::new(), |_| cache::list(&folder));
        let missing = match choose(&found) {
            Ok(names) => {
                let doubtful = names
                    .into_iter()
                    .find(|name| cache::is_unverified(&folder.join(name)));
                match doubtful {
                    None => return Ok(folder),
                    Some(name) => name,
                }
            }
            Err(missing) => missing,
        };
        let about = About {
            hub: self,
            repository,
            missing,
            folder,
        };
        if self.offline {
            return Err(about.offline());
        }
        let client = Client::new(self, repository).map_err(|failure| about.repository(failure))?;
        let listing = client
            .list(&repository.revision)
            .map_err(|failure| about.repository(failure))?;
        about.check(&listing)?;
        let names = choose(&listing.files).map_err(|missing| HubError::Lacks {
            repository: repository.to_string(),
            missing,
        })?;
        let folder = cached.snapshot(Some(&listing.commit));
        let download = Download {
            about: &about,
            client: &client,
            cached: &cached,
            commit: &listing.commit,
        };
        for name in names {
            let link = folder.join(&name);
            if !link.is_file() || cache::is_unverified(&link) {
                download.file(&name, progress)?;
            }
        }
        if repository.revision != listing.commit {
            cached.remember(&listing.commit)?;
        }
        Ok(folder)
    }
}

/// What an error tells.
struct About<'a> {
    hub: &'a Hub,
    repository: &'a Repository,
    missing: String,
    folder: PathBuf,
}

impl About<'_> {
    fn offline(&self) -> HubError {
        HubError::Offline {
            repository: self.repository.to_string(),
            missing: self.missing.clone(),
            folder: self.folder.clone(),
        }
    }

    /// The repository could not be asked for.
    fn repository(&self, failure: Failure) -> HubError {
        let repository = self.repository.to_string();
        let endpoint = self.hub.endpoint.clone();
        let (missing, folder) = (self.missing.clone(), self.folder.clone());
        match failure {
            Failure::Status(status @ (401 | 403 | 404)) => HubError::NoRepository {
                repository,
                endpoint,
                status,
                missing,
                folder,
            },
            Failure::Status(status) => HubError::Unreachable {
                repository,
                endpoint,
                missing,
                folder,
                message: format!("HTTP status {status}"),
            },
            Failure::Connection(message) => HubError::Unreachable {
                repository,
                endpoint,
                missing,
                folder,
                message,
            },
            Failure::Resume => self.answer(repository, "HTTP status 416".into()),
            Failure::Other(problem) => self.answer(repository, problem),
        }
    }

    fn answer(&self, what: String, problem: String) -> HubError {
        HubError::Answer {
            what,
            endpoint: self.hub.endpoint.clone(),
            problem,
        }
    }

    /// A file could not be fetched.
    fn file(&self, file: &str, failure: Failure) -> HubError {
        let repository = self.repository.to_string();
        match failure {
            Failure::Status(status) => HubError::Status {
                repository,
                file: file.to_owned(),
                endpoint: self.hub.endpoint.clone(),
                status,
            },
            Failure::Connection(message) => HubError::BrokenOff {
                repository,
                file: file.to_owned(),
                message,
            },
            Failure::Resume => {
                self.answer(format!("{repository}/{file}"), "HTTP status 416".into())
            }
            Failure::Other(problem) => self.answer(format!("{repository}/{file}"), problem),
        }
    }

    /// Names from the Hub become paths.
    fn check(&self, listing: &Listing) -> Result<(), HubError> {
        let problem = if !is_plain(&listing.commit) {
            format!("{:?} is not a commit", listing.commit)
        } else if let Some(name) = listing.files.iter().find(|name| !cache::stays_below(name)) {
            format!("{name:?} is not the name of a file in a repository")
        } else {
            return Ok(());
        };
        Err(self.answer(self.repository.to_string(), problem))
    }
}

/// The download of files of one commit.
struct Download<'a> {
    about: &'a About<'a>,
    client: &'a Client,
    cached: &'a CachedRepository,
    commit: &'a str,
}

impl Download<'_> {
    fn file(&self, name: &str, progress: &mut dyn Progress) -> Result<(), HubError> {
        let failed = |failure| self.about.file(name, failure);
        let metadata = self.client.metadata(self.commit, name).map_err(failed)?;
        let tag = metadata.etag();
        let what = format!("{}/{name}", self.about.repository);
        // Both become parts of paths.
        if !is_plain(tag) || metadata.commit_hash() != self.commit {
            let problem = format!("tag {tag:?}, commit {:?}", metadata.commit_hash());
            return Err(self.about.answer(what, problem));
        }
        let blob = self.cached.blob(tag);
        let link = self.cached.snapshot(Some(self.commit)).join(name);
        let part = client::part(&blob);
        // What is left of a download before may be spoilt, and is then tried without.
        let mut resumed = part.exists();
        let mut attempts = ATTEMPTS;
        loop {
            cache::mark_unverified(&blob)?;
            let problem = match self.client.download(self.commit, name, progress) {
                Ok(()) => match cache::verify(&blob, &link, tag, metadata.size() as u64)? {
                    Ok(()) => return Ok(()),
                    Err(found) => HubError::Digest {
                        repository: self.about.repository.to_string(),
                        file: name.to_owned(),
                        expected: tag.to_owned(),
                        found,
                    },
                },
                Err(Failure::Connection(_)) if attempts > 1 => {
                    attempts -= 1;
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Err(Failure::Resume) if resumed => self.about.file(name, Failure::Resume),
                Err(failure) => return Err(failed(failure)),
            };
            if !resumed {
                return Err(problem);
            }
            resumed = false;
            cache::remove(&part)?;
        }
    }
}
