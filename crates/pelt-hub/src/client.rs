//! The client, with its answers checked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo, Metadata};
use hf_hub::{Cache, Repo, RepoType};

use crate::progress::Relay;
use crate::{Hub, Progress, Repository, RepositoryKind};

/// What the client failed with.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The answer's status is one of an error.
    Status(u16),
    /// There was no answer, or its body ended early.
    Connection(String),
    /// What lies in the cache of a download before does not fit.
    Resume,
    /// Anything else.
    Other(String),
}

/// What a repository holds at one commit.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) commit: String,
    pub(crate) files: Vec<String>,
}

/// A client of one repository.
pub(crate) struct Client {
    api: Api,
    name: String,
    kind: RepoType,
}

impl Client {
    pub(crate) fn new(hub: &Hub, repository: &Repository) -> Result<Self, Failure> {
        let api = ApiBuilder::from_cache(Cache::new(hub.cache.clone()))
            .with_endpoint(hub.endpoint.trim_end_matches('/').to_owned())
            .with_token(hub.token.clone())
            .with_progress(false)
            .build()
            .map_err(failure)?;
        Ok(Self {
            api,
            name: repository.name.clone(),
            kind: match repository.kind {
                RepositoryKind::Model => RepoType::Model,
                RepositoryKind::Dataset => RepoType::Dataset,
            },
        })
    }

    fn at(&self, revision: &str) -> ApiRepo {
        let name = self.name.clone();
        self.api
            .repo(Repo::with_revision(name, self.kind, revision.to_owned()))
    }

    /// The commit that a revision is, and its files.
    pub(crate) fn list(&self, revision: &str) -> Result<Listing, Failure> {
        let info = guarded(|| self.at(revision).info())?;
        let files = info.siblings.into_iter().map(|file| file.rfilename);
        Ok(Listing {
            commit: info.sha,
            files: files.collect(),
        })
    }

    /// What the Hub says of a file.
    pub(crate) fn metadata(&self, commit: &str, file: &str) -> Result<Metadata, Failure> {
        let url = self.at(commit).url(file);
        guarded(|| self.api.metadata(&url))
    }

    /// Downloads a file into the cache, and links it into the snapshot of the commit.
    pub(crate) fn download(
        &self,
        commit: &str,
        file: &str,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        let repo = self.at(commit);
        guarded(|| repo.download_with_progress(file, Relay(progress)))?;
        Ok(())
    }
}

/// Calls the client, which panics at some answers that it did not expect.
fn guarded<T>(call: impl FnOnce() -> Result<T, ApiError>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(failure),
        Err(_) => Err(Failure::Other("it has an unexpected form".into())),
    }
}

fn failure(error: ApiError) -> Failure {
    match error {
        ApiError::RequestError(error) => match *error {
            ureq::Error::StatusCode(416) => Failure::Resume,
            ureq::Error::StatusCode(status) => Failure::Status(status),
            ureq::Error::Json(error) => Failure::Other(first_line(&error.to_string())),
            error => Failure::Connection(first_line(&error.to_string())),
        },
        ApiError::IoError(error) => Failure::Connection(first_line(&error.to_string())),
        ApiError::InvalidResume => Failure::Resume,
        error => Failure::Other(first_line(&error.to_string())),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// The file in which the client keeps a download that is not complete, beside the place of the whole one.
pub(crate) fn part(blob: &Path) -> std::path::PathBuf {
    blob.with_extension("part")
}
