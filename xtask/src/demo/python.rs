//! What is left to python3: pip knows the machine's package index, mirrors and certificates, and Python's
//! standard library speaks HTTPS, so this program needs neither.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A file of a package index, named so exactly that pip refuses any other bytes.
#[derive(Debug)]
pub struct Package {
    pub name: &'static str,
    pub version: &'static str,
    pub kind: PackageKind,
    /// SHA-256 of the wheel or source archive.
    pub sha256: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub enum PackageKind {
    Wheel,
    SourceArchive,
}

/// Continues a download where an earlier one stopped, if the server allows that, and starts over if not.
const DOWNLOAD: &str = r#"
import os, shutil, sys, urllib.error, urllib.request
url, part = sys.argv[1:]
def fetch():
    have = os.path.getsize(part) if os.path.exists(part) else 0
    headers = {"User-Agent": "pelt-xtask"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        with open(part, "ab" if response.status == 206 else "wb") as output:
            shutil.copyfileobj(response, output, 1 << 20)

try:
    try:
        fetch()
    except urllib.error.HTTPError as error:
        # There is nothing behind what is here already, so it is not the beginning of this file.
        if error.code != 416:
            raise
        os.remove(part)
        fetch()
except OSError as error:
    sys.exit(f"cannot fetch {url}: {error}")
"#;

/// Downloads a package's one file into the folder `into` and returns its path. Nothing is installed.
///
/// pip checks the digest before it looks inside. Of a source archive it then reads the metadata by running the
/// archive's own setup script, which is acceptable because these are exactly the bytes that were reviewed.
pub fn pip_download(package: &Package, into: &Path) -> Result<PathBuf> {
    let Package {
        name,
        version,
        kind,
        sha256,
    } = package;
    let requirements = into.join("requirements.txt");
    std::fs::write(
        &requirements,
        format!("{name}=={version} --hash=sha256:{sha256}\n"),
    )
    .with_context(|| format!("cannot write {}", requirements.display()))?;
    let files = into.join("files");
    let mut command = python();
    command.args(["-m", "pip", "download", "--no-deps", "--require-hashes"]);
    match kind {
        PackageKind::Wheel => command.args(["--only-binary", name]),
        PackageKind::SourceArchive => command.args(["--no-binary", name]),
    };
    command
        .arg("--dest")
        .arg(&files)
        .arg("--requirement")
        .arg(&requirements);
    run(command, &format!("`pip download {name}=={version}`"))?;
    let mut downloaded = std::fs::read_dir(&files).with_context(|| {
        format!(
            "`pip download {name}=={version}` left no folder {}",
            files.display()
        )
    })?;
    let file = downloaded
        .next()
        .with_context(|| format!("`pip download {name}=={version}` left no file"))?;
    Ok(file?.path())
}

/// Unpacks a wheel, which is a zip archive, into the folder `into`.
pub fn unzip(archive: &Path, into: &Path) -> Result<()> {
    let mut command = python();
    command.args(["-m", "zipfile", "-e"]).arg(archive).arg(into);
    run(command, &format!("unpacking {}", archive.display()))
}

/// Fetches a URL into the file `part`, which may hold the beginning already.
pub fn download(url: &str, part: &Path) -> Result<()> {
    let mut command = python();
    command.args(["-c", DOWNLOAD, url]).arg(part);
    run(command, &format!("fetching {url}"))
}

fn python() -> Command {
    Command::new("python3")
}

fn run(mut command: Command, what: &str) -> Result<()> {
    // pip's progress goes to the terminal; it is never asked a question.
    let status = command
        .stdin(Stdio::null())
        .status()
        .context("cannot start python3, which the demo needs")?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}
