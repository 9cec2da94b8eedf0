//! What a download tells while it goes on.

/// Told about downloads. `()` is one that does not listen.
pub trait Progress {
    /// A download of a file of this many bytes begins, or begins again.
    fn begin(&mut self, _file: &str, _bytes: u64) {}
    /// So many more bytes are there; the first call may be for those of a download before that broke off.
    fn advance(&mut self, _bytes: u64) {}
    /// The file is complete.
    fn end(&mut self) {}
}

impl Progress for () {}

/// Hands on what the client tells.
pub(crate) struct Relay<'a>(pub &'a mut dyn Progress);

impl hf_hub::api::Progress for Relay<'_> {
    fn init(&mut self, size: usize, filename: &str) {
        self.0.begin(filename, size as u64);
    }

    fn update(&mut self, size: usize) {
        self.0.advance(size as u64);
    }

    fn finish(&mut self) {
        self.0.end();
    }
}
