//! The devices that a binary was built with, by name.
//!
//! Libraries take a [`Device`](burn::tensor::Device) and never make one. A binary forwards its cargo features to this crate,
//! which compiles the backends in, and turns what a user says (`flex`, `tch-cpu`, `cuda:0`) into a device or one sentence
//! that says why there is none.
//!
//! ```
//! # use burn::tensor::Device;
//! assert_eq!(pelt_device::open("flex").unwrap(), Device::flex());
//! let error = pelt_device::open("gpu").unwrap_err().to_string();
//! assert!(error.contains("no device is called `gpu`"));
//! ```

mod backend;
mod error;
mod open;
mod probe;

pub use backend::Backend;
pub use error::DeviceError;
pub use open::{default_name, open};
pub use probe::{Found, description, found};
