//! What is left to say when the log is lost.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::scenario::{Scenario, noise, numbered};

#[test]
fn a61_without_a_log_the_footers_tell_what_is_there() -> Result<()> {
    let scenario = Scenario::shared("a61")?;
    scenario.client.create_topic("a61", 1, &[])?;
    scenario.client.produce("a61", &numbered(0..40))?;
    scenario.job.catch_up()?;
    // A segment of its own, which is then damaged.
    scenario.client.produce("a61", &[Record::value(noise(7, 200_000)).partition(0)])?;
    scenario.job.clone().set("/backup/topicSegmentBytes", json!("64Ki")).catch_up()?;
    scenario.client.produce("a61", &numbered(41..60))?;
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
    ensure!(code == 0 && text.contains("unproven    a61-0"), "{text}");
    Ok(())
}
