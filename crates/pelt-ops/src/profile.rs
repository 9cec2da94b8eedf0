//! Where the time of a step goes, operation by operation.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The direction of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Computing the output.
    Forward,
    /// Computing gradients.
    Backward,
}

/// What one operation took since the last [`take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Name of the operation.
    pub name: &'static str,
    /// Forward or backward.
    pub direction: Direction,
    /// Number of calls.
    pub calls: usize,
    /// Time on the clock, all calls together.
    pub elapsed: Duration,
}

type Totals = BTreeMap<(&'static str, Direction), (usize, Duration)>;

static TOTALS: Mutex<Totals> = Mutex::new(BTreeMap::new());

/// Everything measured since the last call, the longest first. Only the kernels are measured: what is missing of a
/// step's time went into the tensor library's own operations and into bookkeeping.
pub fn take() -> Vec<Entry> {
    let totals = std::mem::take(&mut *lock());
    let mut entries: Vec<Entry> = totals
        .into_iter()
        .map(|((name, direction), (calls, elapsed))| Entry {
            name,
            direction,
            calls,
            elapsed,
        })
        .collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.elapsed));
    entries
}

/// Runs `work` and adds its time to that of the operation `O`.
pub(crate) fn measured<O, T>(direction: Direction, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let elapsed = start.elapsed();
    let path = std::any::type_name::<O>();
    let name = path.rsplit("::").next().unwrap_or(path);
    let mut totals = lock();
    let total = totals.entry((name, direction)).or_default();
    total.0 += 1;
    total.1 += elapsed;
    result
}

fn lock() -> std::sync::MutexGuard<'static, Totals> {
    TOTALS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
