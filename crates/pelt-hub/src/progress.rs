//! What a download tells while it goes on.

/// Told about downloads. `()` is one that does not listen.
pub trait Progress {
    /// Another program is fetching the file, and is waited for.
    fn wait(&mut self, _file: &str) {}
    /// A download of a file of this many bytes begins, or begins again.
    fn begin(&mut self, _file: &str, _bytes: u64) {}
    /// So many more bytes are there; the first call may be for those of a download before that broke off.
    fn advance(&mut self, _bytes: u64) {}
    /// The file is complete.
    fn end(&mut self) {}
}

impl Progress for () {}
