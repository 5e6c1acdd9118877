//! Records that are gone before they are read: each is a gap with its exact offsets and its reason.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use strimzi_backup_tests::scenario::{Scenario, numbered};
use strimzi_backup_tests::wait;

#[test]
fn a39_retention_that_passed_the_position_is_a_gap_with_exact_offsets() -> Result<()> {
    let topic = "a39";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 1, &[("segment.bytes", "1048576")])?;
    client.produce(topic, &numbered(0..100))?;
    scenario.job.catch_up()?;
    client.produce(topic, &numbered(100..150))?;
    // The records age: the segment that holds them rolls and goes.
    client.alter_topic_config(topic, "segment.ms", "100")?;
    client.alter_topic_config(topic, "retention.ms", "1000")?;
    wait::wait_until("retention", Duration::from_secs(60), || {
        client.produce(topic, &numbered(150..151))?;
        Ok(client.watermarks(topic, 0)?.0 > 150)
    })?;
    client.alter_topic_config(topic, "retention.ms", "86400000")?;
    client.produce(topic, &numbered(151..160))?;
    let start = client.watermarks(topic, 0)?.0;
    scenario.job.catch_up()?;
    let backup = scenario.backup()?;
    let gaps = backup.gaps(topic);
    ensure!(gaps == [(0, 0, 100, start, "RetentionOverrun")], "log start {start}, gaps {gaps:?}");
    let held = backup.records(topic, 0)?;
    let now = client.read_all(topic)?;
    ensure!(held.len() == 100 + now.len() && held[100..] == now[..], "{} and {}", held.len(), now.len());
    ensure!(held.iter().take(100).map(|record| record.offset).eq(0..100), "what was captured stays");
    Ok(())
}

#[test]
fn a40_records_deleted_from_a_topic_that_keeps_for_ever_were_deleted_by_a_user() -> Result<()> {
    let topic = "a40";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 2, &[("retention.ms", "-1")])?;
    client.produce(topic, &numbered(0..50))?;
    scenario.job.catch_up()?;
    client.produce(topic, &numbered(50..100))?;
    client.delete_records(topic, 0, 80)?;
    let mut streamer = scenario.job.stream(&[])?;
    streamer.wait_metric("strimzi_backup_lost_offsets_total{kind=\"DeletedByUser\"}", |lost| lost == 30.0)?;
    scenario.wait_rows(topic, 0, 70)?;
    // Below the position nothing is lost any more: no gap.
    client.delete_records(topic, 0, 90)?;
    client.produce(topic, &numbered(100..110))?;
    scenario.wait_rows(topic, 0, 80)?;
    streamer.stop()?;
    let gaps = scenario.backup()?.gaps(topic);
    ensure!(gaps == [(0, 0, 50, 80, "DeletedByUser")], "{gaps:?}");
    Ok(())
}

#[test]
fn a55_what_retention_took_while_a_topic_was_excluded_is_a_gap_that_says_so() -> Result<()> {
    let topic = "a55-x";
    let scenario = Scenario::shared("a55")?;
    let client = &scenario.client;
    client.create_topic(topic, 1, &[])?;
    client.create_topic("a55-y", 1, &[])?;
    client.produce(topic, &numbered(0..10))?;
    scenario.job.catch_up()?;
    let without = scenario.job.clone().set("/topics/exclude", json!([".*-x"]));
    client.produce(topic, &numbered(10..40))?;
    client.produce("a55-y", &numbered(0..5))?;
    without.catch_up()?;
    let backup = scenario.backup()?;
    ensure!(backup.position(topic, 0, 0) == Some(10), "excluded, hence not read");
    ensure!(!backup.topic(topic)?.is_selected(), "the log says that it is excluded");
    client.delete_records(topic, 0, 25)?;
    scenario.job.catch_up()?;
    let backup = scenario.backup()?;
    let gaps = backup.gaps(topic);
    ensure!(gaps == [(0, 0, 10, 25, "Excluded")], "{gaps:?}");
    let offsets: Vec<i64> = backup.records(topic, 0)?.iter().map(|record| record.offset).collect();
    ensure!(offsets.iter().copied().eq((0..10).chain(25..40)), "{offsets:?}");
    ensure!(backup.topic(topic)?.selected.len() == 2, "both intervals are known");
    Ok(())
}
