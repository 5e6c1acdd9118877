//! Prune deletes what neither log names, and nothing where it cannot know.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::past;
use strimzi_backup_tests::python::run_python;
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::scenario::{self, Scenario, noise, tree};
use strimzi_backup_tests::sealing::Sealing;
use strimzi_backup_tests::streamer::Job;

/// A backup of which everything was refined, and so something may be pruned.
fn refined(name: &str, sealing: Sealing) -> Result<Scenario> {
    let scenario = Scenario::shared(name)?.sealed(sealing)?;
    let (job, dir) = (scenario.job.clone(), scenario.job.backup_dir());
    refine(&scenario, name, &job, &dir)?;
    Ok(scenario)
}

/// Streams a topic of that name with `job` until all of it is refined.
fn refine(scenario: &Scenario, name: &str, job: &Job, dir: &Path) -> Result<()> {
    scenario.client.create_topic(name, 1, &[])?;
    let records: Vec<Record> = (0..40).map(|n| Record::value(noise(n, 4096)).partition(0)).collect();
    scenario.client.produce(name, &records)?;
    scenario::refine(job, dir)
}

fn first_file(dir: &Path) -> Result<PathBuf> {
    let files = tree(dir)?;
    Ok(dir.join(files.keys().next().context("a file")?))
}

/// A segment that no manifest names, young and old, beside those that were refined.
fn unnamed(name: &str, sealing: Sealing) -> Result<()> {
    let scenario = refined(name, sealing)?;
    let job = scenario.job.clone().set("/retention/gracePeriod", json!("0s"));
    let dir = scenario.job.backup_dir();
    let segment = first_file(&dir.join("topics"))?;
    let left_over = segment.with_file_name("0000-0000000001-00000000000000000001-7777.parquet");
    std::fs::copy(&segment, &left_over)?;
    let (_, out, _) = job.run(&["verify", "--output", "json"])?;
    let report: Value = serde_json::from_str(&out)?;
    ensure!(report["orphans"]["objects"] == json!(1), "{report}");
    let (code, _, err) = job.run(&["prune"])?;
    ensure!(code == 0 && left_over.exists(), "it may be on its way into the log: {err}");
    past::grow_old(&dir, Duration::from_secs(3700))?;
    let foreign = dir.join("topics/notes.txt");
    std::fs::write(&foreign, "not ours")?;
    let (code, out, err) = job.run(&["prune"])?;
    ensure!(code == 0 && !left_over.exists(), "{out}\n{err}");
    ensure!(foreign.exists(), "what is no object of a backup is nobody's to delete");
    ensure!(!dir.join("intake").exists() || tree(&dir.join("intake"))?.is_empty(), "what was refined is collected");
    std::fs::remove_file(foreign)?;
    job.verify()?;
    ensure!(scenario.backup()?.equals_topic(&scenario.client, name)? == 40);
    sealing.check(&dir)
}

#[test]
fn a02_what_no_manifest_names_is_collected_after_an_hour_and_not_before() -> Result<()> {
    unnamed("a02-prune", Sealing::Open)
}

#[test]
fn a02_what_no_manifest_of_an_encrypted_backup_names_is_collected_after_an_hour_and_not_before() -> Result<()> {
    unnamed("sealed-a02", Sealing::Key)
}

/// A newest manifest that cannot be read, a job of another name, and clocks that differ.
fn unread(name: &str, sealing: Sealing) -> Result<()> {
    let scenario = refined(name, sealing)?;
    let job = scenario.job.clone().set("/retention/gracePeriod", json!("0s"));
    let dir = scenario.job.backup_dir();
    past::grow_old(&dir, Duration::from_secs(7200))?;
    let files = tree(&dir)?;
    let (code, _, err) = job.clone().set("/name", json!("another")).run(&["prune"])?;
    ensure!(code == 4 && err.contains("another"), "ended with {code}: {err}");
    let newest = tree(&dir.join("manifests/0000"))?.into_keys().max().context("a manifest")?;
    let path = dir.join("manifests/0000").join(newest);
    let whole = std::fs::read(&path)?;
    let modified = std::fs::metadata(&path)?.modified()?;
    std::fs::write(&path, &whole[..whole.len() / 2])?;
    let (code, _, err) = job.run(&["prune"])?;
    ensure!(code == 4 && err.contains("manifests/0000"), "ended with {code}: {err}");
    std::fs::write(&path, &whole)?;
    // A clock that is wrong, or was set: nobody knows what is old.
    let file = std::fs::File::options().write(true).open(&path)?;
    file.set_modified(modified - Duration::from_secs(86_400))?;
    let (code, _, err) = job.run(&["prune"])?;
    ensure!(code == 1 && err.contains("clock"), "ended with {code}: {err}");
    file.set_modified(modified)?;
    ensure!(tree(&dir)? == files, "nothing was deleted");
    Ok(())
}

#[test]
fn nothing_is_deleted_where_the_newest_manifest_cannot_be_read_or_the_job_is_anothers() -> Result<()> {
    unread("unread", Sealing::Open)
}

