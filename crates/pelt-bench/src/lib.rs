//! Measurements of speed, each of which is made to run alone in its own process.
//!
//! [`ceiling`] is what the matrix products alone can reach, [`step`] and [`scaling`] are training steps on made-up
//! tokens of equal length, [`epoch`] trains on a real task and [`infer`] evaluates one. Every function returns a
//! report that serialises to one flat JSON object; [`flops`] says how operations are counted.

mod ceiling;
mod choice;
mod epoch;
mod error;
pub mod flops;
mod infer;
mod memory;
mod model;
mod rows;
mod statistics;
mod step;

pub use ceiling::{CeilingReport, CeilingSettings, ceiling};
pub use choice::{LORA_QV, MethodChoice, method_names};
pub use epoch::{EpochReport, EpochSettings, epoch};
pub use error::BenchError;
pub use infer::{InferReport, infer};
pub use memory::peak_memory_mib;
pub use model::Setup;
pub use rows::TaskData;
pub use step::{Dropout, ScalingPoint, StepReport, StepSettings, scaling, step};
