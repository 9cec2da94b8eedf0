//! `pelt devices`.

use anyhow::Result;
use pelt_device::{Backend, Found, found};

use crate::output::print_line;

/// Lists what is compiled in, what of it is there, and what else could be compiled in.
pub fn run() -> Result<()> {
    for Found { backend, devices } in found() {
        let name = backend.name();
        match devices {
            Err(message) => print_line(format!("{name:<12} does not work: {message}"))?,
            Ok(devices) if devices.is_empty() => {
                let why = backend.why_none();
                print_line(format!("{name:<12} none found: {why}"))?;
            }
            Ok(devices) => {
                for (number, device) in devices.iter().enumerate() {
                    let name = backend.device_name(number);
                    let what = pelt_device::description(device);
                    let what = what.unwrap_or_else(|| backend.description().to_string());
                    print_line(format!("{name:<12} {what}"))?;
                }
            }
        }
    }
    let mut missing = Backend::ALL.map(Backend::feature).to_vec();
    missing.dedup();
    missing.retain(|feature| {
        Backend::ALL
            .iter()
            .all(|b| b.feature() != *feature || !b.is_built())
    });
    if !missing.is_empty() {
        let missing = missing.join(", ");
        print_line(format!(
            "not in this build: {missing} (cargo build --release --features NAME)"
        ))?;
    }
    Ok(())
}
