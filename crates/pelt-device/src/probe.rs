//! What a machine has.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{Device, Tensor};

use crate::Backend;

/// The devices of one backend on this machine.
#[derive(Debug)]
pub struct Found {
    /// The backend, which is compiled in.
    pub backend: Backend,
    /// Its devices by number, or why they cannot be listed.
    pub devices: Result<Vec<Device>, String>,
}

/// What every backend that is compiled in finds here.
pub fn found() -> Vec<Found> {
    let built = Backend::ALL
        .into_iter()
        .filter(|backend| backend.is_built());
    built
        .map(|backend| Found {
            backend,
            devices: devices(backend),
        })
        .collect()
}

/// What a device calls itself, where its backend says so.
pub fn description(device: &Device) -> Option<String> {
    #[cfg(any(
        feature = "wgpu",
        feature = "vulkan",
        feature = "metal",
        feature = "cuda"
    ))]
    {
        let identity = guarded(|| device.identity()).ok().flatten()?;
        Some(format!("{} ({})", identity.name, identity.fingerprint))
    }
    #[cfg(not(any(
        feature = "wgpu",
        feature = "vulkan",
        feature = "metal",
        feature = "cuda"
    )))]
    {
        let _ = device;
        None
    }
}

/// The devices of a backend by number, or what went wrong.
pub(crate) fn devices(backend: Backend) -> Result<Vec<Device>, String> {
    guarded(|| list(backend))
}

/// Computes something small on a device, so that what is wrong with it shows here.
pub(crate) fn try_out(device: &Device) -> Result<(), String> {
    let sum = guarded(|| {
        let ones = Tensor::<1>::ones([8], device);
        (ones.clone() + ones).sum().into_scalar::<f32>()
    })?;
    match sum == 16.0 {
        true => Ok(()),
        false => Err(format!("eight times 1 + 1 gave {sum}")),
    }
}

/// What `work` gives, or the message of its panic: that is how backends report a missing driver.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let text = text.unwrap_or("the backend gave no reason");
        // A C++ exception brings its whole call stack.
        text.lines().next().unwrap_or_default().trim().to_string()
    })
}

#[allow(deprecated)] // burn calls its LibTorch backend deprecated; here it stays supported.
fn list(backend: Backend) -> Vec<Device> {
    match backend {
        #[cfg(feature = "flex")]
        Backend::Flex => vec![Device::flex()],
        #[cfg(feature = "tch")]
        Backend::TchCpu => vec![Device::libtorch()],
        #[cfg(feature = "tch")]
        Backend::TchCuda => Device::enumerate(burn::tensor::DeviceType::LibTorch).into_vec(),
        #[cfg(feature = "cuda")]
        Backend::Cuda => Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec(),
        #[cfg(feature = "vulkan")]
        Backend::Vulkan => Device::enumerate(burn::tensor::DeviceType::Vulkan).into_vec(),
        #[cfg(feature = "metal")]
        Backend::Metal => Device::enumerate(burn::tensor::DeviceType::Metal).into_vec(),
        #[cfg(feature = "wgpu")]
        Backend::Wgpu => Device::enumerate(burn::tensor::DeviceType::Wgpu).into_vec(),
        #[allow(unreachable_patterns)] // With every feature there is nothing left.
        _ => Vec::new(),
    }
}
