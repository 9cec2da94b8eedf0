//! Loops on all threads, handed over without waking anybody.
//!
//! rayon lets a thread sleep as soon as it finds nothing to do, and a training step has hundreds of loops that take less
//! time than waking a thread does. Here the other threads of the pool stay for a moment after a loop and watch for the
//! next one. To rayon they are busy meanwhile, so no more threads run than the pool has.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rayon::prelude::*;

/// How long a thread watches for the next loop.
const PATIENCE: Duration = Duration::from_micros(500);

/// How long a thread watches at most before it looks for other work of the pool.
const STAY: Duration = Duration::from_millis(5);

/// Looks at the place between two looks at the clock.
const LOOKS: usize = 64;

thread_local! {
    /// Whether this thread works on one of several pieces that keep all threads busy already.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// How many threads a loop that starts here runs on.
pub(crate) fn threads() -> usize {
    match ALONE.get() {
        true => 1,
        false => rayon::current_num_threads(),
    }
}

/// What `work` makes of every piece, in the order of the pieces. Several pieces are worked on at the same time. If they keep
/// all threads busy, loops of this module run on the calling thread inside `work`.
pub(crate) fn side_by_side<I: Send, O: Send>(
    pieces: Vec<I>,
    work: impl Fn(I) -> O + Sync,
) -> Vec<O> {
    if pieces.len() <= 1 {
        return pieces.into_iter().map(work).collect();
    }
    let pieces: Vec<_> = pieces.into_iter().map(|p| Mutex::new(Some(p))).collect();
    let made: Vec<_> = pieces.iter().map(|_| Mutex::new(None)).collect();
    let enough = pieces.len() >= threads();
    for_each(pieces.len(), |number| {
        let _alone = enough.then(Alone::start);
        let piece = lock(&pieces[number]).take();
        *lock(&made[number]) = piece.map(&work);
    });
    let made = made.into_iter().map(Mutex::into_inner);
    made.filter_map(|made| made.unwrap_or_else(PoisonError::into_inner))
        .collect()
}

/// Marks this thread as working alone until dropped, which a panic does too.
struct Alone {
    before: bool,
}

impl Alone {
    fn start() -> Self {
        Self {
            before: ALONE.replace(true),
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        ALONE.set(self.before);
    }
}

fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `work(number)` for each number below `count`, on all threads.
pub(crate) fn for_each(count: usize, work: impl Fn(usize) + Sync) {
    for_each_with(count, || (), |(), number| work(number));
}

/// Calls `work(state, number)` for each number below `count`, on all threads, each of which makes a state of its own.
pub(crate) fn for_each_with<S>(
    count: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) + Sync,
) {
    let threads = threads();
    if count <= 1 || threads <= 1 {
        let mut state = state();
        return (0..count).for_each(|number| work(&mut state, number));
    }
    // Another loop is running: this one is inside it, or belongs to another thread of the program.
    if BUSY.swap(true, SeqCst) {
        return (0..count)
            .into_par_iter()
            .for_each_init(&state, |state, number| work(state, number));
    }
    let next = AtomicUsize::new(0);
    let drain = || {
        let mut own = None;
        loop {
            let number = next.fetch_add(1, SeqCst);
            if number >= count {
                return;
            }
            work(own.get_or_insert_with(&state), number);
        }
    };
    run(&drain, threads - 1);
}

/// What a loop has each thread do: take numbers until there are none left.
struct Loop<'a> {
    drain: &'a (dyn Fn() + Sync),
    /// What another thread panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Whether a loop is running; whoever sets it owns [`PLACE`] until setting it back.
static BUSY: AtomicBool = AtomicBool::new(false);
/// The loop that others may join, or null.
static PLACE: AtomicPtr<Loop<'static>> = AtomicPtr::new(ptr::null_mut());
/// How many loops there have been.
static TURN: AtomicUsize = AtomicUsize::new(0);
/// How many threads may be reading what [`PLACE`] points to.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// How many threads watch.
static WATCHERS: AtomicUsize = AtomicUsize::new(0);

/// Runs `drain` here and on the threads that watch; the caller has set [`BUSY`].
fn run(drain: &(dyn Fn() + Sync), others: usize) {
    for _ in WATCHERS.load(SeqCst)..others {
        WATCHERS.fetch_add(1, SeqCst);
        rayon::spawn(watch);
    }
    let this = Loop {
        drain,
        panic: Mutex::new(None),
    };
    PLACE.store(ptr::from_ref(&this).cast_mut().cast(), SeqCst);
    TURN.fetch_add(1, SeqCst);
    let own = catch_unwind(AssertUnwindSafe(drain));
    // From here on nobody enters, and who is inside has raised `INSIDE` before reading `PLACE`.
    PLACE.store(ptr::null_mut(), SeqCst);
    let mut looks = 0;
    while INSIDE.load(SeqCst) > 0 {
        looks += 1;
        match looks % LOOKS {
            0 => std::thread::yield_now(),
            _ => std::hint::spin_loop(),
        }
    }
    BUSY.store(false, SeqCst);
    let other = this.panic.into_inner().unwrap_or_default();
    if let Some(panic) = own.err().or(other) {
        resume_unwind(panic);
    }
}

/// Joins loops until there has been none for [`PATIENCE`], and for [`STAY`] at most.
fn watch() {
    let start = Instant::now();
    let (mut seen, mut last) = (0, start);
    loop {
        for _ in 0..LOOKS {
            let turn = TURN.load(SeqCst);
            if turn != seen {
                seen = turn;
                join();
                last = Instant::now();
            }
            std::hint::spin_loop();
        }
        let now = Instant::now();
        if now - last > PATIENCE || now - start > STAY {
            break;
        }
        std::thread::yield_now();
    }
    WATCHERS.fetch_sub(1, SeqCst);
}

#[allow(unsafe_code)]
fn join() {
    INSIDE.fetch_add(1, SeqCst);
    let place = PLACE.load(SeqCst);
    if !place.is_null() {
        // SAFETY: `run` does not return, and what it put there lives, while `INSIDE` is above zero: it sets `PLACE` to
        // null before it reads `INSIDE`, and here `INSIDE` was raised before `PLACE` was read.
        let current = unsafe { &*place };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(current.drain))
            && let Ok(mut place) = current.panic.lock()
        {
            *place = Some(panic);
        }
    }
    INSIDE.fetch_sub(1, SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    }

    #[test]
    fn every_number_is_worked_on_once() {
        for threads in [1, 2, 5] {
            pool(threads).install(|| {
                for round in 0..2000 {
                    let counts: Vec<AtomicUsize> =
                        (0..round % 17).map(|_| AtomicUsize::new(0)).collect();
                    for_each(counts.len(), |number| {
                        counts[number].fetch_add(1, SeqCst);
                    });
                    assert!(counts.iter().all(|count| count.load(SeqCst) == 1));
                }
            });
        }
    }

    #[test]
    fn pieces_side_by_side_have_their_loops_to_themselves() {
        pool(3).install(|| {
            let made = side_by_side((0..20).collect(), |number: usize| {
                let thread = std::thread::current().id();
                let total = AtomicUsize::new(0);
                for_each(50, |_| {
                    assert_eq!(std::thread::current().id(), thread);
                    total.fetch_add(number, SeqCst);
                });
                assert_eq!(threads(), 1);
                total.into_inner()
            });
            assert_eq!(made, (0..20).map(|number| number * 50).collect::<Vec<_>>());
            assert_eq!(threads(), 3);
        });
    }

    #[test]
    fn after_a_panic_in_a_piece_all_threads_are_there_again() {
        pool(2).install(|| {
            let result = catch_unwind(|| side_by_side(vec![1, 2, 3], |n| assert!(n != 2)));
            assert!(result.is_err());
            assert_eq!(threads(), 2);
        });
    }

    #[test]
    fn loops_inside_loops_and_beside_loops_run_as_well() {
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        for_each(4, |_| {
                            for_each(5, |_| {
                                total.fetch_add(1, SeqCst);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 3 * 50 * 20);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_next_loop_runs() {
        pool(3).install(|| {
            for _ in 0..20 {
                let result = catch_unwind(|| for_each(64, |number| assert!(number != 40)));
                assert!(result.is_err());
                let count = AtomicUsize::new(0);
                for_each(64, |_| {
                    count.fetch_add(1, SeqCst);
                });
                assert_eq!(count.into_inner(), 64);
            }
        });
    }

    #[test]
    fn other_work_of_the_pool_gets_its_turn() {
        let pool = pool(2);
        static DONE: AtomicBool = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pool.install(|| {
                    let start = Instant::now();
                    while !DONE.load(SeqCst) && start.elapsed() < Duration::from_secs(20) {
                        for_each(8, |_| std::hint::spin_loop());
                    }
                });
            });
            std::thread::sleep(Duration::from_millis(5));
            pool.spawn(|| DONE.store(true, SeqCst));
        });
        assert!(DONE.load(SeqCst));
    }
}
