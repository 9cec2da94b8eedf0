//! Where and when a measurement was made.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// The load from which on other programs disturb what is measured.
const BUSY: f64 = 0.5;

/// The machine, the day and the command.
#[derive(Debug, Clone)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    /// Programs that wanted a core in the last minute, when the command started.
    pub load: Option<f64>,
    /// `year-month-day`, UTC.
    pub date: String,
    pub command: String,
}

impl Machine {
    pub fn here() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let words: Vec<String> = std::env::args().skip(1).collect();
        Self {
            cpu: pelt_grid::cpu_name(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load: load(&std::fs::read_to_string("/proc/loadavg").unwrap_or_default()),
            date: date(now.as_secs() / 86_400),
            command: format!("cargo xtask {}", words.join(" ")),
        }
    }

    pub fn warn_if_busy(&self) {
        if self.load.is_some_and(|load| load > BUSY) {
            println!("other programs are running: these numbers will not be comparable");
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "cpu": self.cpu,
            "cores": self.cores,
            "load": self.load,
            "date": self.date,
            "command": self.command,
        })
    }
}

fn load(averages: &str) -> Option<f64> {
    averages.split_whitespace().next()?.parse().ok()
}

/// The date of a number of days after 1970-01-01.
fn date(mut days: u64) -> String {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_since_1970_are_dates() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (364, "1970-12-31"),
            (11_016, "2000-02-29"),
            (20_454, "2026-01-01"),
        ] {
            assert_eq!(date(days), expected);
        }
    }

    #[test]
    fn the_system_names_its_load() {
        assert_eq!(load("0.25 1.00 2.00 1/100 7\n"), Some(0.25));
        assert_eq!(load(""), None);
    }
}
