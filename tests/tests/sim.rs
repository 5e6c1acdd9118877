//! The simulation of the streamer: thousands of random histories, and the cases of the acceptance list one by one.

#![allow(clippy::panic, dead_code, unreachable_pub)]

#[path = "../src/sim/mod.rs"]
mod sim;

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use sim::run_seed;
use sim::sabotage::Sabotage;

const SEEDS: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed; a panic is a failure like any other.
fn try_seed(seed: u64, sabotage: Option<Sabotage>) -> Result<(), String> {
    match std::panic::catch_unwind(|| run_seed(seed, sabotage)) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(panic) => Err(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "panic".to_owned())),
    }
}

#[test]
fn simulation_of_two_thousand_seeds() {
    if let Some(seed) = number("STRIMZI_BACKUP_SEED") {
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).without_time().with_test_writer().init();
        try_seed(seed, None).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        return;
    }
    let seeds = number("STRIMZI_BACKUP_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let worker = || {
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return failed;
            }
            if let Err(error) = try_seed(seed, None) {
                println!("seed {seed}: {error}");
                failed.push(seed);
            }
        }
    };
    let mut failed = std::thread::scope(|scope| {
        let other = scope.spawn(worker);
        let mut failed = worker();
        failed.extend(other.join().unwrap_or_default());
        failed
    });
    failed.sort_unstable();
    let replay = "STRIMZI_BACKUP_SEED=<seed> cargo test -p strimzi-backup-tests --test sim simulation_of";
    assert!(failed.is_empty(), "{} of {seeds} seeds fail: {failed:?}; replay with: {replay}", failed.len());
}

#[test]
fn the_same_seed_is_the_same_history() -> Result<()> {
    for seed in [3, 17, 99] {
        let (first, second) = (run_seed(seed, None)?, run_seed(seed, None)?);
        ensure!(first == second, "seed {seed} gave two histories");
    }
    Ok(())
}

/// How many seeds it takes until the simulation finds a planted bug.
fn seeds_to_find(sabotage: Sabotage, at_most: u64) {
    let found = (0..at_most).find_map(|seed| Some((seed, try_seed(seed, Some(sabotage)).err()?)));
    let (seed, error) = found.expect("the planted bug is found within the seeds");
    println!("{sabotage:?} was found by seed {seed}: {error}");
}

#[test]
fn finds_a_planted_commit_before_upload() {
    seeds_to_find(Sabotage::CommitBeforeUpload, 200);
}

#[test]
fn finds_a_planted_commit_without_read_back() {
    seeds_to_find(Sabotage::NoReadBack, 200);
}

#[test]
fn finds_a_planted_writer_without_a_fence() {
    seeds_to_find(Sabotage::NoFence, 200);
}

#[test]
fn finds_a_planted_resume_from_the_wrong_offset() {
    seeds_to_find(Sabotage::ResumeElsewhere, 200);
}
