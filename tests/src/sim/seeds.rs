//! Running many seeds side by side, and telling which of them fail.

use std::collections::BTreeSet;
use std::panic::{UnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

/// The number in an environment variable.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed; a panic is a failure like any other.
pub fn caught<T>(run: impl FnOnce() -> Result<T> + UnwindSafe) -> Result<T, String> {
    match catch_unwind(run) {
        Ok(done) => done.map_err(|error| format!("{error:#}")),
        Err(panic) => Err(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "panic".to_owned())),
    }
}

/// Runs the seeds below `seeds` on two threads. Gives back those that failed, and everything that happened in the others.
pub fn run_all(
    seeds: u64,
    try_seed: impl Fn(u64) -> Result<BTreeSet<String>, String> + Sync,
) -> (BTreeSet<u64>, BTreeSet<String>) {
    let next = AtomicU64::new(0);
    let worker = || {
        let (mut failed, mut seen) = (BTreeSet::new(), BTreeSet::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return (failed, seen);
            }
            match try_seed(seed) {
                Ok(happened) => seen.extend(happened),
                Err(error) => {
                    println!("seed {seed}: {error}");
                    failed.insert(seed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(worker);
        let (mut failed, mut seen) = worker();
        let (failed_there, seen_there) = other.join().expect("panics are caught");
        failed.extend(failed_there);
        seen.extend(seen_there);
        (failed, seen)
    })
}
