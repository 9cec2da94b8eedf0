//! Building with the backend of a device.

mod libtorch;

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use crate::cargo;
use crate::demo::default_cache;

/// A build that knows a device.
#[derive(Debug)]
pub struct Backend {
    device: String,
    /// Environment variables with which it is built and run.
    pub variables: Vec<(&'static str, OsString)>,
}

impl Backend {
    /// The backend of the device of this name. LibTorch is installed in the cache folder where it is needed and missing.
    pub fn of(device: &str, cache: Option<&Path>) -> Result<Self> {
        Self::of_torch(device, cache, None)
    }

    /// The same with LibTorch of another version than the one that is checked.
    pub fn of_torch(device: &str, cache: Option<&Path>, torch: Option<&str>) -> Result<Self> {
        let mut backend = Self {
            device: device.to_string(),
            variables: Vec::new(),
        };
        if backend.feature() == "tch" {
            let cache = match cache {
                Some(folder) => folder.to_path_buf(),
                None => default_cache()?,
            };
            backend.variables = libtorch::install(&cache, torch)?;
        }
        Ok(backend)
    }

    /// Builds a program of the workspace, optimised.
    pub fn build(&self, package: &str) -> Result<()> {
        let build = [
            "build",
            "--release",
            "--package",
            package,
            "--features",
            self.feature(),
        ];
        cargo::run_with(&build, &self.variables)
    }

    /// The cargo feature that compiles it in; names that nobody knows are left to the program.
    fn feature(&self) -> &str {
        let name = self.device.split(':').next().unwrap_or_default();
        match name {
            "tch-cpu" | "tch-cuda" => "tch",
            "wgpu" | "vulkan" | "cuda" | "metal" => name,
            _ => "flex",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_built_with_its_feature() {
        let feature = |device: &str| {
            let backend = Backend {
                device: device.into(),
                variables: Vec::new(),
            };
            backend.feature().to_string()
        };
        let devices = ["flex", "tch-cpu", "tch-cuda:1", "cuda:0", "vulkan", "gpu"];
        let expected = ["flex", "tch", "tch", "cuda", "vulkan", "flex"];
        assert_eq!(devices.map(feature), expected);
    }
}
