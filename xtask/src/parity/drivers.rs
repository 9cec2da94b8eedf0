//! Graphics drivers.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Debian's packages of a Vulkan driver that computes on the processor, and of the loader.
const PACKAGES: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];

/// The file by which the loader knows the driver, where Debian puts it.
const FILE: &str = "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json";

/// The Vulkan loader reads the drivers to use from this variable.
const DRIVER_FILES: &str = "VK_DRIVER_FILES";

/// Installs Mesa's lavapipe where it is missing, and gives the variables that choose it.
pub fn install_lavapipe() -> Result<Vec<(&'static str, OsString)>> {
    if !Path::new(FILE).exists() {
        let packages = PACKAGES.join(" ");
        println!("installing {packages}");
        let mut command = Command::new("apt-get");
        command.args(["install", "-y", "-q", "--no-install-recommends"]);
        let status = command.args(PACKAGES).stdin(Stdio::null()).status();
        let status =
            status.with_context(|| format!("it needs {packages}, and there is no apt-get"))?;
        ensure!(
            status.success() && Path::new(FILE).exists(),
            "it needs {FILE} of Debian's packages {packages}, which apt-get could not install"
        );
    }
    Ok(vec![(DRIVER_FILES, FILE.into())])
}
