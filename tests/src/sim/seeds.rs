//! Running many seeds side by side, and telling which of them fail.

use std::collections::BTreeSet;
use std::panic::{UnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

/// The number in an environment variable.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed; a panic is a failure like any other.
pub fn caught<T>(run: impl FnOnce() -> Result<T> + UnwindSafe) -> Result<T, String> {
    match catch_unwind(run) {
        Ok(done) => done.map_err(|error| format!("{error:#}")),
        Err(panic) => Err(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "panic".to_owned())),
    }
}

/// Runs the seeds of a test, as many as are usual or as `STRIMZI_BACKUP_SEEDS` says; `test` is what cargo calls it. None may fail, and
/// in as many as are usual all of `wanted` must have happened. Of `STRIMZI_BACKUP_SEED` alone it is told what happens.
pub fn check(
    test: &str,
    usual: u64,
    wanted: &[&str],
    try_seed: impl Fn(u64) -> Result<BTreeSet<String>, String> + Sync,
) {
    if let Some(seed) = number("STRIMZI_BACKUP_SEED") {
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).without_time().with_test_writer();
        // Another test of the same program may have begun it.
        let _ = log.try_init();
        let error = try_seed(seed).err();
        assert!(error.is_none(), "seed {seed}: {}", error.unwrap_or_default());
        return;
    }
    let seeds = number("STRIMZI_BACKUP_SEEDS").unwrap_or(usual);
    let (failed, seen) = run_all(seeds, try_seed);
    let replay = format!("STRIMZI_BACKUP_SEED=<seed> cargo test -p strimzi-backup-tests --test {test}");
    assert!(failed.is_empty(), "{} of {seeds} seeds fail: {failed:?}; replay with: {replay}", failed.len());
    let missing: Vec<&&str> = wanted.iter().filter(|wanted| !seen.contains(**wanted)).collect();
    assert!(seeds < usual || missing.is_empty(), "{missing:?} never happened, but {seen:?}");
}

/// Runs the seeds below `seeds` on two threads. Gives back those that failed, and everything that happened in the others.
fn run_all(
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
