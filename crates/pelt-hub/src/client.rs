//! The Hub's protocol: what a repository holds, what is announced of a file, and its content.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::{Hub, Progress, Repository, RepositoryKind};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(20);

/// How long nothing may come, or be taken, before a connection counts as broken.
const SILENCE: Duration = Duration::from_secs(60);

/// A list of files is far smaller.
const LARGEST_LISTING: u64 = 64 << 20;

/// Places that an address may lead through.
const REDIRECTS: usize = 5;

/// Asks for little, to learn the rest from the headers.
const FIRST_BYTE: &str = "bytes=0-0";

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
    /// Gives answers that lead elsewhere as they are.
    agent: Agent,
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
        let config = Agent::config_builder()
            .user_agent(concat!("pelt-hub/", env!("CARGO_PKG_VERSION")))
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE));
        Self {
            hub,
            repository,
            agent: config.build().into(),
        }
    }

    fn endpoint(&self) -> &str {
        self.hub.endpoint.trim_end_matches('/')
    }

    /// Sends one request. The token goes to the Hub alone.
    fn ask(&self, url: &str, range: Option<&str>) -> Result<Response<Body>, Failure> {
        // A digest is that of the content as it is kept.
        let mut request = self.agent.get(url).header("Accept-Encoding", "identity");
        if let Some(token) = &self.hub.token
            && origin(url) == origin(self.endpoint())
        {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if let Some(range) = range {
            request = request.header("Range", range);
        }
        let answer = request.call().map_err(failure)?;
        match answer.status().as_u16() {
            416 => Err(Failure::Resume),
            status @ 400.. => Err(Failure::Status(status)),
            _ => Ok(answer),
        }
    }

    /// Sends a request, and goes where it is sent. Nothing is read of answers on the way.
    fn follow(&self, url: &str, range: Option<&str>) -> Result<Response<Body>, Failure> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS {
            let answer = self.ask(&url, range)?;
            match elsewhere(&answer, &url) {
                None => return Ok(answer),
                Some(place) => url = place,
            }
        }
        Err(leads_on())
    }

    /// The commit that a revision of the repository is, and its files.
    pub(crate) fn list(&self, revision: &str) -> Result<Listing, Failure> {
        let url = format!(
            "{}/api/{}/{}/revision/{}",
            self.endpoint(),
            match self.repository.kind {
                RepositoryKind::Model => "models",
                RepositoryKind::Dataset => "datasets",
            },
            self.repository.name,
            escaped(revision, false)
        );
        let mut body = self.follow(&url, None)?.into_body();
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
        for _ in 0..=REDIRECTS {
            let answer = match self.ask(&url, Some(FIRST_BYTE)) {
                // There is no first byte of an empty file.
                Err(Failure::Resume) => self.ask(&url, None)?,
                answer => answer?,
            };
            let whole = header(&answer, "x-linked-etag").is_some();
            match elsewhere(&answer, &url) {
                Some(place) if !whole && origin(&place) == origin(&url) => url = place,
                content => return self.read_announced(&answer, content),
            }
        }
        Err(leads_on())
    }

    /// `content` is where the content lies, if it is not here.
    fn read_announced(
        &self,
        answer: &Response<Body>,
        content: Option<String>,
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
        let size = match (linked, content) {
            (Some(size), _) => Some(size),
            (None, None) => size_of(answer),
            (None, Some(url)) => size_of(&self.follow(&url, Some(FIRST_BYTE))?),
        };
        let unknown = || Failure::Answer("it does not say how long the file is".into());
        Ok(Announced {
            tag: tag.trim_start_matches("W/").trim_matches('"').to_owned(),
            commit: need("x-repo-commit")?.to_owned(),
            size: size.ok_or_else(unknown)?,
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
            let range = format!("bytes={have}-");
            let answer = self.follow(&self.url(commit, file), Some(&range))?;
            if have > 0 && !begins_at(&answer, have) {
                // All of it comes.
                output.set_len(0).map_err(Failure::Local)?;
                have = 0;
                progress.begin(file, size);
            }
            // One byte more shows that there are too many.
            let mut body = answer
                .into_body()
                .into_reader()
                .take((size - have).saturating_add(1));
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

/// Where an answer leads, if it leads elsewhere.
fn elsewhere(answer: &Response<Body>, url: &str) -> Option<String> {
    let place = header(answer, "location").filter(|_| answer.status().is_redirection())?;
    Some(match place.starts_with('/') && !place.starts_with("//") {
        true => format!("{}{place}", origin(url)),
        false => place.to_owned(),
    })
}

fn leads_on() -> Failure {
    Failure::Answer("it leads on and on".into())
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
