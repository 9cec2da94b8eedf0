//! The device that everything runs on.

use std::sync::OnceLock;

use anyhow::Result;
use burn::tensor::Device;

static CHOSEN: OnceLock<(String, Device)> = OnceLock::new();

/// Opens the device that the user named, once, before anything runs.
pub fn choose(name: &str) -> Result<()> {
    let device = pelt_device::open(name)?;
    CHOSEN.get_or_init(|| (name.to_string(), device));
    Ok(())
}

/// The device that was chosen.
pub fn device() -> Device {
    chosen().1.clone()
}

/// Its name.
pub fn name() -> &'static str {
    &chosen().0
}

fn chosen() -> &'static (String, Device) {
    CHOSEN.get().expect("a device is chosen first")
}
