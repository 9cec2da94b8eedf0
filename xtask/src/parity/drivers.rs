//! Graphics drivers.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A Vulkan driver that computes on the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SoftwareDriver {
    /// Mesa's.
    Lavapipe,
    /// Chromium's.
    SwiftShader,
}

/// The Vulkan loader reads the drivers to use from this variable.
const DRIVER_FILES: &str = "VK_DRIVER_FILES";

impl SoftwareDriver {
    pub fn name(self) -> &'static str {
        match self {
            Self::Lavapipe => "lavapipe",
            Self::SwiftShader => "SwiftShader",
        }
    }

    /// Debian's packages that bring the driver and the loader.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Lavapipe => &["mesa-vulkan-drivers", "libvulkan1"],
            Self::SwiftShader => &["chromium", "libvulkan1"],
        }
    }

    /// The file by which the loader knows the driver, where Debian puts it.
    fn file(self) -> &'static str {
        match self {
            Self::Lavapipe => "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json",
            Self::SwiftShader => "/usr/lib/chromium/vk_swiftshader_icd.json",
        }
    }

    /// Installs the driver where it is missing, and gives the variables that choose it.
    pub fn install(self) -> Result<Vec<(&'static str, OsString)>> {
        let packages = self.packages().join(" ");
        if !Path::new(self.file()).exists() {
            println!("installing {packages}");
            let mut command = Command::new("apt-get");
            command.args(["install", "-y", "-q", "--no-install-recommends"]);
            let status = command.args(self.packages()).stdin(Stdio::null()).status();
            let status =
                status.with_context(|| format!("it needs {packages}, and there is no apt-get"))?;
            ensure!(
                status.success() && Path::new(self.file()).exists(),
                "it needs {} of Debian's packages {packages}, which apt-get could not install",
                self.file()
            );
        }
        Ok(vec![(DRIVER_FILES, self.file().into())])
    }
}

/// Whether NVIDIA's driver answers.
pub fn has_nvidia_gpu() -> bool {
    let status = Command::new("nvidia-smi")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
