//! The Hub's protocol: what a repository holds, what is announced of a file, and its content.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use ureq::config::RedirectAuthHeaders;
use ureq::http::Response;
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

use crate::{Hub, Progress, Repository, RepositoryKind};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(20);

/// How long nothing may come, or be taken, before a connection counts as broken.
const SILENCE: Duration = Duration::from_secs(60);

/// A list of files is far smaller.
const LARGEST_LISTING: u64 = 64 << 20;

/// Places within the Hub that a file's address may lead through.
const REDIRECTS: usize = 5;

/// What a request failed with.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The answer's status is one of an error.
    Status(u16),
    /// There was no answer, or its content ended early.
    Connection(String),
    /// There is nothing behind what is left of a download before.
    Resume,
    /// A file of the cache could not be written.
    Local(std::io::Error),
    /// The answer cannot be used.
    Answer(String),
}

/// What a repository holds at one commit.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) commit: String,
    pub(crate) files: Vec<String>,
}

/// What the Hub says of a file before it gives its content.
#[derive(Debug)]
pub(crate) struct Announced {
    pub(crate) tag: String,
    pub(crate) commit: String,
    pub(crate) size: u64,
}

/// A client of one repository.
pub(crate) struct Client<'a> {
    hub: &'a Hub,
    repository: &'a Repository,
    /// Goes where it is sent. It takes the token to no other host.
    following: Agent,
    /// Gives answers that lead elsewhere as they are.
    staying: Agent,
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl<'a> Client<'a> {
    pub(crate) fn new(hub: &'a Hub, repository: &'a Repository) -> Self {
        let config = || {
            Agent::config_builder()
                .user_agent(concat!("pelt-hub/", env!("CARGO_PKG_VERSION")))
                .timeout_connect(Some(CONNECT))
                .timeout_per_read(Some(SILENCE))
                .timeout_per_write(Some(SILENCE))
                .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        };
        let staying = config().max_redirects(0).http_status_as_error(false);
        Self {
            hub,
            repository,
            following: config().build().into(),
            staying: staying.build().into(),
        }
    }

    fn endpoint(&self) -> &str {
        self.hub.endpoint.trim_end_matches('/')
    }

    fn get(&self, agent: &Agent, url: &str) -> RequestBuilder<WithoutBody> {
        // A digest is that of the content as it is kept.
        let request = agent.get(url).header("Accept-Encoding", "identity");
        match &self.hub.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// The commit that the repository's revision is, and its files.
    pub(crate) fn list(&self) -> Result<Listing, Failure> {
        let url = format!(
            "{}/api/{}/{}/revision/{}",
            self.endpoint(),
            match self.repository.kind {
                RepositoryKind::Model => "models",
                RepositoryKind::Dataset => "datasets",
            },
            self.repository.name,
            escaped(&self.repository.revision, false)
        );
        let answer = self.get(&self.following, &url).call().map_err(failure)?;
        let mut body = answer.into_body();
        let body = body.with_config().limit(LARGEST_LISTING);
        let info: Info = body.read_json().map_err(failure)?;
        Ok(Listing {
            commit: info.sha,
            files: info.siblings.into_iter().map(|one| one.rfilename).collect(),
        })
    }

    fn url(&self, commit: &str, file: &str) -> String {
        let kind = match self.repository.kind {
            RepositoryKind::Model => "",
            RepositoryKind::Dataset => "datasets/",
        };
        let (endpoint, name) = (self.endpoint(), &self.repository.name);
        format!(
            "{endpoint}/{kind}{name}/resolve/{commit}/{}",
            escaped(file, true)
        )
    }

    /// Asks for the first byte of a file.
    pub(crate) fn announced(&self, commit: &str, file: &str) -> Result<Announced, Failure> {
        let mut url = self.url(commit, file);
        for _ in 0..REDIRECTS {
            let answer = self
                .get(&self.staying, &url)
                .header("Range", "bytes=0-0")
                .call()
                .map_err(failure)?;
            let status = answer.status().as_u16();
            // There is no first byte of an empty file.
            if status >= 400 && status != 416 {
                return Err(Failure::Status(status));
            }
            let elsewhere = match answer.status().is_redirection() {
                true => header(&answer, "location"),
                false => None,
            };
            match elsewhere {
                Some(path) if path.starts_with('/') && !path.starts_with("//") => {
                    url = format!("{}{path}", origin(self.endpoint()));
                }
                elsewhere => return self.read_announced(&answer, elsewhere),
            }
        }
        Err(Failure::Answer("it leads on and on".into()))
    }

    fn read_announced(
        &self,
        answer: &Response<Body>,
        elsewhere: Option<&str>,
    ) -> Result<Announced, Failure> {
        let need = |name: &str| {
            let value = header(answer, name);
            value.ok_or_else(|| Failure::Answer(format!("it has no {name}")))
        };
        let tag = match header(answer, "x-linked-etag") {
            Some(tag) => tag,
            None => need("etag")?,
        };
        let linked = header(answer, "x-linked-size").and_then(|size| size.parse().ok());
        let size = match (linked, elsewhere) {
            (Some(size), _) => Some(size),
            (None, None) => size_of(answer),
            (None, Some(url)) => {
                // Another host's business is the content alone, and not the token.
                let request = self.following.get(url).header("Range", "bytes=0-0");
                size_of(&request.call().map_err(failure)?)
            }
        };
        Ok(Announced {
            tag: tag.trim_start_matches("W/").trim_matches('"').to_owned(),
            commit: need("x-repo-commit")?.to_owned(),
            size: size
                .ok_or_else(|| Failure::Answer("it does not say how long the file is".into()))?,
        })
    }

    /// Appends to a file what it lacks of its `size` bytes, and leaves there what came where not all of it does.
    pub(crate) fn transfer(
        &self,
        commit: &str,
        file: &str,
        part: &Path,
        size: u64,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        let options = OpenOptions::new().create(true).append(true).open(part);
        let mut output = options.map_err(Failure::Local)?;
        let mut have = output.metadata().map_err(Failure::Local)?.len();
        if have > size {
            return Err(Failure::Resume);
        }
        progress.begin(file, size);
        progress.advance(have);
        if have < size {
            let answer = self
                .get(&self.following, &self.url(commit, file))
                .header("Range", format!("bytes={have}-"))
                .call()
                .map_err(failure)?;
            if have > 0 && !begins_at(&answer, have) {
                // All of it comes.
                output.set_len(0).map_err(Failure::Local)?;
                have = 0;
                progress.begin(file, size);
            }
            // One byte more shows that there are too many.
            let mut body = answer.into_body().into_reader().take(size - have + 1);
            let mut buffer = vec![0; 1 << 16];
            loop {
                let count = body
                    .read(&mut buffer)
                    .map_err(|error| Failure::Connection(first_line(&error.to_string())))?;
                if count == 0 {
                    break;
                }
                output.write_all(&buffer[..count]).map_err(Failure::Local)?;
                have += count as u64;
                progress.advance(count as u64);
            }
        }
        match have.cmp(&size) {
            std::cmp::Ordering::Less => {
                Err(Failure::Connection(format!("{have} of {size} bytes came")))
            }
            std::cmp::Ordering::Greater => Err(Failure::Answer(format!(
                "more than the {size} bytes came that were announced"
            ))),
            std::cmp::Ordering::Equal => {
                output.sync_all().map_err(Failure::Local)?;
                progress.end();
                Ok(())
            }
        }
    }
}

fn header<'r>(answer: &'r Response<Body>, name: &str) -> Option<&'r str> {
    answer.headers().get(name)?.to_str().ok()
}

