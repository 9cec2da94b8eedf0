//! Lines on standard output.

use std::fmt::Display;
use std::io::Write;

use anyhow::{Context, Result};

/// Writes one line. Unlike `println!`, a full disk or a closed pipe is an error and no panic.
pub fn print_line(line: impl Display) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("standard output cannot be written to")
}
