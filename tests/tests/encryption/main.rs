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
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::scenario::{self, Scenario, noise};
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

/// Streams until everything is refined, and lies where no topic is to be read from.
fn refine(job: &Job) -> Result<()> {
    let dir = job.backup_dir();
    scenario::refine(job, &dir)?;
    let objects = Backup::of_job(&dir, job)?.objects()?;
    ensure!(objects.iter().all(|object| object.starts_with("topics/digest=")), "{objects:?}");
    Ok(())
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
    Ok(scenario::tree(dir)?.into_keys().map(|path| dir.join(path)).collect())
}
