//! Recorded reference runs, compared on any device.
//!
//! The fixtures hold what AdapterHub `adapters`, PEFT, transformers and PyTorch's AdamW gave on tiny models: hidden states,
//! logits, losses, gates, gradients and optimiser steps. The tests of this crate compare them on the processor; the program
//! `pelt-parity --device NAME` does so on any device, and compares a training run with the processor's.
//!
//! ```
//! use burn::tensor::Device;
//! use pelt_parity::{Case, Tolerance, compare};
//! # let fixtures = pelt_testkit::fixture("");
//!
//! let cases = Case::all(&fixtures)?;
//! let case = cases.iter().find(|case| case.name == "base/bert_cls").ok_or("there is no such case")?;
//! let tolerance = Tolerance { outputs: 1e-5, gradients: 1e-4 };
//! let outcome = compare(case, &Device::flex(), tolerance)?;
//! assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
//! assert!(outcome.outputs <= tolerance.outputs);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
pub use suite::{HALF, Report, Section, run};
pub use training::train;
