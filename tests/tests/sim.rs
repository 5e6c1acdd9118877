//! The simulation of the streamer: thousands of random histories, and the cases of the acceptance list one by one.

#![allow(clippy::panic, dead_code, unreachable_pub)]

#[path = "../src/sim/mod.rs"]
mod sim;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use sim::run_seed;
use sim::sabotage::Sabotage;

const SEEDS: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What two thousand histories must have in them, or they prove less than they seem to.
const WANTED: [&str; 15] = [
    "Create",
    "Put",
    "MultipartStart",
    "Part",
    "Complete",
    "Abort",
    "Added",
    "Changed",
    "Deleted",
    "Recreated",
    "Truncated",
    "Excluded",
    "Included",
    "RetentionOverrun",
    "TopicDeleted",
];

/// Runs a seed; a panic is a failure like any other. Gives back what happened.
fn try_seed(seed: u64, sabotage: Option<Sabotage>) -> Result<BTreeSet<String>, String> {
    match std::panic::catch_unwind(|| run_seed(seed, sabotage)) {
        Ok(Ok(history)) => Ok(history.seen),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(panic) => Err(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "panic".to_owned())),
    }
}

#[test]
fn simulation_of_two_thousand_seeds() {
    if let Some(seed) = number("STRIMZI_BACKUP_SEED") {
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).without_time().with_test_writer().init();
        if let Err(error) = try_seed(seed, None) {
            panic!("seed {seed}: {error}");
        }
        return;
    }
    let seeds = number("STRIMZI_BACKUP_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let worker = || {
        let (mut failed, mut seen) = (BTreeSet::new(), BTreeSet::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return (failed, seen);
            }
            match try_seed(seed, None) {
                Ok(happened) => seen.extend(happened),
                Err(error) => {
                    println!("seed {seed}: {error}");
                    failed.insert(seed);
                }
            }
        }
    };
    let (failed, seen) = std::thread::scope(|scope| {
        let other = scope.spawn(worker);
        let (mut failed, mut seen) = worker();
        let (failed_there, seen_there) = other.join().expect("panics are caught");
        failed.extend(failed_there);
        seen.extend(seen_there);
        (failed, seen)
    });
    let replay = "STRIMZI_BACKUP_SEED=<seed> cargo test -p strimzi-backup-tests --test sim simulation_of";
    assert!(failed.is_empty(), "{} of {seeds} seeds fail: {failed:?}; replay with: {replay}", failed.len());
    let missing: Vec<&str> = WANTED.into_iter().filter(|wanted| !seen.contains(*wanted)).collect();
    assert!(seeds < SEEDS || missing.is_empty(), "{missing:?} never happened, but {seen:?}");
}

#[test]
fn the_same_seed_is_the_same_history() -> Result<()> {
    for seed in [3, 17, 99] {
        let (first, second) = (run_seed(seed, None)?, run_seed(seed, None)?);
        ensure!(first == second, "seed {seed} gave two histories");
    }
    Ok(())
}

/// How many seeds it takes until the simulation finds a planted bug. What it finds first must be what that bug does, told in
/// one of these ways.
fn seeds_to_find(sabotage: Sabotage, at_most: u64, told: &[&str]) {
    let found = (0..at_most).find_map(|seed| Some((seed, try_seed(seed, Some(sabotage)).err()?)));
    let (seed, error) = found.expect("the planted bug is found within the seeds");
    println!("{sabotage:?} was found by seed {seed}: {error}");
    assert!(told.iter().any(|text| error.contains(text)), "seed {seed} found something else than {told:?}: {error}");
}

#[test]
fn finds_a_planted_commit_before_upload() {
    seeds_to_find(Sabotage::CommitBeforeUpload, 200, &[".parquet not found"]);
}

#[test]
fn finds_a_planted_commit_without_read_back() {
    // A manifest builds on one that another writer put into that place, or a writer's commits are not there.
    let told = ["it follows a manifest with digest", "the hash chain is broken", " stand"];
    seeds_to_find(Sabotage::NoReadBack, 200, &told);
}

#[test]
fn finds_a_planted_writer_without_a_fence() {
    // A manifest stands no more as its writer put it: that writer, the next reader or the oracle sees it.
    let told = ["is gone or changed while streaming", "was changed or removed", "the hash chain is broken", " stand"];
    seeds_to_find(Sabotage::NoFence, 200, &told);
}

#[test]
fn finds_a_planted_resume_from_the_wrong_offset() {
    seeds_to_find(Sabotage::ResumeElsewhere, 200, &["is not captured, and is a record in Kafka"]);
}
