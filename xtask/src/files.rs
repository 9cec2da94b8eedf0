//! Files that this program writes.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes a file under a temporary name beside its place and renames it.
pub fn write_atomically(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("a file without a folder")?;
    let failed = || format!("cannot write {}", path.display());
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    file.persist(path).with_context(failed)?;
    Ok(())
}