#[test]
fn a58_nothing_of_an_encrypted_backup_is_deleted_where_the_newest_manifest_cannot_be_read() -> Result<()> {
    unread("sealed-unread", Sealing::Key)
}

#[test]
fn a_store_that_refuses_to_delete_is_named_and_the_backup_stays_whole() -> Result<()> {
    let scenario = refined("refuses", Sealing::Open)?;
    let job = scenario.job.clone().set("/retention/gracePeriod", json!("0s"));
    let dir = scenario.job.backup_dir();
    past::grow_old(&dir, Duration::from_secs(7200))?;
    let files = tree(&dir)?;
    // A mount that is read-only, in a namespace of its own, refuses root too.
    let script = format!("mount --bind {0} {0} && mount -o remount,bind,ro {0} && exec \"$@\"", dir.display());
    let read_only =
        job.under(&[&strimzi_backup_tests::streamer::unshare("--mount")[..], &["sh", "-c", &script, "sh"]].concat());
    let (code, _, err) = read_only.run(&["prune"])?;
    ensure!(code == 1 && err.contains("refuses to delete"), "ended with {code}: {err}");
    ensure!(tree(&dir)? == files);
    Ok(())
}

#[test]
fn a_prune_with_nothing_to_do_and_a_bad_retention_say_so() -> Result<()> {
    let scenario = Scenario::shared("idle-prune")?;
    scenario.client.create_topic("idle-prune", 1, &[])?;
    scenario.client.produce("idle-prune", &[Record::value("x").partition(0)])?;
    scenario.job.catch_up()?;
    let (code, out, err) = scenario.job.run(&["prune"])?;
    ensure!(code == 0 && out.contains("nothing was retired yet"), "{out}\n{err}");
    let bad = json!({"maxAge": "a while", "maxBackups": 0, "gracePeriod": "1y"});
    let (code, _, err) = scenario.job.clone().set("/retention", bad).run(&["prune"])?;
    for field in ["retention.maxAge", "retention.maxBackups", "retention.gracePeriod"] {
        ensure!(code == 2 && err.contains(field), "{field}: ended with {code}: {err}");
    }
    Ok(())
}

/// Puts a bucket under Object Lock, and an object under a legal hold or not: as the server keeps it, in attributes of its files.
pub(crate) const HOLD: &str = r#"
import os, sys
bucket, path, hold = sys.argv[1:]
os.setxattr(bucket, "user.bucket-lock", b'{"Enabled":true}')
os.setxattr(path, "user.object-legal-hold", bytes([int(hold)]))
"#;

/// The same by a date up to which the object is retained; before it nobody may delete it, whatever the rights.
const RETAIN: &str = r#"
import json, os, sys
bucket, path, until = sys.argv[1:]
os.setxattr(bucket, "user.bucket-lock", b'{"Enabled":true}')
os.setxattr(path, "user.object-retention", json.dumps({"Mode": "COMPLIANCE", "RetainUntilDate": until}).encode())
"#;

/// An object that should go and that `script` protects with its last argument as `on`: it stays until that is `off`.
fn protected(name: &str, script: &str, on: &str, off: &str) -> Result<()> {
    let server = S3Server::start()?;
    let scenario = Scenario::shared(name)?;
    let job = scenario.job.clone().into_s3(&server, "held").set("/retention/gracePeriod", json!("0s"));
    let bucket = server.root_dir().join(server.bucket());
    let dir = bucket.join("held");
    refine(&scenario, name, &job, &dir)?;
    past::grow_old(&dir, Duration::from_secs(7200))?;
    let held = first_file(&dir.join("intake"))?;
    let protect = |how: &str| {
        let (bucket, held) = (bucket.display().to_string(), held.display().to_string());
        run_python(script, &[&bucket, &held, how])
    };
    protect(on)?;
    let prune = || {
        let (code, out, err) = job.run(&["prune", "--output", "json"])?;
        ensure!(code == 0, "it is no error: {out}\n{err}");
        Ok(serde_json::from_str::<Value>(&out)?)
    };
    let report = prune()?;
    ensure!(report["refused"]["objects"] == json!(1) && held.exists(), "{report}");
    job.verify()?;
    protect(off)?;
    let report = prune()?;
    ensure!(report["refused"]["objects"] == json!(0) && !held.exists(), "{report}");
    ensure!(report["deleted"]["objects"].as_u64() >= Some(1), "{report}");
    job.verify()
}

#[test]
fn a26_a80_an_object_under_a_legal_hold_is_skipped_and_goes_once_that_is_lifted() -> Result<()> {
    protected("a26-held", HOLD, "1", "0")
}

#[test]
fn a26_an_object_that_is_retained_until_a_date_is_skipped_and_goes_once_that_has_passed() -> Result<()> {
    protected("a26-retained", RETAIN, "2999-12-31T00:00:00Z", "2001-01-01T00:00:00Z")
}
