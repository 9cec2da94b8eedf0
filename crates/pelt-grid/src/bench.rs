//! Running the cells of a plan on this machine.

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pelt_tensors::write_atomically;

use crate::lock::open_lock;
use crate::run::{finished, run_cell};
use crate::{Cell, Failure, GridError, Plan, Record, Setup, available_memory_mib, finals, trials};

/// Memory that the first cells are thought to need, in MiB.
const FIRST_GUESS: u64 = 1024;

/// How long a cell may take to have all the memory that it needs.
const GROWING: Duration = Duration::from_secs(60);

/// How often a cell that waits for memory looks again.
const WAIT: Duration = Duration::from_secs(1);

/// Name of the plan in a results folder.
pub const PLAN_FILE: &str = "plan.toml";

/// What came of a bench.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Cells with a record, of this and of earlier runs.
    pub finished: usize,
    /// Cells without one.
    pub failed: Vec<Failure>,
    /// Cells that were not begun before the time was up.
    pub left: usize,
}

/// The lock of a results folder, held as long as this lives.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// Takes the lock of a folder, which is made if it is not there.
    ///
    /// # Errors
    /// If another process has it.
    pub fn take(results: &Path) -> Result<Self, GridError> {
        std::fs::create_dir_all(results)
            .map_err(|error| GridError::io(results, "be created", error))?;
        let (path, file) = open_lock(results)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(GridError::Locked {
                path: results.to_path_buf(),
            }),
            Err(TryLockError::Error(error)) => Err(GridError::io(&path, "be locked", error)),
        }
    }
}

/// Keeps the plan beside its results.
///
/// # Errors
/// If it cannot be written.
pub fn write_plan(plan: &Plan, results: &Path) -> Result<(), GridError> {
    let path = results.join(PLAN_FILE);
    let text = toml::to_string(plan).map_err(|error| GridError::file(&path, error))?;
    write_atomically(&path, text.as_bytes()).map_err(|error| GridError::file(&path, error))
}

/// Runs all cells of a plan that have no record yet: first every learning rate with the first seed, then the best ones with the
/// others. A cell that fails does not stop the rest. After `deadline` no cell is begun. `encoder` is what [`Setup::fetch_model`]
/// gave.
///
/// # Errors
/// If a record cannot be read, or was made with other settings or another encoder.
pub fn run_all(
    plan: &Plan,
    results: &Path,
    setup: &Setup,
    encoder: &str,
    deadline: Option<Instant>,
    say: &(dyn Fn(String) + Sync),
) -> Result<Outcome, GridError> {
    let bench = Bench {
        plan,
        results,
        setup,
        encoder,
        deadline,
        say,
        state: Mutex::default(),
    };
    let tried = trials(plan);
    let all = tried.len() + finals(plan).len();
    bench.state().total = all;
    bench.run_phase(tried)?;
    if bench.state().queue.is_empty() {
        bench.run_phase(bench.finals())?;
    }
    let state = bench
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(Outcome {
        finished: state.records.len(),
        left: all - state.records.len() - state.failed.len(),
        failed: state.failed,
    })
}

/// A bench at work.
struct Bench<'a> {
    plan: &'a Plan,
    results: &'a Path,
    setup: &'a Setup,
    encoder: &'a str,
    deadline: Option<Instant>,
    say: &'a (dyn Fn(String) + Sync),
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Cell>,
    running: usize,
    /// When cells were begun that may not have taken all their memory yet.
    begun: Vec<Instant>,
    records: Vec<Record>,
    failed: Vec<Failure>,
    total: usize,
}

