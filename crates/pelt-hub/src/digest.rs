//! Digests as the Hub gives them: SHA-256 of large files, git's own digest of small ones.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::HubError;

/// A digest that a file can be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 64 hexadecimal digits.
    Sha256,
    /// 40 hexadecimal digits: SHA-1 over git's header of a blob and the content.
    GitBlob,
}

/// What kind of digest this is; `None` if it is none.
pub(crate) fn kind(text: &str) -> Option<Kind> {
    let hexadecimal = text
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match text.len() {
        64 if hexadecimal => Some(Kind::Sha256),
        40 if hexadecimal => Some(Kind::GitBlob),
        _ => None,
    }
}

/// Whether a revision is a commit, which is named by its digest and never means another one.
pub(crate) fn is_commit(revision: &str) -> bool {
    kind(revision) == Some(Kind::GitBlob)
}

/// The digest of a file, in hexadecimal digits.
pub(crate) fn of_file(path: &Path, kind: Kind) -> Result<String, HubError> {
    let failed = |source| HubError::io(path, "be read", source);
    let mut file = File::open(path).map_err(failed)?;
    match kind {
        Kind::Sha256 => hash(&mut file, Sha256::new()),
        Kind::GitBlob => {
            let length = file.metadata().map_err(failed)?.len();
            hash(&mut file, Sha1::new_with_prefix(format!("blob {length}\0")))
        }
    }
    .map_err(failed)
}

fn hash<D: Digest>(file: &mut File, mut digest: D) -> std::io::Result<String> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
    }
    let bytes = digest.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_git_and_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "hello\n").unwrap();
        // `git hash-object` and `sha256sum` of the same file.
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let sha = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for digest in [git, sha] {
            assert_eq!(of_file(&path, kind(digest).unwrap()).unwrap(), digest);
        }
    }

    #[test]
    fn other_tags_are_no_digests() {
        let capitals = "A".repeat(40);
        for text in ["", "abc", &capitals, &"g".repeat(64), &"0".repeat(41)] {
            assert_eq!(kind(text), None, "{text}");
        }
    }
}
