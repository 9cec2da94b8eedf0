//! GPUs, as NVIDIA's driver sees them; of others nothing is known here.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks at a GPU's memory again and again while something runs on it.
#[derive(Debug)]
pub struct GpuMemory {
    before: Option<u64>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<Option<u64>>>,
}

impl GpuMemory {
    /// Starts with the GPU of a device, such as `cuda:1`. On the processor, and without NVIDIA's driver, it finds nothing.
    pub fn watch(device: &str) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let gpu = number(device);
        let before = gpu.and_then(used);
        let thread = gpu.filter(|_| before.is_some()).map(|gpu| {
            let done = Arc::clone(&done);
            std::thread::spawn(move || {
                let mut most = None;
                while !done.load(Ordering::Relaxed) {
                    most = most.max(used(gpu));
                    std::thread::sleep(PAUSE);
                }
                most
            })
        });
        Self {
            before,
            done,
            thread,
        }
    }

    /// The most that was taken since the start by anything, in MiB.
    pub fn stop(self) -> Option<u64> {
        self.done.store(true, Ordering::Relaxed);
        let most = self.thread?.join().ok()??;
        Some(most.saturating_sub(self.before?))
    }
}

/// The number of a device's GPU; `None` for processors.
fn number(device: &str) -> Option<usize> {
    let (backend, number) = device.split_once(':').unwrap_or((device, "0"));
    match backend {
        "flex" | "tch-cpu" | "cpu" => None,
        _ => number.parse().ok(),
    }
}

/// What NVIDIA's driver calls the GPU that programs see under this number: they may see a few of them only, in an order of
/// their own.
fn name_for_driver(number: usize, visible: Option<&str>) -> Option<String> {
    match visible {
        None => Some(number.to_string()),
        Some(visible) => {
            let name = visible.split(',').nth(number)?.trim();
            (!name.is_empty()).then(|| name.to_string())
        }
    }
}

/// What NVIDIA's driver says of a GPU; `None` where there is no such driver or GPU.
fn query(fields: &str, gpu: usize) -> Option<String> {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let output = Command::new("nvidia-smi")
        .arg(format!("--query-gpu={fields}"))
        .arg("--format=csv,noheader,nounits")
        .args(["-i", &name_for_driver(gpu, visible.as_deref())?])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_string())
}

/// MiB in use.
fn used(gpu: usize) -> Option<u64> {
    query("memory.used", gpu)?.parse().ok()
}

/// The name of a device's GPU and the version of its driver.
pub fn gpu_name(device: &str) -> Option<String> {
    let text = query("name,driver_version", number(device)?)?;
    let (name, driver) = text.split_once(", ")?;
    Some(format!("{name}, driver {driver}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_the_gpu_of_its_number() {
        assert_eq!(number("cuda:1"), Some(1));
        assert_eq!(number("vulkan"), Some(0));
        assert_eq!(number("tch-cpu"), None);
        assert_eq!(number("flex"), None);
    }

    #[test]
    fn a_program_may_see_a_few_of_the_gpus() {
        let name = |number, visible| name_for_driver(number, visible);
        assert_eq!(name(1, None).as_deref(), Some("1"));
        assert_eq!(name(0, Some("3")).as_deref(), Some("3"));
        assert_eq!(name(1, Some("2, GPU-5f")).as_deref(), Some("GPU-5f"));
        assert_eq!(name(1, Some("3")), None);
        assert_eq!(name(0, Some("")), None);
    }

    #[test]
    fn the_processor_has_no_memory_of_a_gpu() {
        assert_eq!(GpuMemory::watch("flex").stop(), None);
        assert_eq!(gpu_name("flex"), None);
    }
}
