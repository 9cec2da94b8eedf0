//! What was found, as tables.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::plan::Job;
use crate::bench::machine::Machine;
use crate::bench::program::Report;
use crate::bench::table::{ABSENT, cell, table};
use crate::parity::report::{Line, lines};

/// Everything that a run found.
pub struct Check {
    pub machine: Machine,
    /// The GPU, where NVIDIA's driver names one.
    pub gpu: Option<String>,
    pub commit: Option<String>,
    /// Versions of the other side.
    pub versions: Vec<(String, String)>,
    pub parity: Vec<Line>,
    /// The products alone, by shape, batch and side.
    pub ceilings: BTreeMap<(String, usize, String), Report>,
    pub steps: Vec<Measured>,
}

/// A measurement of one side.
pub struct Measured {
    pub job: Job,
    pub side: String,
    /// What it printed, nothing where it lacks the method or the precision, or why it failed.
    pub report: Result<Option<Report>, String>,
    /// MiB of the GPU.
    pub memory: Option<u64>,
}

impl Measured {
    /// For the terminal.
    pub fn line(&self) -> String {
        let Job {
            shape,
            method,
            batch,
            length,
            precision,
        } = &self.job;
        let found = match &self.report {
            Ok(None) => "not there".to_string(),
            Ok(Some(report)) => format!(
                "{} ms a step, the first {} ms",
                cell(report.number("median_ms")),
                cell(report.number("first_ms"))
            ),
            Err(why) => format!("failed: {why}"),
        };
        format!(
            "{shape} {method} {batch} x {length} {precision} on {}: {found}",
            self.side
        )
    }

    fn number(&self, field: &str) -> Option<f64> {
        self.report.as_ref().ok()?.as_ref()?.number(field)
    }
}

impl Check {
    pub fn failures(&self) -> usize {
        let runs = self
            .steps
            .iter()
            .filter(|step| step.report.is_err())
            .count();
        runs + self.parity.iter().filter(|line| line.is_failure()).count()
    }

    pub fn json(&self) -> Value {
        let steps = self.steps.iter().map(|step| {
            let (report, error) = match &step.report {
                Ok(Some(report)) => (report.0.clone(), Value::Null),
                Ok(None) => (Value::Null, Value::Null),
                Err(why) => (Value::Null, json!(why)),
            };
            json!({
                "shape": step.job.shape,
                "method": step.job.method,
                "batch": step.job.batch,
                "length": step.job.length,
                "precision": step.job.precision,
                "side": step.side,
                "report": report,
                "error": error,
                "gpu_memory_mib": step.memory,
            })
        });
        let ceilings = self.ceilings.iter().map(|((shape, batch, side), report)| {
            json!({"shape": shape, "batch": batch, "side": side, "report": report.0})
        });
        json!({
            "machine": self.machine.json(),
            "gpu": self.gpu,
            "commit": self.commit,
            "versions": self.versions.iter().cloned().collect::<BTreeMap<_, _>>(),
            "ceilings": ceilings.collect::<Vec<_>>(),
            "steps": steps.collect::<Vec<_>>(),
        })
    }

    /// The fastest products of any side at a shape and a batch, in GFLOP/s.
    fn ceiling(&self, job: &Job) -> Option<f64> {
        let at_job = self
            .ceilings
            .iter()
            .filter(|((shape, batch, _), _)| (shape, batch) == (&job.shape, &job.batch));
        at_job
            .filter_map(|(_, report)| report.number("gflops"))
            .max_by(f64::total_cmp)
    }

    /// Operations of a step. Our side counts them; the work of the other one is the same.
    fn flops(&self, job: &Job) -> Option<f64> {
        let mut of_job = self.steps.iter().filter(|step| step.job == *job);
        of_job.find_map(|step| Some(step.number("flops_forward")? + step.number("flops_backward")?))
    }

    /// The other side's time for the same step.
    fn theirs(&self, job: &Job) -> Option<f64> {
        let of_job = self.steps.iter().filter(|step| step.job == *job);
        of_job
            .filter(|step| step.side == super::run::PYTORCH)
            .find_map(|step| step.number("median_ms"))
    }
}

