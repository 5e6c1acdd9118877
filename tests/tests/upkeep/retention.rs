//! What is not kept any longer goes, by the log first; what must stay stays.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::restore::Restore;
use strimzi_backup_tests::scenario::{Scenario, now, tree};
use strimzi_backup_tests::streamer::{Job, PATIENCE};
use strimzi_backup_tests::wait::wait_until;
use strimzi_backup_tests::{duckdb, past};

pub(super) const DAY: i64 = 86_400_000;
pub(super) const HOUR: i64 = 3_600_000;

/// A backup of forty days ago: of a topic that Kafka keeps for an hour, and of one that it compacts, with keys that were last
/// written then.
fn old_backup(name: &str) -> Result<Scenario> {
    let scenario = Scenario::shared(name)?;
    let (orders, table) = (format!("{name}-orders"), format!("{name}-table"));
    scenario.client.create_topic(&orders, 1, &[("retention.ms", "-1")])?;
    scenario.client.create_topic(&table, 1, &[("cleanup.policy", "compact")])?;
    let began = now()? - 40 * DAY;
    for hour in 0..3_i64 {
        let record = |n: i64| {
            Record::new(format!("k{n}"), format!("{hour}-{n}")).partition(0).timestamp(began - (3 - hour) * HOUR + n)
        };
        let records: Vec<Record> = (0..30).map(record).collect();
        scenario.client.produce(&orders, &records)?;
        scenario.client.produce(&table, &records)?;
    }
    let of_orders = || anyhow::Ok(scenario.backup()?.topic(&orders)?.description.config.get("retention.ms").cloned());
    scenario.job.catch_up()?;
    // Kafka would have deleted what is so old before it was read.
    scenario.client.alter_topic_config(&orders, "retention.ms", "3600000")?;
    wait_until("the change to be captured", PATIENCE, || {
        scenario.job.catch_up()?;
        Ok(of_orders()?.as_deref() == Some("3600000"))
    })?;
    forty_days_ago(&scenario)?;
    Ok(scenario)
}

/// Has a window, and all of it as if that had been forty days ago.
pub(super) fn forty_days_ago(scenario: &Scenario) -> Result<()> {
    wait_until("a window", PATIENCE, || {
        scenario.job.catch_up()?;
        Ok(scenario.backup()?.log.state.complete_since.is_some())
    })?;
    past::move_back(&scenario.job.backup_dir(), 40 * DAY)
}

fn recoverable_from(job: &Job) -> Result<String> {
    let found = job.inspect()?;
    found.pointer("/recoverable/from").and_then(Value::as_i64).map(time).context("a window")
}

/// Streams until what is not kept is retired and a checkpoint says so.
fn retired(job: &Job) -> Result<()> {
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    streamer.wait_metric("strimzi_backup_retired_segments_total", |count| count > 0.0)?;
    let before = streamer.metric("strimzi_backup_checkpoints_total")?;
    streamer.wait_metric("strimzi_backup_checkpoints_total", |count| count > before || before > 1.0)?;
    streamer.stop()
}

#[test]
fn a76_a_window_that_a_typo_shortens_is_held_until_it_is_acknowledged() -> Result<()> {
    let scenario = old_backup("a76")?;
    let typo = scenario.job.clone().set("/retention/maxAge", json!("1h"));
    let since = recoverable_from(&typo)?;
    let mut streamer = typo.stream(&[])?;
    streamer.ready()?;
    streamer.wait_metric("strimzi_backup_retention_held{kind=\"Shrinks\"}", |held| held == 1.0)?;
    streamer.wait_log("retention.acknowledgeShrinkTo")?;
    streamer.stop()?;
    ensure!(recoverable_from(&typo)? == since, "nothing was retired");
    let held = scenario.backup()?.rows("a76-orders", 0);
    ensure!(held == 90, "nothing is gone: {held}");
    let files = tree(&scenario.job.backup_dir().join("topics"))?;
    let (code, _, err) = typo.run(&["prune"])?;
    ensure!(code == 0, "{err}");
    ensure!(tree(&scenario.job.backup_dir().join("topics"))? == files, "nothing is deleted meanwhile");
    let meant = typo.set("/retention/acknowledgeShrinkTo", json!("1h"));
    retired(&meant)?;
    ensure!(scenario.backup()?.rows("a76-orders", 0) == 0, "the hours that nobody may ask for are retired");
    meant.verify()
}