impl Bench<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_phase(&self, cells: Vec<Cell>) -> Result<(), GridError> {
        for cell in cells {
            match finished(&cell, self.plan, self.results, self.encoder)? {
                Some(record) => self.state().records.push(record),
                None => self.state().queue.push_back(cell),
            }
        }
        std::thread::scope(|scope| {
            for _ in 0..self.setup.jobs.max(1) {
                scope.spawn(|| self.work());
            }
        });
        Ok(())
    }

    /// Runs one cell after another.
    fn work(&self) {
        while let Some(cell) = self.next() {
            let started = Instant::now();
            let outcome = run_cell(&cell, self.plan, self.results, self.setup);
            let mut state = self.state();
            state.running -= 1;
            let line = match outcome {
                Ok(record) => {
                    let line = format!(
                        "{} {:.4} on {}, in {:.0} s",
                        record.metric,
                        record.score(),
                        record.reported.first().map_or("", |scored| &scored.set),
                        started.elapsed().as_secs_f64()
                    );
                    state.records.push(record);
                    line
                }
                Err(error) => {
                    let message = error.to_string();
                    let line = format!("failed: {message}");
                    self.fail(&mut state, cell.clone(), message);
                    line
                }
            };
            let done = state.records.len() + state.failed.len();
            (self.say)(format!("[{done}/{}] {}: {line}", state.total, cell.id()));
        }
    }

    /// The next cell, once there is memory for it.
    fn next(&self) -> Option<Cell> {
        loop {
            let mut state = self.state();
            if self
                .deadline
                .is_some_and(|deadline| Instant::now() > deadline)
            {
                return None;
            }
            if state.queue.is_empty() {
                return None;
            }
            state.begun.retain(|begun| begun.elapsed() < GROWING);
            let (growing, available) = (state.begun.len() as u64, available_memory_mib());
            if state.running == 0 || enough_memory(&state.records, growing, available) {
                state.running += 1;
                state.begun.push(Instant::now());
                return state.queue.pop_front();
            }
            drop(state);
            std::thread::sleep(WAIT);
        }
    }

    fn fail(&self, state: &mut State, cell: Cell, message: String) {
        let failure = Failure { cell, message };
        let folder = failure.cell.folder(self.results);
        if let Err(error) = failure.write(&folder) {
            (self.say)(format!("{error}"));
        }
        state.failed.push(failure);
    }

    /// The cells of the other seeds; those without a learning rate have failed already.
    fn finals(&self) -> Vec<Cell> {
        let mut state = self.state();
        let mut cells = Vec::new();
        for wanted in finals(self.plan) {
            match wanted.cell(self.plan, &state.records) {
                Some(cell) => cells.push(cell),
                None => {
                    let cell = Cell {
                        task: wanted.task,
                        method: wanted.method,
                        learning_rate: f64::NAN,
                        seed: wanted.seed,
                    };
                    state.failed.push(Failure {
                        cell,
                        message: "every trial failed, so that there is no learning rate".into(),
                    });
                }
            }
        }
        cells
    }
}

/// Whether another cell may start beside those that run: as much memory as the largest one took, and a fifth more, for it and for
/// those that have not taken theirs yet.
fn enough_memory(records: &[Record], growing: u64, available: Option<u64>) -> bool {
    let peaks = records
        .iter()
        .filter_map(|record| record.cost.peak_memory_mib);
    let needed = peaks.max().unwrap_or(FIRST_GUESS);
    let needed = (needed + needed / 5) * (growing + 1);
    available.is_none_or(|available| available > needed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;

    #[test]
    fn only_one_bench_writes_to_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        let message = Lock::take(folder.path()).unwrap_err().to_string();
        assert!(message.contains("another bench"), "{message}");
        drop(lock);
        Lock::take(folder.path()).unwrap();
    }

    #[test]
    fn a_plan_comes_back_from_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        for suite in ["glue", "domain", "squad", "low-resource", "smoke"] {
            let plan = Plan::suite(suite).unwrap();
            write_plan(&plan, folder.path()).unwrap();
            assert_eq!(Plan::read(&folder.path().join(PLAN_FILE)).unwrap(), plan);
        }
    }

    #[test]
    fn memory_is_judged_by_what_cells_took() {
        let records = [record("mrpc", "full", 1e-4, 42, 0.5)];
        assert!(enough_memory(&records, 0, Some(361)));
        assert!(!enough_memory(&records, 0, Some(360)));
        assert!(enough_memory(&records, 2, Some(1081)));
        assert!(!enough_memory(&records, 2, Some(1080)));
        assert!(!enough_memory(&[], 0, Some(1200)));
        assert!(enough_memory(&[], 3, None));
    }
}