/// The report.
pub fn markdown(check: &Check) -> String {
    let machine = &check.machine;
    let mut versions = vec![format!("pelt {}", env!("CARGO_PKG_VERSION"))];
    versions.extend(
        check
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}")),
    );
    let mut out = format!(
        "# GPU check\n\n- GPU: {}\n- processor: {}, {} cores\n- date: {}\n- command: `{}`\n- commit: {}\n- versions: {}\n",
        check.gpu.as_deref().unwrap_or("none of NVIDIA's"),
        machine.cpu,
        machine.cores,
        machine.date,
        machine.command,
        check.commit.as_deref().unwrap_or("unknown"),
        versions.join(", "),
    );
    if !check.parity.is_empty() {
        out.push_str("\n## Recorded runs\n\n");
        out.push_str(&lines(&check.parity));
    }
    if !check.steps.is_empty() {
        out.push_str("\n## Training steps\n\nForward, backward, clipping and AdamW with dropout, on made-up tokens of equal length. The ceiling is \
            the fastest that any side multiplied the linear layers' shapes at this batch, in bf16 where a device has it.\n\n");
        out.push_str(&steps(check));
    }
    out
}

fn steps(check: &Check) -> String {
    let header = [
        "encoder",
        "method",
        "batch",
        "precision",
        "on",
        "first step (ms)",
        "step (ms)",
        "of PyTorch's",
        "sequences/s",
        "tokens/s",
        "of the ceiling",
        "GPU memory (MiB)",
    ];
    let rows: Vec<Vec<String>> = check.steps.iter().map(|step| row(check, step)).collect();
    table(&header, &rows)
}

fn row(check: &Check, step: &Measured) -> Vec<String> {
    let job = &step.job;
    let median = step.number("median_ms");
    let of_theirs = median
        .zip(check.theirs(job))
        .map(|(ours, theirs)| ours / theirs);
    let share = || Some(check.flops(job)? / (median? * 1e6) / check.ceiling(job)?);
    let mut row = vec![
        job.shape.clone(),
        job.method.clone(),
        format!("{} x {}", job.batch, job.length),
        job.precision.clone(),
        step.side.clone(),
        cell(step.number("first_ms")),
    ];
    row.push(match &step.report {
        Ok(Some(_)) => cell(median),
        Ok(None) => "not there".to_string(),
        Err(why) => format!("failed: {}", why.replace('|', "/")),
    });
    row.extend([
        cell(of_theirs),
        cell(step.number("sequences_per_s")),
        cell(step.number("tokens_per_s")),
        share().map_or(ABSENT.to_string(), |share: f64| {
            format!("{:.1} %", 100.0 * share)
        }),
        cell(step.memory.map(|mib| mib as f64)),
    ]);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_set_beside_the_other_side_and_the_fastest_products() {
        let job = Job {
            shape: "minilm".into(),
            method: "full".into(),
            batch: 2,
            length: 8,
            precision: "bf16".into(),
        };
        let measured = |side: &str, report| Measured {
            job: job.clone(),
            side: side.into(),
            report,
            memory: Some(10),
        };
        let ours = json!({"median_ms": 2.0, "first_ms": 900.0, "flops_forward": 1e9, "flops_backward": 3e9});
        let key = |side: &str| ("minilm".to_string(), 2, side.to_string());
        let product = |gflops: f64| Report(json!({"gflops": gflops}));
        let check = Check {
            machine: Machine::here(),
            gpu: None,
            commit: None,
            versions: vec![],
            parity: vec![],
            ceilings: BTreeMap::from([
                (key("cuda:0"), product(4000.0)),
                (key("PyTorch"), product(8000.0)),
            ]),
            steps: vec![
                measured("cuda:0", Ok(Some(Report(ours)))),
                measured("PyTorch", Ok(Some(Report(json!({"median_ms": 4.0}))))),
                measured("wgpu:0", Ok(None)),
                measured("vulkan:0", Err("no such device".into())),
            ],
        };
        let text = markdown(&check);
        for line in [
            "| minilm | full | 2 x 8 | bf16 | cuda:0 | 900 | 2 | 0.50 | – | – | 25.0 % | 10 |",
            "| minilm | full | 2 x 8 | bf16 | PyTorch | – | 4 | 1 | – | – | 12.5 % | 10 |",
            "failed: no such device",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert_eq!(check.failures(), 1);
    }
}
