//! Memory of this process, where the system tells.

/// The largest resident set so far, in MiB.
pub fn peak_memory_mib() -> Option<u64> {
    of_status("VmHWM:")
}

/// The resident set now, in MiB.
pub(crate) fn resident_memory_mib() -> Option<u64> {
    of_status("VmRSS:")
}

fn of_status(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    kib(&status, key).map(|kib| kib / 1024)
}

fn kib(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_status_gives_its_number() {
        let status = "Name:\tx\nVmHWM:\t  204800 kB\nVmRSS:\t  1024 kB\n";
        assert_eq!(kib(status, "VmHWM:"), Some(204800));
        assert_eq!(kib(status, "VmSwap:"), None);
    }
}