#[test]
fn a78_retired_and_pruned_a_backup_holds_all_that_its_window_needs() -> Result<()> {
    let scenario = old_backup("a78")?;
    let fresh = [Record::new("k1", "fresh").partition(0), Record::new("k2", "fresh").partition(0)];
    scenario.client.produce("a78-orders", &fresh)?;
    ensure!(scenario.backup()?.rows("a78-table", 0) >= 30, "Kafka may have compacted it before it was read");
    let job = scenario
        .job
        .clone()
        .set("/retention", json!({"maxAge": "30d", "gracePeriod": "0s"}))
        .set("/backup/refineBytes", json!("64Ki"));
    retired(&job)?;
    let backup = scenario.backup()?;
    ensure!(backup.rows("a78-orders", 0) == 2, "of the hours before the window nothing, of now everything");
    ensure!(backup.rows("a78-table", 0) == 30, "of a compacted topic the newest record of each key");
    let before = recoverable_from(&job)?;
    job.verify()?;
    let servers = job.bootstrap()?;
    let restore = |id: &str| {
        let restore = Restore::new(scenario.dir(), id, &job, servers);
        restore.mapped("a78-orders", &format!("{id}-orders")).mapped("a78-table", &format!("{id}-table"))
    };
    // Before the window: refused, and the way out is said.
    let gone = restore("a78-gone").set("pointInTime", json!({"timestamp": time(now()? - 35 * DAY)}));
    let (code, _, err) = gone.run(&["--plan-only"])?;
    ensure!(code == 2 && err.contains(&before), "ended with {code}: {err}");
    restore("a78-back").done()?;
    let table = scenario.client.read_all("a78-back-table")?;
    // The target may have compacted it already.
    let newest: BTreeMap<_, _> = table.into_iter().map(|record| (record.key, record.value)).collect();
    let is_newest = |value: &Option<Vec<u8>>| value.as_ref().is_some_and(|value| value.starts_with(b"2-"));
    ensure!(newest.len() == 30 && newest.values().all(is_newest), "{newest:?}");
    ensure!(scenario.client.read_all("a78-back-orders")?.len() == 2);

    let dir = scenario.job.backup_dir();
    let (code, out, err) = job.run(&["prune", "--output", "json"])?;
    ensure!(code == 0, "{err}");
    let report: Value = serde_json::from_str(&out)?;
    ensure!(report["deleted"]["objects"] == json!(0), "nothing is old enough: {report}");
    ensure!(report["young"]["objects"].as_u64() > Some(0), "{report}");
    past::grow_old(&dir, Duration::from_secs(7200))?;
    let (code, out, _) = job.run(&["prune", "--dry-run", "--output", "json"])?;
    let planned: Value = serde_json::from_str(&out)?;
    let files = tree(&dir)?;
    let (pruned, out, err) = job.run(&["prune", "--output", "json"])?;
    ensure!((code, pruned) == (0, 0), "{err}");
    let report: Value = serde_json::from_str(&out)?;
    ensure!(report["deleted"] == planned["deleted"], "{report} is not what was planned: {planned}");
    let left = tree(&dir)?;
    let gone = files.keys().filter(|file| !left.contains_key(*file)).count() as u64;
    ensure!(report["deleted"]["objects"] == json!(gone) && gone > 0, "{gone} files are gone: {report}");
    job.verify()?;
    ensure!(scenario.backup()?.rows("a78-table", 0) == 30);
    let (_, out, _) = job.run(&["prune", "--output", "json"])?;
    let again: Value = serde_json::from_str(&out)?;
    ensure!(again["deleted"]["objects"] == json!(0), "{again}");
    Ok(())
}

