//! The device that everything runs on.

use burn::tensor::Device;

/// The CPU, in pure Rust.
pub fn device() -> Device {
    Device::flex()
}
