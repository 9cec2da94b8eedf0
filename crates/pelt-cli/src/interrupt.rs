//! Ctrl-C and a request to end, while something is being trained: the first one lets the step end and its state be saved, the
//! second one ends the program at once, as the first does where nothing is being trained.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Exit code of a program that was asked to end: that of a shell for Ctrl-C.
pub const EXIT_INTERRUPTED: i32 = 130;

/// Notes requests to end for as long as it lives.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Begins to listen.
    pub fn listen() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first request finds the flag unset here, and sets it there.
            flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, Arc::clone(&asked)))
                .context("requests to end cannot be listened to")?;
        }
        Ok(Self(asked))
    }

    /// Whether there was a request.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        // From now on a request ends the program.
        self.0.store(true, Ordering::Relaxed);
    }
}
