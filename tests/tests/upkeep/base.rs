//! Old hours of a compacted topic give way to the newest record of each key, and nobody who restores notices.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::backup::{Backup, same};
use strimzi_backup_tests::client::{Header, ReadRecord, Record};
use strimzi_backup_tests::restore::Restore;
use strimzi_backup_tests::scenario::{Scenario, now, tree};
use strimzi_backup_tests::streamer::Job;
use strimzi_backup_tests::{duckdb, past};

use super::retention::{DAY, HOUR, forty_days_ago, time};

const TOPIC: &str = "rolling-accounts";

/// So that Kafka compacts nothing itself: it leaves alone what is younger, and the segment that it writes to.
const A_YEAR: &str = "31536000000";

/// What is written in an hour: of twelve keys two are deleted and six written, and one comes that nobody writes again.
fn hour(number: i64, at: i64) -> Vec<Record> {
    let of_key = |key: i64| {
        let name = format!("k{key}");
        let record = match (key + number) % 6 {
            0 => Record::tombstone(name),
            1 | 2 | 4 => {
                let hour = number.to_string();
                Record::new(name, format!("{number}-{key}")).header("hour", Some(hour.as_bytes())).header("null", None)
            }
            _ => return None,
        };
        Some(record.partition(i32::from(key % 2 == 1)).timestamp(at + key))
    };
    let once = Record::new(format!("only-{number}"), format!("{number}"));
    let once = once.partition(i32::from(number % 2 == 1)).timestamp(at + 12);
    (0..12).filter_map(of_key).chain([once]).collect()
}

/// A backup of forty days ago, of a compacted topic with four hours of then and three hours of fifteen days later.
fn old_backup(now: i64) -> Result<Scenario> {
    let scenario = Scenario::shared("rolling")?;
    let whole = [("cleanup.policy", "compact"), ("segment.ms", A_YEAR), ("min.compaction.lag.ms", A_YEAR)];
    scenario.client.create_topic(TOPIC, 2, &whole)?;
    for number in 0..7 {
        let at = if number < 4 { now - 40 * DAY - (4 - number) * HOUR } else { now - 25 * DAY + (number - 4) * HOUR };
        scenario.client.produce(TOPIC, &hour(number, at))?;
    }
    forty_days_ago(&scenario)?;
    Ok(scenario)
}

/// What a consumer knows of each key once it has read what is of `until` or before.
fn table(records: &[ReadRecord], until: i64) -> BTreeMap<Vec<u8>, (Vec<u8>, Vec<Header>)> {
    let mut table = BTreeMap::new();
    for record in records.iter().filter(|record| record.timestamp <= until) {
        let Some(key) = record.key.clone() else { continue };
        match record.value.clone() {
            Some(value) => table.insert(key, (value, record.headers.clone())),
            None => table.remove(&key),
        };
    }
    table
}

/// What is held where everything of before that instant has aged: of each key the newest record, if it has a value, and all later
/// ones.
fn left(captured: &[ReadRecord], before: i64) -> Vec<ReadRecord> {
    let mut newest: BTreeMap<&Option<Vec<u8>>, i64> = BTreeMap::new();
    for record in captured.iter().filter(|record| record.timestamp < before) {
        newest.insert(&record.key, record.offset);
    }
    let is_newest = |record: &ReadRecord| newest.get(&record.key) == Some(&record.offset) && record.value.is_some();
    captured.iter().filter(|record| record.timestamp >= before || is_newest(record)).cloned().collect()
}

/// Streams until the kept instants begin later, everything is captured and a checkpoint says so. Gives the first one.
fn moved(scenario: &Scenario, job: &Job, captured: &[ReadRecord]) -> Result<i64> {
    let since = |backup: &Backup| backup.log.state.retired.map(|retired| retired.before.get());
    let last = since(&scenario.backup()?);
    let end = |partition: i32| {
        let of_partition = captured.iter().filter(|record| record.partition == partition);
        of_partition.map(|record| record.offset + 1).max()
    };
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    let done = scenario.wait_backup("the window to move", |backup| {
        let is_listed = backup.log.tail.iter().all(|manifest| manifest.retired.is_none());
        let is_captured = [0, 1].into_iter().all(|partition| backup.position(TOPIC, 0, partition) == end(partition));
        Ok(is_listed && is_captured && since(backup) > last)
    });
    done.with_context(|| streamer.process.tail())?;
    streamer.stop()?;
    since(&scenario.backup()?).context("a window")
}

