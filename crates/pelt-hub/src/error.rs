//! What can go wrong.

use std::path::PathBuf;

use thiserror::Error;

/// Why files of a repository are not there.
#[derive(Debug, Error)]
pub enum HubError {
    /// Not the name of a repository.
    #[error("{text:?} is not the name of a repository, as in owner/name or owner/name@revision")]
    Name {
        /// What was given.
        text: String,
    },
    /// The network must not be used.
    #[error(
        "{repository}: {missing} is not in {}, and the Hub is not asked while offline is set",
        folder.display()
    )]
    Offline {
        /// The repository.
        repository: String,
        /// The file that was looked for first.
        missing: String,
        /// The folder of the cache in which it would be.
        folder: PathBuf,
    },
    /// The Hub did not answer.
    #[error("{repository}: {missing} is not in {}, and {endpoint} cannot be reached: {message}", folder.display())]
    Unreachable {
        /// The repository.
        repository: String,
        /// The Hub's address.
        endpoint: String,
        /// The file that was looked for first.
        missing: String,
        /// The folder of the cache in which it would be.
        folder: PathBuf,
        /// What the client said.
        message: String,
    },
    /// The Hub knows no such repository or revision, or does not show it.
    #[error(
        "{endpoint} has no {repository}, or shows it only to those with a token for it (HTTP status {status}); {missing} is not in \
         {} either",
        folder.display()
    )]
    NoRepository {
        /// The repository.
        repository: String,
        /// The Hub's address.
        endpoint: String,
        /// The status of its answer.
        status: u16,
        /// The file that was looked for first.
        missing: String,
        /// The folder of the cache in which it would be.
        folder: PathBuf,
    },
    /// The Hub does not know the user's token.
    #[error(
        "{what}: {endpoint} does not take the token that it was given (HTTP status 401); it may have expired or been revoked"
    )]
    Token {
        /// The repository, and the file if it was about one.
        what: String,
        /// The Hub's address.
        endpoint: String,
    },
    /// The repository does not hold what is needed.
    #[error("{repository}: the repository has no {missing}")]
    Lacks {
        /// The repository.
        repository: String,
        /// The file, or the alternatives.
        missing: String,
    },
    /// A file was refused.
    #[error("{repository}/{file}: {endpoint} answered with HTTP status {status}")]
    Status {
        /// The repository.
        repository: String,
        /// The file.
        file: String,
        /// The Hub's address.
        endpoint: String,
        /// The status of its answer.
        status: u16,
    },
    /// A download ended early.
    #[error(
        "{repository}/{file}: the download broke off ({message}); the same command goes on from there"
    )]
    BrokenOff {
        /// The repository.
        repository: String,
        /// The file.
        file: String,
        /// What the client said.
        message: String,
    },
    /// A file is not for everybody.
    #[error(
        "{repository}/{file}: {endpoint} gives it only to those with access to it and a token (HTTP status {status})"
    )]
    NoAccess {
        /// The repository.
        repository: String,
        /// The file.
        file: String,
        /// The Hub's address.
        endpoint: String,
        /// The status of its answer.
        status: u16,
    },
    /// What was downloaded is not what the Hub says.
    #[error(
        "{repository}/{file}: expected a file with the digest {expected}, found one with {found}; it was removed"
    )]
    Digest {
        /// The repository.
        repository: String,
        /// The file.
        file: String,
        /// The Hub's digest.
        expected: String,
        /// The digest of what came.
        found: String,
    },
    /// An answer of the Hub that cannot be used.
    #[error("{what}: an answer of {endpoint} cannot be used: {problem}")]
    Answer {
        /// The repository, and the file if it was about one.
        what: String,
        /// The Hub's address.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file or folder of the cache cannot be used.
    #[error("{}: cannot {action}: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the operating system said. Not called `source`, because its text is part of this one.
        cause: std::io::Error,
    },
}

impl HubError {
    pub(crate) fn io(
        path: impl Into<PathBuf>,
        action: &'static str,
        cause: std::io::Error,
    ) -> Self {
        Self::Io {
            path: path.into(),
            action,
            cause,
        }
    }
}
