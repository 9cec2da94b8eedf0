//! Fetching files of a repository.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::{self, CachedRepository, Found};
use crate::choose::Choose;
use crate::client::{Client, Failure, Listing};
use crate::digest::{self, is_commit};
use crate::repository::is_plain;
use crate::{HubError, Progress, Repository};

/// How often a download that breaks off is gone on with before it counts as failed.
const ATTEMPTS: usize = 3;

/// So much more of a file makes an attempt a good one.
const SOME_BYTES: u64 = 1 << 16;

/// Before a download is gone on with.
const PAUSE: Duration = Duration::from_millis(500);

/// Hugging Face's own Hub.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// A Hub, and the cache of what was fetched from it.
///
/// The caller sets all of it, because a library reads no environment variables.
#[derive(Clone, PartialEq, Eq)]
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

impl fmt::Debug for Hub {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Hub")
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            // It is a secret.
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("offline", &self.offline)
            .finish()
    }
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
    /// A snapshot in the cache that holds everything is taken without asking the Hub whether there is a newer one. One that
    /// another library began is compared with the Hub's list of files once, where the Hub can be asked. Only the files chosen
    /// are fetched, in the order in which they are chosen.
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
        let (likely, missing, folder) = match cached.find(choose) {
            Found::Whole(folder) => return Ok(folder),
            Found::Likely(folder) if self.offline => return Ok(folder),
            Found::Likely(folder) => (Some(folder.clone()), String::new(), folder),
            Found::Missing { what, folder } => (None, what, folder),
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
        let client = Client::new(self, repository);
        // What is in the cache stays the commit that it is.
        let commit = likely.as_deref().and_then(Path::file_name);
        let asked = commit.and_then(|commit| commit.to_str());
        let listing = client.list(asked.unwrap_or(&repository.revision));
        let listing = match (listing, likely) {
            (Ok(listing), _) => listing,
            // As good as it gets.
            (Err(_), Some(folder)) => return Ok(folder),
            (Err(failure), None) => return Err(about.repository(failure)),
        };
        about.check(&listing)?;
        let names = choose(&listing.files).map_err(|missing| HubError::Lacks {
            repository: repository.to_string(),
            missing,
        })?;
        let folder = cached.snapshot(&listing.commit);
        let download = Download {
            about: &about,
            client: &client,
            cached: &cached,
            commit: &listing.commit,
        };
        let absent: Vec<String> = names
            .into_iter()
            .filter(|name| !folder.join(name).is_file())
            .collect();
        let noted = cached.remember_files(&listing.commit, &listing.files);
        if absent.is_empty() {
            // Notes for the next time; a cache that others keep may be closed to us.
            let _ = noted.and_then(|()| cached.remember_commit(&listing.commit));
            return Ok(folder);
        }
        noted?;
        for name in &absent {
            download.file(name, progress)?;
        }
        cached.remember_commit(&listing.commit)?;
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
        let message = match failure {
            Failure::Status(401) if self.hub.token.is_some() => return self.token(repository),
            Failure::Status(status @ (401 | 403 | 404)) => {
                return HubError::NoRepository {
                    repository,
                    endpoint,
                    status,
                    missing,
                    folder,
                };
            }
            Failure::Answer(problem) => return self.answer(repository, problem),
            Failure::Status(status) => format!("HTTP status {status}"),
            Failure::Resume => "HTTP status 416".into(),
            Failure::Connection(message) => message,
            Failure::Local(error) => return HubError::io(folder, "be written", error),
        };
        HubError::Unreachable {
            repository,
            endpoint,
            missing,
            folder,
            message,
        }
    }

    fn token(&self, what: String) -> HubError {
        HubError::Token {
            what,
            endpoint: self.hub.endpoint.clone(),
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
    fn file(&self, file: &str, part: &Path, failure: Failure) -> HubError {
        let repository = self.repository.to_string();
        let what = format!("{repository}/{file}");
        let (file, endpoint) = (file.to_owned(), self.hub.endpoint.clone());
        match failure {
            Failure::Status(401) if self.hub.token.is_some() => self.token(what),
            Failure::Status(status @ (401 | 403)) => HubError::NoAccess {
                repository,
                file,
                endpoint,
                status,
            },
            Failure::Status(status) => HubError::Status {
                repository,
                file,
                endpoint,
                status,
            },
            Failure::Connection(message) => HubError::BrokenOff {
                repository,
                file,
                message,
            },
            Failure::Local(error) => HubError::io(part, "be written", error),
            Failure::Resume => self.answer(what, "HTTP status 416".into()),
            Failure::Answer(problem) => self.answer(what, problem),
        }
    }

    /// Names from the Hub become paths.
    fn check(&self, listing: &Listing) -> Result<(), HubError> {
        let problem = if !is_plain(&listing.commit) {
            format!("{:?} is not a commit", listing.commit)
        } else if is_commit(&self.repository.revision) && listing.commit != self.repository.revision
        {
            format!(
                "it is of the commit {}, which was not asked for",
                listing.commit
            )
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
    client: &'a Client<'a>,
    cached: &'a CachedRepository,
    commit: &'a str,
}

impl Download<'_> {
    fn file(&self, name: &str, progress: &mut dyn Progress) -> Result<(), HubError> {
        let announced = self.client.announced(self.commit, name);
        let nowhere = Path::new(name);
        let announced = announced.map_err(|failure| self.about.file(name, nowhere, failure))?;
        let expected = announced.tag.as_str();
        // A digest is nothing but digits, and so part of no other path than the one that is meant.
        let unusable = |problem| {
            let what = format!("{}/{name}", self.about.repository);
            self.about.answer(what, problem)
        };
        let Some(kind) = digest::kind(expected) else {
            return Err(unusable(format!("its tag {expected:?} is no digest")));
        };
        if announced.commit != self.commit {
            return Err(unusable(format!(
                "it is of the commit {:?}, not {}",
                announced.commit, self.commit
            )));
        }
        let blob = self.cached.blob(expected)?;
        let _held = cache::lock(&blob, || progress.wait(name))?;
        // Of another commit, or from another program that was waited for.
        let there = blob.is_file() && digest::of_file(&blob, kind)? == expected;
        if !there {
            self.content(name, announced.size, kind, &blob, progress)?;
        }
        self.cached.link(&blob, self.commit, name)
    }

    /// Puts the content with the digest that a blob is named after into its place.
    fn content(
        &self,
        name: &str,
        size: u64,
        kind: digest::Kind,
        blob: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), HubError> {
        let part = blob.with_extension("part");
        let length = || std::fs::metadata(&part).map_or(0, |file| file.len());
        let expected = blob.file_name().unwrap_or_default().to_string_lossy();
        let mut attempts = ATTEMPTS;
        // What comes once more is no progress.
        let mut furthest = length();
        // What is left of a download before may be spoilt, and is then tried without, once.
        let mut again = true;
        loop {
            let before = length();
            let outcome = self
                .client
                .transfer(self.commit, name, &part, size, progress);
            let problem = match outcome {
                Ok(()) => {
                    let found = digest::of_file(&part, kind)?;
                    if found == expected {
                        return std::fs::rename(&part, blob)
                            .map_err(|error| HubError::io(blob, "be written", error));
                    }
                    HubError::Digest {
                        repository: self.about.repository.to_string(),
                        file: name.to_owned(),
                        expected: expected.to_string(),
                        found,
                    }
                }
                Err(Failure::Connection(message)) => {
                    let reached = length();
                    attempts = match reached >= furthest + SOME_BYTES {
                        true => ATTEMPTS,
                        false => attempts - 1,
                    };
                    furthest = furthest.max(reached);
                    if attempts == 0 {
                        let failure = Failure::Connection(message);
                        return Err(self.about.file(name, &part, failure));
                    }
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Err(failure @ (Failure::Resume | Failure::Answer(_))) => {
                    self.about.file(name, &part, failure)
                }
                Err(failure) => return Err(self.about.file(name, &part, failure)),
            };
            cache::remove(&part)?;
            if before == 0 || !again {
                return Err(problem);
            }
            again = false;
            furthest = 0;
        }
    }
}
