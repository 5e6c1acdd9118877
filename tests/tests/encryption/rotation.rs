//! Another master key, and the one before let go.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::restore::{Restore, same_but_offsets};
use strimzi_backup_tests::scenario::{shared_broker, tree};
use strimzi_backup_tests::streamer::Job;

use super::{encrypted, ended, files, key, records, verified, with};

/// The id of the master key that a backup would be begun under: `file:` and 16 hex digits.
fn id(job: &Job) -> Result<String> {
    let identity: Value = serde_json::from_slice(&std::fs::read(job.backup_dir().join("backup.json"))?)?;
    Ok(identity["encryption"]["masterKey"].as_str().context("a master key")?.to_owned())
}

/// The report of a rekey that must end with a code, and what it said beside.
pub(super) fn rekey(job: &Job, code: i32) -> Result<(Value, String)> {
    let (out, err) = ended(job, &["rekey", "--output", "json"], code)?;
    Ok((serde_json::from_str(&out).unwrap_or_default(), err))
}

/// Nothing is changed in the store by a command that ends with 2 and names a key.
pub(super) fn refused(job: &Job, command: &[&str], names: &str) -> Result<()> {
    let before = tree(&job.backup_dir())?;
    let (_, err) = ended(job, command, 2)?;
    ensure!(err.contains(names), "{command:?} does not name {names}: {err}");
    ensure!(tree(&job.backup_dir())? == before, "{command:?} wrote something");
    Ok(())
}

#[test]
fn a34_after_a_rotation_and_a_rekey_the_old_key_may_go_and_before_that_it_is_missed() -> Result<()> {
    let (scenario, old_key) = encrypted("rotated")?;
    let (topic, new_key) = ("rotated", key(&scenario, 2)?);
    let [old, both, new] =
        [&[&*old_key][..], &[&*new_key, &*old_key], &[&*new_key]].map(|keys: &[&Path]| with(&scenario.job, keys));
    scenario.client.create_topic(topic, 1, &[])?;
    scenario.client.produce(topic, &records(0..30))?;
    old.catch_up()?;
    let old_id = id(&old)?;
    refused(&new, &["stream", "--until-caught-up"], &old_id)?;
    refused(&new, &["rekey"], &old_id)?;

    scenario.client.produce(topic, &records(30..60))?;
    both.catch_up()?;
    let report = verified(&both, "3", 0)?;
    let new_id = report["keys"]["current"].as_str().context("the current key")?.to_owned();
    ensure!(new_id != old_id && report["keys"]["rekey"] == json!([0]), "{report}");
    ensure!(report["sound"] == json!(true), "that is a warning, and no damage");
    let (out, _) = ended(&both, &["verify"], 0)?;
    ensure!(out.contains("attention") && out.contains("rekey") && out.contains(&old_id), "{out}");
    refused(&new, &["inspect"], &old_id)?;
    refused(&old, &["inspect"], &new_id)?;

    // While a streamer runs.
    let mut streamer = both.stream(&[])?;
    streamer.ready()?;
    let segments = files(&both.backup_dir().join("intake"))?;
    let (report, _) = rekey(&both, 0)?;
    ensure!(report["added"] == json!([0]) && report["notNeeded"] == json!([old_id]), "{report}");
    ensure!(report["current"] == json!(new_id), "{report}");
    ensure!(segments.iter().all(|path| path.exists()), "no segment is touched");
    scenario.client.produce(topic, &records(60..70))?;
    streamer.wait_metric("strimzi_backup_records_total", |count| count >= 10.0)?;
    streamer.stop()?;
    let (again, _) = rekey(&both, 0)?;
    ensure!(again["added"] == json!([]), "{again}");

    std::fs::remove_file(&old_key)?;
    let report = verified(&new, "3", 0)?;
    ensure!(report["keys"]["rekey"] == json!([]), "{report}");
    new.catch_up()?;
    ensure!(Backup::open_with_key(&new.backup_dir(), &new_key)?.equals_topic(&scenario.client, topic)? == 70);
    let bootstrap = shared_broker()?.bootstrap();
    Restore::new(scenario.dir(), "rotated", &new, &bootstrap).mapped(topic, "came-back").done()?;
    same_but_offsets(&scenario.client.read_all(topic)?, &scenario.client.read_all("came-back")?)?;
    let keys = files(&new.backup_dir().join("keys"))?;
    ensure!(keys.len() == 3, "two keys, one of them wrapped twice: {keys:?}");
    Ok(())
}

#[test]
fn a34_a_wrong_key_and_a_wrap_of_another_key_are_named_before_anything_is_written() -> Result<()> {
    let (scenario, first) = encrypted("wrong-key")?;
    scenario.client.create_topic("wrong-key", 1, &[])?;
    scenario.client.produce("wrong-key", &records(0..5))?;
    scenario.job.catch_up()?;
    let (id, wrong) = (id(&scenario.job)?, key(&scenario, 7)?);
    let job = with(&scenario.job, &[&wrong]);
    for command in
        [&["stream", "--until-caught-up"][..], &["inspect"], &["verify"], &["rekey"], &["prune"], &["salvage"]]
    {
        refused(&job, command, &id)?;
    }
    let bootstrap = shared_broker()?.bootstrap();
    let (code, _, err) = Restore::new(scenario.dir(), "wrong-key", &job, &bootstrap).run(&[])?;
    ensure!(code == 2 && err.contains(&id), "ended with {code}: {err}");

    // The wraps of the two keys of a backup, each in the other's place.
    let second = key(&scenario, 2)?;
    let both = with(&scenario.job, &[&second, &first]);
    both.catch_up()?;
    let dir = both.backup_dir().join("keys");
    let [zero, one] = ["0000-0000.json", "0001-0000.json"].map(|name| dir.join(name));
    let wraps = [std::fs::read(&zero)?, std::fs::read(&one)?];
    std::fs::write(&zero, &wraps[1])?;
    std::fs::write(&one, &wraps[0])?;
    let before = tree(&both.backup_dir())?;
    let (_, err) = ended(&both, &["stream", "--until-caught-up"], 4)?;
    ensure!(err.contains("keys/000") && err.contains("is damaged"), "{err}");
    ensure!(tree(&both.backup_dir())? == before);
    Ok(())
}
