//! Ctrl-C and a request to end, from the start of a training to the end of the program: the first one lets a step end and its
//! state be saved, the second one ends the program at once, as the first does where nothing is trained any more.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use pelt_train::CHECKPOINT_FILE;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::talk;

/// Exit code of a program that was asked to end: that of a shell for Ctrl-C.
pub const EXIT_INTERRUPTED: i32 = 130;

/// How a run that did not end is gone on with.
pub const GO_ON: &str = "the same command with --resume, and without --force, goes on from there";

/// Notes requests to end; when it is dropped, the program ends at the next one.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Begins to listen, for a run in this folder.
    pub fn listen(folder: &Path) -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let mut signals =
            Signals::new([SIGINT, SIGTERM]).context("requests to end cannot be listened to")?;
        let (noted, checkpoint) = (Arc::clone(&asked), folder.join(CHECKPOINT_FILE));
        std::thread::Builder::new()
            .name("interrupt".into())
            .spawn(move || {
                for _ in signals.forever() {
                    if !noted.swap(true, Ordering::Relaxed) {
                        talk::say("ending, once what is being computed is done and saved; ask again to end at once");
                        continue;
                    }
                    match checkpoint.exists() {
                        true => talk::error(format_args!("interrupted; the last state that was saved is in {}; {GO_ON}", checkpoint.display())),
                        false => talk::error("interrupted; no state was saved"),
                    }
                    // Without what others registered for an exit: they may be at work.
                    signal_hook::low_level::exit(EXIT_INTERRUPTED);
                }
            })
            .context("requests to end cannot be listened to")?;
        Ok(Self(asked))
    }

    /// Whether there was a request.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
