//! Progress on standard error: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use pelt_train::{EvaluationReport, Observer, StepReport};

use crate::interrupt::Interrupt;
use crate::talk::{self, Volume};

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A first step of so many seconds is worth a word.
const LONG_START: f64 = 5.0;

/// Shows steps and evaluations.
pub struct Progress {
    interrupt: Interrupt,
    bar: Option<ProgressBar>,
    last_line: Instant,
    /// Tokens a second, and seconds a step; those of the first step only until there is a second one.
    speed: f64,
    step: f64,
    steps: usize,
}

impl Progress {
    /// For a run in this folder.
    pub fn new(folder: &Path) -> Result<Self> {
        let with_bar = std::io::stderr().is_terminal() && talk::volume() == Volume::Normal;
        let bar = with_bar.then(|| {
            let bar = ProgressBar::new(0);
            let style = "{bar:30} {pos}/{len} steps  {msg}";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar
        });
        Ok(Self {
            interrupt: Interrupt::listen(folder)?,
            bar,
            last_line: Instant::now(),
            speed: 0.0,
            step: 0.0,
            steps: 0,
        })
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => talk::say(line),
        }
    }
}

impl Observer for Progress {
    fn is_interrupted(&self) -> bool {
        self.interrupt.is_asked()
    }

    fn on_step(&mut self, report: &StepReport) {
        let tokens = report.tokens as f64 / report.seconds.max(1e-9);
        self.steps += 1;
        // Before the second step that of the first one alone.
        if self.steps == 2 && self.step > LONG_START.max(5.0 * report.seconds) {
            self.say(&format!(
                "the first step took {}, most of it to prepare the device's programs; the second one {:.1} s",
                duration(self.step),
                report.seconds
            ));
        }
        // A moving average: one long batch should not move the estimate. A device that makes its programs in the first step
        // says nothing by it about the others.
        let kept = if self.steps <= 2 { 0.0 } else { 0.95 };
        self.speed = self.speed * kept + tokens * (1.0 - kept);
        self.step = self.step * kept + report.seconds * (1.0 - kept);
        let left = (report.total_steps - report.step) as f64;
        let message = format!(
            "loss {:.4}  lr {:.2e}  {:.0} tokens/s  {} left",
            report.loss,
            report.learning_rate,
            self.speed,
            duration(self.step * left)
        );
        if let Some(bar) = &self.bar {
            bar.set_length(report.total_steps as u64);
            bar.set_position(report.step as u64);
            bar.set_message(message);
        } else if talk::volume() == Volume::Verbose || self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            talk::say(format!(
                "step {}/{}  {message}",
                report.step, report.total_steps
            ));
        }
    }

    fn on_evaluation(&mut self, report: &EvaluationReport) {
        let values: Vec<String> = report
            .values
            .iter()
            .map(|(name, value)| format!("{name} {value:.4}"))
            .collect();
        let best = if report.best { "  (best so far)" } else { "" };
        self.say(&format!(
            "epoch {}: {}{best}",
            report.epoch,
            values.join("  ")
        ));
        for warning in &report.warnings {
            match &self.bar {
                Some(bar) => bar.suspend(|| talk::warn(warning)),
                None => talk::warn(warning),
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `1 h 02 min`, `3 min 20 s` or `12 s`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}
