//! Comparisons of fine-tuning methods
//!
//! A [`Plan`] names tasks, methods, seeds and budget. Every task, method, learning rate and seed is a [`Cell`]: one process of
//! `pelt train` and one of `pelt evaluate`, with a folder of its own and a [`Record`] that is written when all is done. Learning rates
//! are chosen on development rows with the first seed, never on the rows that are reported.
//!
//! ```
//! use pelt_grid::{Plan, finals, trials};
//!
//! let mut plan = Plan::suite("smoke")?;
//! plan.narrow(&["mrpc".to_string()], &[], None)?;
//! // One learning rate of full fine-tuning, two of LoRA, and one of UniPELT with a prompt are tried with the first seed.
//! let cells = trials(&plan);
//! assert_eq!(cells.len(), 4);
//! assert_eq!(cells[1].id(), "mrpc/lora/lr-0.0005-seed-42");
//! // The best rate of each of the three methods is then run with the second seed.
//! assert_eq!(finals(&plan).len(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bench;
mod cell;
mod compare;
mod error;
mod gpu;
mod lock;
mod machine;
mod plan;
mod process;
mod record;
pub mod report;
mod run;
mod run_folder;
mod slurm;

pub use bench::{Lock, Outcome, PLAN_FILE, run_all, write_plan};
pub use cell::{Cell, Final, chosen_rate, finals, trials};
pub use compare::compare;
pub use error::GridError;
pub use gpu::{GpuMemory, gpu_name};
pub use machine::{Machine, available_memory_mib, commit, cpu_name};
pub use plan::{Budget, MethodPlan, Plan, TaskPlan};
pub use process::Pelt;
pub use record::{
    Cost, CurvePoint, DataUsed, FAILURE_FILE, Failure, GateMean, RECORD_FILE, Record, Scored, Size,
};
pub use run::{Setup, finished, run_cell};
pub use slurm::{Slurm, submit};
