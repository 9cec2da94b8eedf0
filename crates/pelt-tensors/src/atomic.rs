//! Replacing a file so that a reader sees the old content or the new, never a part.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::TensorError;

/// Writes a file under a temporary name in the same folder, waits until it is on the disk and renames it. On an error
/// nothing is left behind and a file that was there before is unchanged.
///
/// # Errors
/// A folder that is missing or not writable, or a disk that is full.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), TensorError> {
    replace_file(path, |writer| writer.write_all(bytes))
}

/// As [`write_atomically`], with the content written piece by piece.
pub(crate) fn replace_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), TensorError> {
    write_and_rename(path, write).map_err(|e| TensorError::io(path, "write", e))
}

fn write_and_rename(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let file = temporary_file(folder, &format!(".{}.", name.to_string_lossy()))?;
    let mut writer = BufWriter::new(file.as_file());
    write(&mut writer)?;
    writer.flush()?;
    drop(writer);
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    // The content is safe at this point. That the new name also survives a loss of power is worth trying for, but not
    // every file system can do it.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Temporary files are private by default; this one becomes an ordinary file, so it gets what the umask allows.
#[cfg(unix)]
fn temporary_file(folder: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new()
        .prefix(prefix)
        .suffix(".tmp")
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
}

#[cfg(not(unix))]
fn temporary_file(folder: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(prefix)
        .suffix(".tmp")
        .tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_written_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        write_atomically(&path, b"old").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["config.json"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        write_atomically(&path, b"old").unwrap();
        let error = replace_file(&path, |writer| {
            writer.write_all(&[0; 100_000])?;
            Err(io::Error::other("the disk is full"))
        })
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot write {}: the disk is full", path.display())
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["config.json"]);
    }

    #[test]
    fn a_failed_rename_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        assert!(write_atomically(&path, b"new").is_err());
        assert_eq!(names(folder.path()), ["taken"]);
    }

    #[test]
    fn a_missing_folder_or_name_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write_atomically(&folder.path().join("missing").join("file"), b"new").is_err());
        assert!(write_atomically(Path::new(".."), b"new").is_err());
        assert!(names(folder.path()).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn a_written_file_has_the_permissions_of_an_ordinary_one() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (written, ordinary) = (
            folder.path().join("written"),
            folder.path().join("ordinary"),
        );
        write_atomically(&written, b"x").unwrap();
        std::fs::write(&ordinary, b"x").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&written), mode(&ordinary));
    }
}