/// Two lives of a topic lie in one file, and the first is retired: its rows stay in the file as long as that does.
#[test]
fn a78_what_segments_prints_for_duckdb_reads_no_retired_row_of_a_file_that_stays() -> Result<()> {
    let topic = "reborn";
    let scenario = Scenario::shared(topic)?;
    let began = now()? - 40 * DAY;
    let hour = began - began.rem_euclid(HOUR);
    let records = |life: &str, count: i64| -> Vec<Record> {
        let record = |n: i64| Record::new(format!("k{n}"), format!("{life}-{n}")).partition(0).timestamp(hour + n);
        (0..count).map(record).collect()
    };
    let whole = [("retention.ms", "-1")];
    scenario.client.create_topic(topic, 1, &whole)?;
    scenario.client.produce(topic, &records("first", 30))?;
    scenario.job.catch_up()?;
    scenario.client.delete_topic(topic)?;
    scenario.client.create_topic(topic, 1, &whole)?;
    scenario.client.produce(topic, &records("second", 20))?;
    wait_until("the second life in a window", PATIENCE, || {
        scenario.job.catch_up()?;
        let backup = scenario.backup()?;
        Ok(backup.rows(topic, 1) == 20 && backup.log.state.complete_since.is_some())
    })?;
    past::move_back(&scenario.job.backup_dir(), 40 * DAY)?;
    let job = scenario.job.clone().set("/retention", json!({"maxAge": "30d", "gracePeriod": "0s"}));
    let job = job.set("/backup/refineBytes", json!("64Ki"));
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    scenario.wait_backup("the first life to be retired", |backup| Ok(backup.rows(topic, 0) == 0))?;
    streamer.stop()?;
    job.verify()?;

    let listed: Vec<Value> = serde_json::from_str(&job.segments(&["--output", "json"])?)?;
    ensure!(listed.len() == 1 && listed[0]["holdsRetired"] == json!(true), "not in one file: {listed:?}");
    let by_life = |rows: &str| {
        duckdb::query(&format!("SELECT lineage, count(*) AS rows FROM ({rows}) GROUP BY lineage ORDER BY lineage"))
    };
    let paths = job.segments(&["--output", "text"])?;
    let whole = by_life(&format!("SELECT * FROM read_parquet('{}', hive_partitioning = false)", paths.trim()))?;
    ensure!(whole == [json!({"lineage": 0, "rows": 30}), json!({"lineage": 1, "rows": 20})], "{whole:?}");
    let sql = job.segments(&["--output", "duckdb"])?;
    let live = by_life(sql.trim().trim_end_matches(';'))?;
    ensure!(live == [json!({"lineage": 1, "rows": 20})], "{live:?} of\n{sql}");
    Ok(())
}

pub(super) fn time(millis: i64) -> String {
    strimzi_backup_format::ids::TimestampMs::new(millis).to_rfc3339()
}

#[test]
fn a_snapshot_that_is_kept_for_ever_says_so() -> Result<()> {
    let scenario = old_backup("forever")?;
    let mut streamer = scenario.job.stream(&[])?;
    streamer.ready()?;
    for (id, more) in [("audit", &["--keep-forever"][..]), ("daily", &[])] {
        let arguments = [&["snapshot", "--id", id, "--output", "json"][..], more].concat();
        let (code, out, err) = scenario.job.run(&arguments)?;
        ensure!(code == 0, "{err}");
        let snapshot: Value = serde_json::from_str(&out)?;
        ensure!(snapshot["keep"] == if more.is_empty() { Value::Null } else { json!("forever") }, "{snapshot}");
    }
    streamer.stop()?;
    scenario.job.verify()
}
