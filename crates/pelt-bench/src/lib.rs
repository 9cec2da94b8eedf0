//! Measurements of speed, each of which is made to run alone in its own process.
//!
//! [`ceiling`] is what the matrix products alone can reach, [`step`] and [`scaling`] are training steps on made-up
//! tokens of equal length, [`epoch`] trains on a real task and [`infer`] evaluates one. Every function returns a
//! report that serialises to one JSON object; [`flops`] says how operations are counted. With the feature `profile`,
//! there is also `profile`: where the time of a step goes, kernel by kernel.
//!
//! ```
//! use pelt_bench::flops::{Flops, Work, count};
//! use pelt_hooks::EncoderShape;
//!
//! let work = Work {
//!     shape: EncoderShape {
//!         layers: 1,
//!         hidden_size: 2,
//!         heads: 1,
//!         intermediate_size: 4,
//!         vocab_size: 10,
//!         max_positions: 8,
//!         pooler: false,
//!     },
//!     sequences: 2,
//!     length: 3,
//!     prompt: 0,
//!     prefixes: vec![0],
//!     all_rows_in_last_layer: false,
//!     reads_pooler: false,
//!     trained: vec![("classifier.weight".to_string(), vec![3, 2])],
//! };
//! // Backward there is only the gradient of the head's weight: a product of two sequences, two inputs and three labels.
//! assert_eq!(count(&work), Flops { forward: 264, backward: 2 * 2 * 2 * 3 });
//! ```

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
