//! The file formats of adapters.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

mod adapterhub;
mod folders;
mod fusion;
mod peft;
mod refusals;
