//! The device that everything runs on.

use std::sync::OnceLock;

use anyhow::Result;
use burn::tensor::Device;

static CHOSEN: OnceLock<Device> = OnceLock::new();

/// Opens the device that the user named, once, before anything runs.
pub fn choose(name: &str) -> Result<()> {
    let device = pelt_device::open(name)?;
    CHOSEN.get_or_init(|| device);
    Ok(())
}

/// The device that was chosen.
///
/// # Panics
/// If none was.
pub fn device() -> Device {
    CHOSEN.get().expect("a device is chosen first").clone()
}
