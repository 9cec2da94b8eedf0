//! Where a run was made, and with what.

use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::gpu_name;

/// Machine and versions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Cores that the process may use.
    pub cores: usize,
    /// Memory of the machine.
    pub memory_mib: u64,
    /// The device that computed, as `pelt` names it.
    pub device: String,
    /// Name and driver of its GPU, where it is one of NVIDIA's.
    #[serde(default)]
    pub gpu: Option<String>,
    /// Operating system and architecture.
    pub system: String,
    /// What `pelt --version` says.
    pub pelt: String,
    /// Commit of the sources when the bench began, with a `+` where they were changed; only where the program lies inside its
    /// checkout.
    pub commit: Option<String>,
    /// Seconds since 1970 at which the run ended.
    pub finished: u64,
}

impl Machine {
    /// This machine, with the program at `pelt`, which was built from `commit`.
    pub fn here(pelt: &Path, commit: Option<String>, device: &str) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            cpu: cpu_name(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory(&read("/proc/meminfo"), "MemTotal").unwrap_or_default(),
            device: device.into(),
            gpu: gpu_name(device),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            pelt: output(Command::new(pelt).arg("--version")).unwrap_or_default(),
            commit,
            finished: now.map_or(0, |time| time.as_secs()),
        }
    }
}

/// Memory that another process may use, in MiB; `None` where the system does not say.
pub fn available_memory_mib() -> Option<u64> {
    memory(&read("/proc/meminfo"), "MemAvailable")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The processor's name.
pub fn cpu_name() -> String {
    cpu_of(&read("/proc/cpuinfo")).unwrap_or("unknown").into()
}

fn cpu_of(info: &str) -> Option<&str> {
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

fn memory(info: &str, field: &str) -> Option<u64> {
    let line = info.lines().find(|line| line.starts_with(field))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

/// The commit of the checkout that a file lies in, with a `+` where its sources were changed.
pub fn commit(file: &Path) -> Option<String> {
    let folder = file.parent()?;
    let git =
        |arguments: &[&str]| output(Command::new("git").arg("-C").arg(folder).args(arguments));
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(match changed.is_empty() {
        true => commit,
        false => format!("{commit}+"),
    })
}

fn output(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_names_its_processor_and_its_memory() {
        let info =
            "processor\t: 0\nmodel name\t: A B @ 2 GHz\n\nprocessor\t: 1\nmodel name\t: other\n";
        assert_eq!(cpu_of(info), Some("A B @ 2 GHz"));
        assert_eq!(cpu_of(""), None);
        let info = "MemTotal:       2048 kB\nMemAvailable:   1024 kB\n";
        assert_eq!(memory(info, "MemAvailable"), Some(1));
        assert_eq!(memory("", "MemTotal"), None);
    }
}
