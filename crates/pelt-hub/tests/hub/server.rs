//! A small server that speaks the part of the Hub's protocol that its client uses, and can misbehave.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha1::Sha1;
use sha2::{Digest, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How a file is answered for.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// The digest that is announced in the place of the true one.
    pub announced: Option<String>,
    /// Bodies end after so many bytes, in so many requests.
    pub breaks: Option<(usize, usize)>,
    /// The content lies on the server with this address; an empty one is this server.
    pub redirected: Option<String>,
    /// That is said with the size.
    pub linked_size: bool,
    /// The file has another address on this server, as the Hub's small files have.
    pub moved: bool,
    /// Tags are weak.
    pub weak: bool,
    /// The status of every answer.
    pub status: Option<u16>,
    /// Answers with the whole file whatever part was asked for.
    pub ignores_ranges: bool,
    /// The tag of every answer but the first.
    pub later: Option<String>,
    /// Says that there are fewer bytes than come.
    pub hides: usize,
    /// The size is said only where the content lies.
    pub sends_away: Option<String>,
}

#[derive(Default)]
struct Shared {
    files: BTreeMap<String, (Vec<u8>, Manner)>,
    token: Option<String>,
    commit: String,
    /// Revisions besides `main`.
    revisions: Vec<String>,
    requests: Vec<String>,
}

/// A server with one repository, `owner/name`, until the end of the test process.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Mutex<Shared>>,
    pub address: String,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shared = Shared {
            commit: COMMIT.into(),
            ..Shared::default()
        };
        let server = Self {
            shared: Arc::new(Mutex::new(shared)),
            address,
        };
        let answering = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answering = answering.clone();
                std::thread::spawn(move || answering.serve(stream));
            }
        });
        server
    }

    pub fn add(&self, name: &str, content: &[u8], manner: Manner) {
        let mut shared = self.shared.lock().unwrap();
        shared.files.insert(name.into(), (content.to_vec(), manner));
    }

    /// From now on only those with this token are answered.
    pub fn ask_for(&self, token: &str) {
        self.shared.lock().unwrap().token = Some(token.into());
    }

    pub fn set_commit(&self, commit: &str) {
        self.shared.lock().unwrap().commit = commit.into();
    }

    pub fn also_answers_for(&self, revision: &str) {
        self.shared.lock().unwrap().revisions.push(revision.into());
    }

    /// The requests so far, as `path range`.
    pub fn requests(&self) -> Vec<String> {
        self.shared.lock().unwrap().requests.clone()
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        while let Some(request) = Request::read(&mut reader) {
            if !self.answer(&request, &mut stream) {
                return;
            }
        }
    }

    /// Whether the connection goes on.
    fn answer(&self, request: &Request, stream: &mut TcpStream) -> bool {
        let mut shared = self.shared.lock().unwrap();
        let range = request
            .range
            .map_or(String::new(), |from| format!(" {from}-"));
        let token = if request.token.is_some() {
            " with token"
        } else {
            ""
        };
        shared
            .requests
            .push(format!("{}{range}{token}", request.path));
        if shared.token.is_some() && shared.token != request.token {
            return send(stream, 401, &[], b"");
        }
        let commit = shared.commit.clone();
        let Some(rest) = request.path.strip_prefix("/owner/name/resolve/") else {
            let revision = request
                .path
                .strip_prefix("/api/models/owner/name/revision/");
            let known =
                |asked: &str| asked == "main" || shared.revisions.iter().any(|one| one == asked);
            return match request.path.as_str() {
                _ if revision.is_some_and(known) => {
                    let names = shared.files.keys();
                    let siblings: Vec<_> = names
                        .map(|name| serde_json::json!({ "rfilename": name }))
                        .collect();
                    let info = serde_json::json!({ "sha": commit, "siblings": siblings });
                    send(stream, 200, &[], info.to_string().as_bytes())
                }
                path => match path.strip_prefix("/elsewhere/") {
                    Some(name) if shared.files.contains_key(name) => {
                        let name = name.to_owned();
                        send_file(stream, request, &mut shared, &name, &[])
                    }
                    _ => send(stream, 404, &[], b""),
                },
            };
        };
        let name = rest.split_once('/').map_or("", |(_, name)| name).to_owned();
        let Some((content, manner)) = shared.files.get(&name) else {
            return send(stream, 404, &[], b"");
        };
        if let Some(status) = manner.status {
            return send(stream, status, &[], b"");
        }
        let mut tag = manner.announced.clone().unwrap_or_else(|| tag(content));
        if let (false, Some(later)) = (request.size_only, &manner.later) {
            tag = later.clone();
        }
        let mut headers = vec![("X-Repo-Commit", commit)];
        if let Some(place) = &manner.sends_away {
            headers.push(("ETag", format!("\"{tag}\"")));
            if !place.is_empty() {
                headers.push(("Location", place.clone()));
            }
            return send(stream, 302, &headers, b"");
        }
        if let Some(address) = &manner.redirected {
            let address = if address.is_empty() {
                &self.address
            } else {
                address
            };
            headers.push(("ETag", "\"another\"".into()));
            headers.push(("X-Linked-Etag", format!("\"{tag}\"")));
            if manner.linked_size {
                headers.push(("X-Linked-Size", content.len().to_string()));
            }
            headers.push(("Location", format!("{address}/elsewhere/{name}")));
            return send(stream, 302, &headers, b"somewhere else");
        }
        if manner.moved && !request.path.contains("/moved/") {
            headers.push(("Location", format!("/owner/name/resolve/moved/{name}")));
            return send(stream, 307, &headers, b"somewhere else");
        }
        let weak = if manner.weak { "W/" } else { "" };
        headers.push(("ETag", format!("{weak}\"{tag}\"")));
        send_file(stream, request, &mut shared, &name, &headers)
    }
}

