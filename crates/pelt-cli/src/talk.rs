//! What the user is told on standard error while a command runs. Results go to standard output: see `output`.

use std::fmt::Display;
use std::sync::OnceLock;

use anstyle::{AnsiColor, Style};

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volume {
    /// Warnings and errors.
    Quiet,
    /// What is done, and how far it is.
    Normal,
    /// Every step, and where everything comes from.
    Verbose,
}

static CHOSEN: OnceLock<Volume> = OnceLock::new();

/// Chooses, once, before anything runs.
pub fn choose(volume: Volume) {
    CHOSEN.get_or_init(|| volume);
}

pub fn volume() -> Volume {
    CHOSEN.get().copied().unwrap_or(Volume::Normal)
}

/// A line of what is done.
pub fn say(line: impl Display) {
    if volume() >= Volume::Normal {
        anstream::eprintln!("{line}");
    }
}

/// Something worth knowing.
pub fn note(line: impl Display) {
    if volume() >= Volume::Normal {
        marked("note", AnsiColor::Cyan, line);
    }
}

/// A line for those who want to know everything.
pub fn detail(line: impl Display) {
    if volume() >= Volume::Verbose {
        anstream::eprintln!("{line}");
    }
}

/// Something that may make a result worthless.
pub fn warn(line: impl Display) {
    marked("warning", AnsiColor::Yellow, line);
}

/// Why there is no result.
pub fn error(line: impl Display) {
    marked("error", AnsiColor::Red, line);
}

/// Colours are left out where standard error is no terminal, or the environment asks for none.
fn marked(mark: &str, colour: AnsiColor, line: impl Display) {
    let style = Style::new().bold().fg_color(Some(colour.into()));
    anstream::eprintln!("{style}{mark}:{style:#} {line}");
}
