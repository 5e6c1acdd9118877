//! What is left to say when the log is lost.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::scenario::{Scenario, noise, numbered};
use strimzi_backup_tests::sealing::Sealing;

/// A topic of that name, whose backup has lost its log and its identity.
fn without_a_log(name: &str, sealing: Sealing) -> Result<Scenario> {
    let scenario = Scenario::shared(name)?.sealed(sealing)?;
    scenario.client.create_topic(name, 1, &[])?;
    scenario.client.produce(name, &numbered(0..40))?;
    scenario.job.catch_up()?;
    // A segment of its own, which is then damaged.
    scenario.client.produce(name, &[Record::value(noise(7, 200_000)).partition(0)])?;
    scenario.job.clone().set("/backup/topicSegmentBytes", json!("64Ki")).catch_up()?;
    scenario.client.produce(name, &numbered(41..60))?;
    scenario.job.catch_up()?;
    let dir = scenario.job.backup_dir();
    let damaged = scenario.backup()?.objects()?.into_iter().find(|object| object.starts_with("topics/"));
    let damaged = damaged.context("a topic segment")?;
    let bytes = std::fs::read(dir.join(&damaged))?;
    std::fs::write(dir.join(&damaged), &bytes[..bytes.len() / 2])?;
    for lost in ["manifests", "checkpoints", "buckets"] {
        let path = dir.join(lost);
        if path.exists() {
            std::fs::remove_dir_all(path)?;
        }
    }
    std::fs::remove_file(dir.join("backup.json"))?;
    let (code, out, err) = scenario.job.run(&["salvage", "--output", "json"])?;
    ensure!(code == 0, "{err}");
    let found: Value = serde_json::from_str(&out)?;
    let proven = &found["partitions"][0];
    let range = |from: i64, to: i64| json!({"baseOffset": from, "nextOffset": to});
    ensure!(proven["offsets"] == json!([range(0, 40), range(41, 60)]), "{found}");
    ensure!(proven["between"] == json!([range(40, 41)]), "{found}");
    ensure!(proven["records"] == json!(59), "{found}");
    ensure!(found["unreadable"][0]["object"] == json!(damaged), "{found}");
    let (code, text, _) = scenario.job.run(&["salvage"])?;
    ensure!(code == 0 && text.contains(&format!("unproven    {name}-0")), "{text}");
    Ok(scenario)
}

#[test]
fn a61_without_a_log_the_footers_tell_what_is_there() -> Result<()> {
    without_a_log("a61", Sealing::Open).map(drop)
}

#[test]
fn a61_without_a_log_the_footers_of_an_encrypted_backup_tell_what_is_there_to_who_has_its_key() -> Result<()> {
    let mut scenario = without_a_log("sealed-a61", Sealing::Key)?;
    scenario.job = scenario.job.set("/backup/encryption", json!({"enabled": false}));
    let (code, out, err) = scenario.job.run(&["salvage", "--output", "json"])?;
    ensure!(code == 0, "{err}");
    let found: Value = serde_json::from_str(&out)?;
    ensure!(found["segments"] == json!(0) && found["partitions"] == json!([]), "{found}");
    ensure!(found["unreadableCount"].as_u64() >= Some(3), "{found}");
    Ok(())
}
