//! Measurements of speed, each of which is made to run alone in its own process.
//!
//! [`ceiling`] is what the matrix products alone can reach, [`step`] and [`scaling`] are training steps on made-up
//! tokens of equal length, [`epoch`] trains on a real task and [`infer`] evaluates one. Every function returns a
//! report that serialises to one JSON object; [`flops`] says how operations are counted. With the feature `profile`,
//! there is also `profile`: where the time of a step goes, kernel by kernel.

mod ceiling;
mod choice;
mod epoch;
mod error;
pub mod flops;
mod infer;
mod memory;
mod model;
#[cfg(feature = "profile")]
mod profile;
mod rounds;
mod rows;
mod scaling;
mod shape;
mod statistics;
mod step;

pub use ceiling::{CeilingReport, CeilingSettings, ceiling};
pub use choice::{LORA_QV, MethodChoice, method_names};
pub use epoch::{EpochReport, EpochSettings, epoch};
pub use error::BenchError;
pub use infer::{InferReport, infer};
pub use memory::peak_memory_mib;
pub use model::Setup;
#[cfg(feature = "profile")]
pub use profile::{ProfileReport, profile};
pub use rows::TaskData;
pub use scaling::{ScalingReport, scaling};
pub use shape::{Shape, write_shape};
pub use step::{Dropout, StepReport, StepSettings, step};
