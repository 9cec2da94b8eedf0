//! Folders that the fuzz targets write their inputs to, in memory where the system has a place for that.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pelt_hooks::EncoderShape;
use tempfile::TempDir;

/// The encoder of the recorded adapters.
pub const SHAPE: EncoderShape = EncoderShape {
    layers: 2,
    hidden_size: 32,
    heads: 4,
    intermediate_size: 64,
    vocab_size: 120,
    max_positions: 64,
    pooler: true,
};

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

    /// Writes a file, in folders that may not be there yet, and gives its path.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        let folder = path.parent().expect("a folder around a file");
        std::fs::create_dir_all(folder).expect("a folder in the temporary one");
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

/// What the last panic said, on whatever thread it was.
static LAST: Mutex<String> = Mutex::new(String::new());

/// What the paths of our own sources contain.
const OURS: &str = "crates/pelt-";

/// Readers catch panics of the libraries below them. The fuzzer's hook would end the program at those too; this one ends it
/// only at our own, which must not hide behind what was meant for the libraries'.
pub fn allow_caught_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let said = panic.to_string();
        if panic.location().is_some_and(|at| at.file().contains(OURS)) {
            eprintln!("{said}");
            std::process::abort();
        }
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }));
}

/// Reads one input; a panic that nobody has caught is told before it ends the program.
pub fn read(input: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(input)).is_err() {
        eprintln!("{}", LAST.lock().unwrap_or_else(PoisonError::into_inner));
        std::process::abort();
    }
}
