//! A backup that nobody reads without its key, and nobody changes unseen: a real broker, real files, and the programs as they are run.

mod planted;
mod printed;
mod readers;
mod rotation;
mod secrecy;
mod seen;
mod swaps;
mod vault;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::scenario::{Scenario, noise, wait_backup_of};
use strimzi_backup_tests::streamer::Job;

/// A master key of that name, in a file beside the job; the same for the same number.
fn key(scenario: &Scenario, number: u64) -> Result<PathBuf> {
    let path = scenario.dir().join(format!("key-{number}"));
    std::fs::write(&path, noise(number, 32))?;
    Ok(path)
}

/// What a document says of keys in files, the first of them the current one.
fn encryption(keys: &[&Path]) -> Value {
    json!({"enabled": true, "keyFile": keys[0], "previousKeyFiles": keys[1..]})
}

/// The same job with these keys.
fn with(job: &Job, keys: &[&Path]) -> Job {
    job.clone().set("/backup/encryption", encryption(keys))
}

/// A scenario whose backup is encrypted by a key, which it gives too.
fn encrypted(name: &str) -> Result<(Scenario, PathBuf)> {
    let mut scenario = Scenario::shared(name)?;
    let key = key(&scenario, 1)?;
    scenario.job = with(&scenario.job, &[&key]);
    Ok((scenario, key))
}

/// Records of 4 KiB that do not compress, in partition 0.
fn records(range: std::ops::Range<u64>) -> Vec<Record> {
    range.map(|n| Record::new(format!("key-{n}"), noise(n + 1, 4096)).partition(0)).collect()
}

/// Streams until nothing lies in intake any more, and a checkpoint says so.
fn refine(job: &Job) -> Result<()> {
    // All of it comes to intake first: what is cut after the first refining may be too little for another, and waits for its hour to end.
    job.catch_up()?;
    let dir = job.backup_dir();
    let job = job.clone().set("/backup/refineBytes", json!("64Ki"));
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    streamer.wait_metric("strimzi_backup_refined_segments_total", |count| count > 0.0)?;
    wait_backup_of(&job, &dir, "everything to be refined", |backup| {
        Ok(backup.objects()?.iter().all(|object| object.starts_with("topics/digest=")))
    })?;
    streamer.stop()?;
    // What was refined is in a checkpoint soon after the next start.
    let streamer = job.stream(&[])?;
    wait_backup_of(&job, &dir, "a checkpoint after refining", |backup| {
        let through = backup.log.state.refined.map(|refined| refined.through);
        Ok(backup.log.blocks.last().map(|block| block.to) > through)
    })?;
    streamer.stop()
}

/// Runs a command that must end with a code, and gives what it said.
fn ended(job: &Job, arguments: &[&str], wanted: i32) -> Result<(String, String)> {
    let (code, out, err) = job.run(arguments)?;
    ensure!(code == wanted, "{arguments:?} ended with {code}, not {wanted}\n{out}\n{err}");
    Ok((out, err))
}

/// The report of a verification that must end with a code.
fn verified(job: &Job, level: &str, code: i32) -> Result<Value> {
    let (out, _) = ended(job, &["verify", "--level", level, "--output", "json"], code)?;
    Ok(serde_json::from_str(&out)?)
}

/// All files below a directory.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    Ok(strimzi_backup_tests::scenario::tree(dir)?.into_keys().map(|path| dir.join(path)).collect())
}