/// The digest that the Hub gives: git's for small files, SHA-256 for large ones.
fn tag(content: &[u8]) -> String {
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if content.len() > 1000 {
        return hexadecimal(&Sha256::digest(content));
    }
    let mut blob = Sha1::new_with_prefix(format!("blob {}\0", content.len()));
    blob.update(content);
    hexadecimal(&blob.finalize())
}

struct Request {
    path: String,
    range: Option<usize>,
    /// Asks for the first byte alone, to learn of the size.
    size_only: bool,
    token: Option<String>,
}

impl Request {
    fn read(reader: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let mut request = Self {
            path: line.split(' ').nth(1)?.into(),
            range: None,
            size_only: false,
            token: None,
        };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim().split_once(": ") else {
                return Some(request);
            };
            match name.to_ascii_lowercase().as_str() {
                "range" => {
                    let (from, to) = value.strip_prefix("bytes=")?.split_once('-')?;
                    request.range = from.parse().ok();
                    request.size_only = to == "0";
                }
                "authorization" => {
                    request.token = value.strip_prefix("Bearer ").map(String::from);
                }
                _ => {}
            }
        }
    }
}

fn send(stream: &mut TcpStream, status: u16, headers: &[(&str, String)], body: &[u8]) -> bool {
    let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).is_ok() && stream.write_all(body).is_ok()
}

fn send_file(
    stream: &mut TcpStream,
    request: &Request,
    shared: &mut Shared,
    name: &str,
    headers: &[(&str, String)],
) -> bool {
    let (content, manner) = shared.files.get_mut(name).unwrap();
    if request.size_only && content.is_empty() {
        // Without the headers of the file, as some servers do.
        return send(stream, 416, &[], b"");
    }
    if request.size_only {
        let mut headers = headers.to_vec();
        let size = content.len() - manner.hides;
        headers.push(("Content-Range", format!("bytes 0-0/{size}")));
        return send(stream, 206, &headers, &content[..1]);
    }
    if request.range.is_none() {
        return send(stream, 200, headers, content);
    }
    let from = match request.range {
        Some(from) if !manner.ignores_ranges => from,
        _ => 0,
    };
    if from > 0 && from >= content.len() {
        return send(stream, 416, headers, b"");
    }
    let body = &content[from..];
    let mut head = format!(
        "HTTP/1.1 206 X\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\nConnection: close\r\n",
        body.len(),
        content.len().saturating_sub(1),
        content.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    if stream.write_all(head.as_bytes()).is_err() {
        return false;
    }
    let end = match &mut manner.breaks {
        Some((bytes, times)) if *times > 0 && body.len() > *bytes => {
            *times -= 1;
            *bytes
        }
        _ => body.len(),
    };
    let _ = stream.write_all(&body[..end]);
    // The client reads until the connection ends.
    false
}
