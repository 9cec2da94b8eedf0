//! Small files that say what others hold.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

use crate::instead_of_file;

/// The largest of them that is read, in bytes; usual ones have a few thousand.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Reads a file of at most 16 MiB, as configurations and records are.
///
/// # Errors
/// If it cannot be read, is larger, or is no regular file. The last is found out before it is opened: opening a pipe would
/// wait, and a device need not end.
pub fn read_small_file(path: &Path) -> Result<Vec<u8>> {
    if let Some(found) = instead_of_file(&std::fs::metadata(path)?) {
        return Err(Error::other(format!("expected a file, found {found}")));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LARGEST {
        true => Err(Error::new(
            ErrorKind::FileTooLarge,
            format!("expected at most {LARGEST} bytes, found more"),
        )),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let refusal = || read_small_file(&path).unwrap_err().to_string();
        assert_eq!(
            read_small_file(&path).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        std::fs::write(&path, b"{}").unwrap();
        assert_eq!(read_small_file(&path).unwrap(), b"{}");
        File::create(&path).unwrap().set_len(LARGEST).unwrap();
        assert_eq!(read_small_file(&path).unwrap().len() as u64, LARGEST);
        File::create(&path).unwrap().set_len(LARGEST + 1).unwrap();
        assert_eq!(refusal(), "expected at most 16777216 bytes, found more");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(refusal(), "expected a file, found a folder");
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let message = read_small_file(&path).unwrap_err().to_string();
        assert!(message.ends_with("not a regular file"), "{message}");
    }
}
