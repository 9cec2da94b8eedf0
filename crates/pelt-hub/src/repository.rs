//! Names of repositories.

use std::fmt::{self, Display};

use crate::HubError;

/// The branch that is meant where none is named.
const MAIN: &str = "main";

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositoryKind {
    /// A model or an adapter.
    Model,
    /// A data set.
    Dataset,
}

/// A repository of the Hub at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    pub(crate) kind: RepositoryKind,
    pub(crate) name: String,
    pub(crate) revision: String,
}

impl Repository {
    /// Reads `owner/name` or `owner/name@revision`, where a revision is a branch, a tag or a commit.
    ///
    /// # Errors
    /// [`HubError::Name`] for anything else.
    pub fn model(text: &str) -> Result<Self, HubError> {
        Self::parse(text, RepositoryKind::Model)
    }

    /// As [`Repository::model`], of a data set.
    ///
    /// # Errors
    /// [`HubError::Name`] for anything else.
    pub fn dataset(text: &str) -> Result<Self, HubError> {
        Self::parse(text, RepositoryKind::Dataset)
    }

    fn parse(text: &str, kind: RepositoryKind) -> Result<Self, HubError> {
        let wrong = || HubError::Name {
            text: text.to_owned(),
        };
        let (name, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let (owner, model) = name.split_once('/').ok_or_else(wrong)?;
        let valid = [owner, model].into_iter().all(is_plain)
            && !revision.is_empty()
            && revision.split('/').all(is_plain);
        if !valid {
            return Err(wrong());
        }
        Ok(Self {
            kind,
            name: name.to_owned(),
            revision: revision.to_owned(),
        })
    }

    /// `owner/name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The branch, tag or commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The folder of the repository in a cache.
    pub(crate) fn folder_name(&self) -> String {
        let kind = match self.kind {
            RepositoryKind::Model => "models",
            RepositoryKind::Dataset => "datasets",
        };
        format!("{kind}--{}", self.name.replace('/', "--"))
    }
}

impl Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        match self.revision.as_str() {
            MAIN => Ok(()),
            revision => write!(formatter, "@{revision}"),
        }
    }
}

/// Whether this is one part of a path that means nothing but itself.
pub(crate) fn is_plain(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_a_revision() {
        let plain = Repository::model("owner/name").unwrap();
        assert_eq!((plain.name(), plain.revision()), ("owner/name", "main"));
        assert_eq!(plain.to_string(), "owner/name");
        assert_eq!(plain.folder_name(), "models--owner--name");
        let branch = Repository::dataset("owner/name@refs/pr/3").unwrap();
        assert_eq!(branch.revision(), "refs/pr/3");
        assert_eq!(branch.to_string(), "owner/name@refs/pr/3");
        assert_eq!(branch.folder_name(), "datasets--owner--name");
    }

    #[test]
    fn what_could_be_a_path_is_no_name() {
        for text in [
            "",
            "name",
            "/name",
            "owner/",
            "owner/name/more",
            "../name",
            "owner/..",
            "owner/name@",
            "owner/name@../../x",
            "owner/name@/x",
            "owner/na me",
            "owner/name?x",
            "owner\\name/x",
        ] {
            assert!(Repository::model(text).is_err(), "{text:?}");
        }
    }
}
