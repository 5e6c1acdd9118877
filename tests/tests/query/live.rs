//! From a question to a restore: the moment that a query finds is one to restore to.

use anyhow::{Context, Result};
use serde_json::json;
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::restore::{Restore, same_but_offsets};
use strimzi_backup_tests::scenario::{Scenario, moment, shared_broker};
use strimzi_backup_tests::streamer::PATIENCE;
use strimzi_backup_tests::wait;

use super::duckdb_files::{ask_of, view_of_segments};
use super::scene::millis;

/// Orders of a release, which asks for that amount.
fn orders(version: &str, amount: &str) -> Vec<Record> {
    let value = json!({"total": {"amount": amount}}).to_string();
    let order = |number: usize| {
        let record = Record::new(format!("order-{}", number % 10), value.clone()).partition(0);
        record.header("app-version", Some(version.as_bytes()))
    };
    (0..20).map(order).collect()
}

#[test]
fn the_moment_that_a_query_finds_brings_back_what_was_there_before() -> Result<()> {
    let scenario = Scenario::shared("found")?;
    scenario.client.create_topic("found-orders", 1, &[])?;
    scenario.job.catch_up()?;
    // Not in the millisecond in which the window begins.
    moment()?;
    scenario.client.produce("found-orders", &orders("2.4.0", "1.50"))?;
    moment()?;
    scenario.client.produce("found-orders", &orders("2.4.1", "0.00"))?;
    let last = millis(&moment()?)?;
    wait::wait_until("the backup to reach the end", PATIENCE, || {
        scenario.job.catch_up()?;
        Ok(scenario.backup()?.until().is_some_and(|until| until >= last))
    })?;
    // All is in intake still: what segments prints shows it.
    let variables = [("topic", "found-orders"), ("since", "2026-01-01T00:00:00Z")];
    let rows = ask_of(&view_of_segments(&scenario.job)?, "bad-deployment.sql", &variables)?;
    assert_eq!(rows[0]["bad_records"], json!(20));
    let restore_to = rows[0]["restore_to"].as_str().context("a moment")?;
    let restore = Restore::new(scenario.dir(), "found", &scenario.job, &shared_broker()?.bootstrap())
        .set("pointInTime", json!({"timestamp": restore_to}))
        .mapped("found-orders", "before-the-bad-release");
    restore.done()?;
    let (all, restored) =
        (scenario.client.read_all("found-orders")?, scenario.client.read_all("before-the-bad-release")?);
    assert_eq!(same_but_offsets(&all[..20], &restored)?, 20);
    Ok(())
}
