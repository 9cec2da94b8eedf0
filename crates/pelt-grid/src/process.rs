//! One process of `pelt`, with its output in files and a limit to its time.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::GridError;

/// How often a process is asked whether it has ended.
const POLL: Duration = Duration::from_millis(50);

/// The program and what all of its runs share.
#[derive(Debug, Clone)]
pub struct Pelt {
    /// The program.
    pub program: PathBuf,
    /// Threads that a run computes on; all cores if `None`.
    pub threads: Option<usize>,
}

impl Pelt {
    /// Runs a subcommand to its end: standard output goes to the file `output`, messages to the end of the file `log`. The process
    /// reads from `hold`, an empty file, and so keeps its lock even when this process is killed.
    ///
    /// # Errors
    /// If it cannot be started, takes longer than `limit`, or fails; then with what it said last.
    pub fn run(
        &self,
        arguments: &[String],
        output: &Path,
        log: &Path,
        hold: Stdio,
        limit: Option<Duration>,
    ) -> Result<(), GridError> {
        let failed = |message: String| GridError::Pelt {
            command: arguments.first().cloned().unwrap_or_default(),
            message,
        };
        let out =
            File::create(output).map_err(|error| GridError::io(output, "be written", error))?;
        let messages = OpenOptions::new().create(true).append(true).open(log);
        let messages = messages.map_err(|error| GridError::io(log, "be written", error))?;
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .stdin(hold)
            .stdout(out)
            .stderr(messages);
        if let Some(threads) = self.threads {
            // LibTorch takes the second and the third.
            for name in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
                command.env(name, threads.to_string());
            }
        }
        let mut child = command
            .spawn()
            .map_err(|error| GridError::io(&self.program, "be started", error))?;
        let started = Instant::now();
        loop {
            let status = child
                .try_wait()
                .map_err(|error| GridError::io(&self.program, "be waited for", error))?;
            if let Some(status) = status {
                return match status.success() {
                    true => Ok(()),
                    false => Err(failed(format!("{} ({status})", last_line(log)))),
                };
            }
            if let Some(limit) = limit.filter(|limit| started.elapsed() > *limit) {
                // It may have ended in between; then there is nothing to kill.
                let _ = child.kill();
                let _ = child.wait();
                let minutes = limit.as_secs_f64() / 60.0;
                return Err(failed(format!(
                    "it was stopped after {minutes:.1} minutes, the plan's cell_minutes"
                )));
            }
            std::thread::sleep(POLL);
        }
    }
}

/// What a program that failed said last.
fn last_line(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    // A progress bar rewrites its line.
    let line = text
        .split(['\n', '\r'])
        .rev()
        .find(|line| !line.trim().is_empty());
    let line = line.unwrap_or("it said nothing").trim();
    line.strip_prefix("error: ").unwrap_or(line).to_string()
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn run(script: &str, limit: Option<Duration>) -> (Result<(), GridError>, String) {
        let folder = tempfile::tempdir().unwrap();
        let [output, log] = ["out", "log"].map(|name| folder.path().join(name));
        let shell = Pelt {
            program: "/bin/sh".into(),
            threads: Some(3),
        };
        let arguments = ["-c".to_string(), script.to_string()];
        let result = shell.run(&arguments, &output, &log, Stdio::null(), limit);
        (result, std::fs::read_to_string(output).unwrap())
    }

    #[test]
    fn output_is_kept_and_threads_are_told() {
        let (result, output) = run("echo $RAYON_NUM_THREADS; echo note >&2", None);
        result.unwrap();
        assert_eq!(output, "3\n");
    }

    #[test]
    fn of_a_failure_the_last_message_is_told() {
        let (result, _) = run("printf 'error: no such file\\n\\n' >&2; exit 2", None);
        let message = result.unwrap_err().to_string();
        assert!(
            message.contains("failed: no such file (exit status: 2)"),
            "{message}"
        );
    }

    #[test]
    fn a_process_that_takes_too_long_is_stopped() {
        let started = Instant::now();
        let (result, _) = run("exec sleep 60", Some(Duration::from_millis(200)));
        let message = result.unwrap_err().to_string();
        assert!(message.contains("cell_minutes"), "{message}");
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}
