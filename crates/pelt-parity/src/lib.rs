//! Recorded reference runs, compared on any device.
//!
//! The fixtures hold what AdapterHub `adapters`, PEFT, transformers and PyTorch's AdamW gave on tiny models: hidden states,
//! logits, losses, gates, gradients and optimiser steps. The tests of this crate compare them on the processor; the program
//! `pelt-parity --device NAME` does so on any device, and compares a training run with the processor's.

mod case;
mod compare;
mod model;
mod optim;
mod spans;
mod suite;
mod tokens;
mod training;

pub use case::Case;
pub use compare::{Outcome, Tolerance, compare};
pub use optim::{RUNS, ValueTolerance, compare_steps};
pub use suite::{Report, Section, run};
pub use training::train;
