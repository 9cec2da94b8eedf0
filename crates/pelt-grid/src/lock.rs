//! The file in a folder that is locked by whoever works there.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use crate::GridError;

/// Opens the file of a folder, and makes it where it is not there; its lock is the caller's to take.
pub(crate) fn open_lock(folder: &Path) -> Result<(PathBuf, File), GridError> {
    let path = folder.join(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|error| GridError::io(&path, "be written", error))?;
    Ok((path, file))
}