/// Insists that what is held is exactly what the window from `since` on needs, and that whoever asks for segments gets that. Gives
/// the objects of the base.
fn held(scenario: &Scenario, job: &Job, captured: &[ReadRecord], since: i64) -> Result<Vec<String>> {
    job.verify()?;
    let before = since - since.rem_euclid(HOUR);
    let wanted = left(captured, before);
    same(&scenario.backup()?.records(TOPIC, 0)?, &wanted, TOPIC)?;

    let segments = |output: &str| job.segments(&["--topic", TOPIC, "--output", output]);
    let old = wanted.iter().filter(|record| record.timestamp < before).count();
    let is_old = format!("FILTER (WHERE \"timestamp\" < TIMESTAMPTZ '{}')", time(before));
    let sql = segments("duckdb")?;
    let rows = duckdb::query(&format!(
        "SELECT count(*) AS rows, count(DISTINCT (\"partition\", \"offset\")) AS different, count(*) {is_old} AS aged, \
         count(DISTINCT \"key\") {is_old} AS keys FROM ({})",
        sql.trim().trim_end_matches(';')
    ))?;
    let all = wanted.len();
    ensure!(rows == [json!({"rows": all, "different": all, "aged": old, "keys": old})], "{rows:?} of {all}, {old} old");

    let listed: Vec<Value> = serde_json::from_str(&segments("json")?)?;
    let of_base = |entry: &&Value| entry["object"].as_str().is_some_and(|object| object.starts_with("base/"));
    let bases: Vec<&Value> = listed.iter().filter(of_base).collect();
    let runs = bases.iter().filter_map(|entry| entry["runs"].as_array()).flatten();
    let rows: u64 = runs.filter_map(|run| run["rows"].as_u64()).sum();
    ensure!(rows == old as u64, "{rows} records in {bases:?}, and {old} are old");
    Ok(bases.iter().filter_map(|entry| entry["object"].as_str()).map(str::to_owned).collect())
}

/// Restores to an instant, or all there is, and insists that each key has the value that it had then. Gives what was restored.
fn restored(scenario: &Scenario, id: &str, until: Option<i64>, captured: &[ReadRecord]) -> Result<Vec<ReadRecord>> {
    let job = &scenario.job;
    // Under a name that the job does not back up.
    let target = format!("rolled-{id}");
    let restore = Restore::new(scenario.dir(), id, job, job.bootstrap()?).mapped(TOPIC, &target);
    let restore = match until {
        Some(until) => restore.set("pointInTime", json!({"timestamp": time(until)})),
        None => restore,
    };
    restore.done()?;
    let restored = scenario.client.read_all(&target)?;
    let (is, was) = (table(&restored, i64::MAX), table(captured, until.unwrap_or(i64::MAX)));
    ensure!(is == was, "{id}: the table is {is:?}\nand was {was:?}");
    Ok(restored)
}

/// Prunes, and insists that of all segments those are left that count. Gives what is gone.
fn pruned(scenario: &Scenario, job: &Job) -> Result<BTreeSet<String>> {
    let dir = scenario.job.backup_dir();
    past::grow_old(&dir, Duration::from_secs(7200))?;
    let files =
        || -> Result<BTreeSet<String>> { Ok(tree(&dir)?.into_keys().map(|file| file.display().to_string()).collect()) };
    let before = files()?;
    let (code, out, err) = job.run(&["prune"])?;
    ensure!(code == 0, "prune ended with {code}\n{out}\n{err}");
    let after = files()?;
    let is_segment = |file: &&String| ["intake/", "topics/", "base/"].iter().any(|folder| file.starts_with(*folder));
    let segments: BTreeSet<String> = after.iter().filter(is_segment).cloned().collect();
    let live: BTreeSet<String> = scenario.backup()?.objects()?.into_iter().collect();
    ensure!(segments == live, "there are {segments:?}, and {live:?} count");
    Ok(before.difference(&after).cloned().collect())
}

#[test]
fn a78_old_hours_give_way_to_a_base_and_that_to_the_next_and_every_restore_is_as_it_was() -> Result<()> {
    let began = now()?;
    let scenario = old_backup(began)?;
    let keeping = |age: &str| {
        let job = scenario.job.clone().set("/retention", json!({"maxAge": age, "gracePeriod": "0s"}));
        job.set("/backup/refineBytes", json!("64Ki"))
    };
    scenario.client.produce(TOPIC, &hour(7, began - 60_000))?;
    let captured = scenario.client.read_all(TOPIC)?;
    ensure!(captured.len() == 8 * 9, "Kafka has compacted them: {} are left", captured.len());

    let job = keeping("30d");
    let since = moved(&scenario, &job, &captured)?;
    let first = held(&scenario, &job, &captured, since)?;
    ensure!(!first.is_empty(), "four hours have aged");
    let old = restored(&scenario, "old", Some(began - 28 * DAY), &captured)?;
    let keys: BTreeSet<_> = old.iter().map(|record| &record.key).collect();
    ensure!(
        keys.len() == old.len() && old.iter().all(|record| record.value.is_some()),
        "a key twice, or deleted: {old:?}"
    );
    let between = began - 25 * DAY + HOUR + HOUR / 2;
    restored(&scenario, "between", Some(between), &captured)?;

    let gone = pruned(&scenario, &job)?;
    let hours = gone.iter().filter(|object| object.starts_with("topics/")).count();
    ensure!(hours >= 4, "what the base takes the place of is deleted: {gone:?}");
    job.verify()?;
    restored(&scenario, "pruned", Some(between), &captured)?;

    let job = keeping("20d");
    let since = moved(&scenario, &job, &captured)?;
    let second = held(&scenario, &job, &captured, since)?;
    ensure!(!second.is_empty() && first.iter().all(|object| !second.contains(object)), "{first:?}, then {second:?}");
    let gone = pruned(&scenario, &job)?;
    ensure!(first.iter().all(|object| gone.contains(object)), "of {first:?} something is left: {gone:?} is gone");
    job.verify()?;
    restored(&scenario, "young", Some(began - 10 * DAY), &captured)?;
    restored(&scenario, "all", None, &captured)?;
    Ok(())
}