/// `bytes 0-0/1234`, or the length of a whole file.
fn size_of(answer: &Response<Body>) -> Option<u64> {
    match header(answer, "content-range") {
        Some(range) => range.rsplit('/').next()?.parse().ok(),
        None if answer.status().as_u16() == 200 => header(answer, "content-length")?.parse().ok(),
        None => None,
    }
}

/// Whether the content is what begins at this byte.
fn begins_at(answer: &Response<Body>, byte: u64) -> bool {
    let range = header(answer, "content-range").and_then(|range| range.strip_prefix("bytes "));
    let first = range.and_then(|range| range.split('-').next());
    answer.status().as_u16() == 206 && first.is_some_and(|first| first.parse() == Ok(byte))
}

/// `https://host` of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |place| place + 3);
    let end = url[host..].find('/').map_or(url.len(), |path| host + path);
    &url[..end]
}

/// As part of an address.
fn escaped(text: &str, with_slashes: bool) -> String {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || (with_slashes && byte == b'/')
    };
    let escape = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

fn failure(error: ureq::Error) -> Failure {
    match error {
        ureq::Error::StatusCode(416) => Failure::Resume,
        ureq::Error::StatusCode(status) => Failure::Status(status),
        ureq::Error::Json(_) | ureq::Error::BodyExceedsLimit(_) => {
            Failure::Answer(first_line(&error.to_string()))
        }
        error => Failure::Connection(first_line(&error.to_string())),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_no_characters_with_a_meaning() {
        assert_eq!(escaped("a b/c#?.json", true), "a%20b/c%23%3F.json");
        assert_eq!(escaped("refs/pr/3", false), "refs%2Fpr%2F3");
    }

    #[test]
    fn an_origin_has_no_path() {
        assert_eq!(origin("https://host:1/mirror/hf"), "https://host:1");
        assert_eq!(origin("http://host"), "http://host");
    }
}
