//! SHA-256 of files, and moving a file into place only when its bytes are the expected ones.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// The digest of some bytes as lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// The digest of a file as lower-case hexadecimal digits.
pub fn sha256_of_file(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    File::open(path)
        .and_then(|mut file| io::copy(&mut file, &mut hasher))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(format!("{:x}", hasher.finalize()))
}

/// Whether the file is there with the expected digest.
pub fn is_verified(path: &Path, expected: &str) -> Result<bool> {
    Ok(path.is_file() && sha256_of_file(path)? == expected)
}

/// Renames `temporary` to `path` if it has the expected digest. If not, it is removed, for it is of no use.
pub fn move_if_verified(temporary: &Path, path: &Path, expected: &str) -> Result<()> {
    let found = sha256_of_file(temporary)?;
    if found != expected {
        std::fs::remove_file(temporary)
            .with_context(|| format!("cannot remove {}", temporary.display()))?;
        bail!(
            "{} should have the SHA-256 {expected}, but what was fetched has {found}",
            path.display()
        );
    }
    std::fs::rename(temporary, path).with_context(|| {
        format!(
            "cannot rename {} to {}",
            temporary.display(),
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published digest of the three bytes `abc`.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn the_digest_is_the_published_one() {
        assert_eq!(sha256(b"abc"), ABC);
    }

    #[test]
    fn a_file_with_the_right_bytes_is_moved_into_place() {
        let folder = tempfile::tempdir().unwrap();
        let (temporary, path) = (folder.path().join("a.part"), folder.path().join("a"));
        std::fs::write(&temporary, b"abc").unwrap();
        assert!(!is_verified(&path, ABC).unwrap());
        move_if_verified(&temporary, &path, ABC).unwrap();
        assert!(is_verified(&path, ABC).unwrap());
        assert!(!temporary.exists());
    }

    #[test]
    fn a_file_with_wrong_bytes_never_reaches_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let (temporary, path) = (folder.path().join("a.part"), folder.path().join("a"));
        std::fs::write(&temporary, b"abd").unwrap();
        let message = move_if_verified(&temporary, &path, ABC)
            .unwrap_err()
            .to_string();
        assert!(message.contains(ABC), "{message}");
        assert!(!path.exists() && !temporary.exists());
    }
}
