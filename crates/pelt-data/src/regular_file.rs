//! Files that are named by others: none is waited for, and none is read beyond what it should have.

use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::path::Path;

use crate::error::DataError;

/// Refuses anything but a regular file, without opening it: opening a pipe would wait, and a device need not end.
pub(crate) fn check(path: &Path) -> Result<(), DataError> {
    check_length(path, u64::MAX)
}

/// Refuses anything but a regular file of at most `largest` bytes.
pub(crate) fn check_length(path: &Path, largest: u64) -> Result<(), DataError> {
    let metadata = std::fs::metadata(path).map_err(|reason| failed(path, reason))?;
    if metadata.is_dir() {
        return Err(failed(path, ErrorKind::IsADirectory.into()));
    }
    if !metadata.is_file() {
        return Err(failed(path, Error::other("it is not a regular file")));
    }
    if metadata.len() > largest {
        let reason = format!("it has more than {largest} bytes");
        return Err(failed(path, Error::other(reason)));
    }
    Ok(())
}

/// Opens a regular file for reading.
pub(crate) fn open(path: &Path) -> Result<File, DataError> {
    check(path)?;
    File::open(path).map_err(|reason| failed(path, reason))
}

/// Reads a regular file of at most `largest` bytes.
pub(crate) fn read(path: &Path, largest: u64) -> Result<Vec<u8>, DataError> {
    check_length(path, largest)?;
    let mut bytes = Vec::new();
    // No more than that, should it grow meanwhile.
    open(path)?
        .take(largest)
        .read_to_end(&mut bytes)
        .map_err(|reason| failed(path, reason))?;
    Ok(bytes)
}

fn failed(path: &Path, reason: Error) -> DataError {
    DataError::Read {
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_expected_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        let message = read(&path, 4).unwrap_err().to_string();
        assert!(message.ends_with("it has more than 4 bytes"), "{message}");
        assert!(open(folder.path()).is_err());
        assert!(open(&folder.path().join("missing")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let message = read(&path, 100).unwrap_err().to_string();
        assert!(message.ends_with("it is not a regular file"), "{message}");
    }
}
