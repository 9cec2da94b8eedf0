//! The device that everything runs on.

use std::sync::OnceLock;

use anyhow::{Result, ensure};
use burn::tensor::Device;
use pelt_encoder::Precision;

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

/// Checks that it computes in this precision.
pub fn check_precision(precision: Precision) -> Result<()> {
    ensure!(
        precision.is_supported(&device()),
        "--precision {precision}: the device {} does not compute in it",
        name()
    );
    Ok(())
}

fn chosen() -> &'static (String, Device) {
    CHOSEN.get().expect("a device is chosen first")
}

/// Whether a backend's message says that it found no memory.
pub fn is_out_of_memory(message: &str) -> bool {
    let message = message.to_lowercase();
    // LibTorch, CubeCL's error types, and Vulkan.
    let signs = [
        "out of memory",
        "outofmemory",
        "buffertoobig",
        "not enough memory",
        "allocate memory",
        "out of device memory",
        "allocate buffer of size",
    ];
    signs.iter().any(|sign| message.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_backends_say_without_memory_is_known() {
        for message in [
            "Internal torch error: CUDA out of memory. Tried to allocate 2.00 GiB",
            "An error happened: OutOfMemory { size: 12 }",
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes",
            "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes. \
             Error code 12 (Cannot allocate memory)",
            "BufferTooBig { size: 4294967296 }",
        ] {
            assert!(is_out_of_memory(message), "{message}");
        }
        assert!(!is_out_of_memory("index 4 is out of bounds"));
    }
}
