//! Folders that the fuzz targets write their inputs to, in memory where the system has a place for that.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder for one input.
pub struct Scene(TempDir);

impl Scene {
    /// An empty folder.
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        Self(folder.expect("a temporary folder"))
    }

    /// Writes a file and gives its path.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).expect("a file in the temporary folder");
        path
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

/// Opens a tensor file of this name and content, and reads everything in it.
pub fn read_tensors(name: &str, content: &[u8]) {
    let scene = Scene::new();
    let path = scene.write(name, content);
    let Ok(files) = pelt_tensors::TensorFiles::open(&path) else {
        return;
    };
    for name in files.names() {
        // A tensor is of one kind or the other.
        let _ = files.read(name);
        let _ = files.read_int(name);
    }
    let _ = files.sha256();
}

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Readers catch panics of the libraries below them. The fuzzer's hook would end the program at those too.
pub fn allow_caught_panics() {
    std::panic::set_hook(Box::new(|panic| LAST.set(panic.to_string())));
}

/// Reads one input; a panic that nobody has caught is told before it ends the program.
pub fn read(input: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(input)).is_err() {
        eprintln!("{}", LAST.take());
        std::process::abort();
    }
}
