//! Graphics drivers.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Debian's packages of a Vulkan driver that computes on the processor, and of the loader.
const PACKAGES: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];

/// Where Debian puts the files by which the loader knows drivers, and how the name of lavapipe's begins: releases differ in its end.
const FOLDER: &str = "/usr/share/vulkan/icd.d";
const NAME: &str = "lvp_icd";

/// The Vulkan loader reads the drivers to use from this variable.
const DRIVER_FILES: &str = "VK_DRIVER_FILES";

/// Installs Mesa's lavapipe where it is missing, and gives the variables that choose it.
pub fn install_lavapipe() -> Result<Vec<(&'static str, OsString)>> {
    if let Some(file) = driver() {
        return Ok(vec![(DRIVER_FILES, file.into())]);
    }
    let packages = PACKAGES.join(" ");
    println!("installing {packages}");
    let mut command = Command::new("apt-get");
    command.args(["install", "-y", "-q", "--no-install-recommends"]);
    let status = command.args(PACKAGES).stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("it needs {packages}, and there is no apt-get"))?;
    ensure!(
        status.success(),
        "it needs Debian's packages {packages}, which apt-get could not install"
    );
    let file = driver();
    let file = file.with_context(|| {
        format!("{packages} are installed, but there is no {FOLDER}/{NAME}*.json")
    })?;
    Ok(vec![(DRIVER_FILES, file.into())])
}

/// The file of the driver for this processor.
fn driver() -> Option<PathBuf> {
    let entries = std::fs::read_dir(FOLDER).ok()?.flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| is_driver(path))
        .collect();
    found.sort();
    found.into_iter().next()
}

fn is_driver(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(rest) = name.strip_prefix(NAME) else {
        return false;
    };
    rest == ".json" || rest == format!(".{}.json", std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_of_this_processor_is_known_by_its_name() {
        let own = format!("lvp_icd.{}.json", std::env::consts::ARCH);
        for (name, expected) in [
            (&*own, true),
            ("lvp_icd.json", true),
            ("lvp_icd.i686.json", false),
            ("radeon_icd.json", false),
        ] {
            assert_eq!(is_driver(Path::new(name)), expected, "{name}");
        }
    }
}
