//! The simulation of the streamer: thousands of random histories, half of them encrypted, and the bugs that it must find.

#![allow(dead_code, unreachable_pub)]

#[path = "../src/sim/mod.rs"]
mod sim;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use sim::sabotage::Sabotage;
use sim::seeds;
use sim::world::World;
use sim::{run_seed, simulate};

const SEEDS: u64 = 2_000;

/// What two thousand histories must have in them, or they prove less than they seem to.
const WANTED: [&str; 48] = [
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
    "Refined",
    "Sealed",
    "Retired",
    "Base",
    "Pruned",
    "SnapshotKept",
    "LateBehindSnapshot",
    "SnapshotRetired",
    "SnapshotPruned",
    "RestorePins",
    "RestoreStartedAgain",
    "Restored",
    "RestoredOverPrune",
    "RetentionOverrun",
    "TopicDeleted",
    "Encrypted",
    "KeyRotated",
    "KeyWaitedFor",
    "FailBefore(Timeout)",
    "FailBefore(Unavailable)",
    "FailBefore(QuotaFull)",
    "FailBefore(AlreadyExists)",
    "FailBefore(Precondition)",
    "FailAfter(Timeout)",
    "FailAfter(AlreadyExists)",
    "FailAfter(Precondition)",
    "BreakBody",
    "FlipBit",
    "Truncate",
    "Stale",
    "KillBefore",
    "KillAfter",
    "Killed",
    "Fenced",
    "Frozen",
];

/// Runs a seed; a panic is a failure like any other. Gives back what happened.
fn try_seed(seed: u64, sabotage: Option<Sabotage>) -> Result<BTreeSet<String>, String> {
    seeds::caught(|| run_seed(seed, sabotage)).map(|history| history.seen)
}

#[test]
fn simulation_of_two_thousand_seeds() {
    seeds::check("sim simulation_of", SEEDS, &WANTED, |seed| try_seed(seed, None));
}

#[test]
fn the_same_seed_is_the_same_history() -> Result<()> {
    for seed in [3, 4, 17, 18, 99, 100] {
        let (first, second) = (run_seed(seed, None)?, run_seed(seed, None)?);
        ensure!(first == second, "seed {seed} gave two histories");
    }
    Ok(())
}

/// How many seeds it takes until the simulation finds a planted bug. What it finds first must be what that bug does, told in
/// one of these ways.
fn seeds_to_find(sabotage: Sabotage, at_most: u64, told: &[&str]) {
    seed_of(sabotage, 0..at_most, told);
}

/// The same with encrypted seeds alone.
fn encrypted_seeds_to_find(sabotage: Sabotage, at_most: u64, told: &[&str]) {
    seed_of(sabotage, (0..at_most).step_by(2), told);
}

fn seed_of(sabotage: Sabotage, mut seeds: impl Iterator<Item = u64>, told: &[&str]) {
    let found = seeds.find_map(|seed| Some((seed, try_seed(seed, Some(sabotage)).err()?)));
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
    let chain = ["the hash chain is broken", "it follows a manifest with digest"];
    let told = ["is gone or changed while streaming", "was changed or removed", chain[0], chain[1], " stand"];
    seeds_to_find(Sabotage::NoFence, 200, &told);
}

#[test]
fn finds_a_planted_prune_of_what_is_needed() {
    seeds_to_find(Sabotage::DeleteAnother, 200, &["was pruned, and the log holds it"]);
}

#[test]
fn finds_a_planted_refining_that_drops_a_run() {
    // Offsets that nothing accounts for between two runs, or before the position; or records that a base or a restore lacks.
    let told = [" belongs", "its ranges end at", "the base of payments", "a restore to the snapshot"];
    seeds_to_find(Sabotage::RefineDropsRun, 200, &told);
}

#[test]
fn a78_finds_a_planted_base_that_misses_a_key() {
    seeds_to_find(Sabotage::BaseMissesKey, 200, &["the base of payments"]);
}

#[test]
fn a78_finds_a_planted_base_that_takes_in_what_came_behind_a_snapshot() {
    let told = ["a restore to the snapshot"];
    seed_of(Sabotage::CutsIgnored, (1..800).step_by(2), &told);
    encrypted_seeds_to_find(Sabotage::CutsIgnored, 800, &told);
}

#[test]
fn a80_finds_a_planted_retention_that_forgets_what_is_kept_for_ever() {
    let told = ["is kept for ever"];
    seed_of(Sabotage::ForeverForgotten, (1..400).step_by(2), &told);
    encrypted_seeds_to_find(Sabotage::ForeverForgotten, 400, &told);
}

#[test]
fn a67_finds_a_planted_retention_that_does_not_look_for_restores() {
    // What the plan's log names is gone, or all before a later instant is retired: restores alone notice.
    let told = ["does not go on: ", "is refused although its plan was there"];
    seeds_to_find(Sabotage::PinsIgnored, 400, &told);
}

#[test]
fn finds_a_planted_resume_from_the_wrong_offset() {
    seeds_to_find(Sabotage::ResumeElsewhere, 200, &["is not captured, and is a record in Kafka"]);
}

#[test]
fn a33_finds_a_planted_document_in_the_clear() {
    encrypted_seeds_to_find(Sabotage::CheckpointInTheClear, 200, &["it lies there in the clear"]);
}

#[test]
fn a35_finds_planted_documents_that_are_not_bound_to_their_place() {
    encrypted_seeds_to_find(Sabotage::SealedForItsFolder, 200, &["its seal does not open"]);
}

#[test]
fn a33_what_must_not_be_seen_is_seen_in_a_store_in_the_clear() -> Result<()> {
    let mut shown = BTreeMap::new();
    for seed in [1, 3, 5, 7, 9] {
        shown.extend(simulate(|| async move {
            let mut world = World::new(seed, None);
            world.run().await?;
            world.oracle.shown().await
        })?);
    }
    for kind in ["the topic in a path", "the name of a topic", "a key or a value"] {
        ensure!(shown.contains_key(kind), "{kind} is not looked for as it should be: {shown:?}");
    }
    Ok(())
}
