//! How long each operation takes, as a kernel and in burn primitives, at the sizes of all-MiniLM-L6-v2.
//!
//! `cargo bench -p pelt-ops --features flex` runs all of them. `-- attention` after it runs those with `attention` in
//! their name, and `-- 32.x.64.*kernels` the kernels on one batch; `--sample-count N` sets how often each is run.

mod attention;
mod cases;
mod linear;
mod methods;
mod rows;
mod update;

/// Enough for a median; all operations together then take a minute or two on two cores.
const SAMPLES: u32 = 20;

fn main() {
    // As programs that train do.
    pelt_ops::keep_freed_memory();
    divan::Divan::default()
        .sample_count(SAMPLES)
        // One run for each sample: every run is long beside the precision of the clock.
        .sample_size(1)
        .config_with_args()
        .main();
}
