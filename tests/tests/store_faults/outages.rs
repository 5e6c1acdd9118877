//! Stores that refuse, stall, trickle or are cut off: bounded memory, no record skipped, on again by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use strimzi_backup_tests::backup::{Backup, same};
use strimzi_backup_tests::client::KafkaClient;
use strimzi_backup_tests::far_store::FarStore;
use strimzi_backup_tests::front::{Front, Verdict};
use strimzi_backup_tests::http;
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::scenario::{Scenario, bulky, numbered, wait_backup};
use strimzi_backup_tests::streamer::Job;
use strimzi_backup_tests::toxiproxy::Direction;
use strimzi_backup_tests::wait;

const MIB: f64 = 1_048_576.0;

fn wait_rows(server: &S3Server, name: &str, rows: u64) -> Result<()> {
    wait_backup(&server.dir_of(name), "records", |backup| Ok(backup.rows(name, 0) >= rows))
}

#[test]
fn a13_a_store_that_fails_half_of_its_calls_and_then_all_loses_nothing_and_bounds_memory() -> Result<()> {
    let name = "a13";
    let scenario = Scenario::shared(name)?;
    let client = &scenario.client;
    client.create_topic(name, 1, &[])?;
    let server = S3Server::start()?;
    let (calls, every) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let judge = Arc::clone(&every);
    let front = Front::start(&server.address(), move |_| match judge.load(Ordering::Relaxed) {
        0 => Verdict::Forward,
        every if calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(every) => Verdict::Refuse(503, "SlowDown"),
        _ => Verdict::Forward,
    })?;
    let job = scenario.job.clone().into_s3(&server, name);
    let job = job.set("/storage/s3/endpoint", json!(front.endpoint())).set("/backup/memoryBudget", json!("64Mi"));
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    every.store(2, Ordering::Relaxed);
    client.produce(name, &bulky(0..50))?;
    wait_rows(&server, name, 50)?;
    every.store(1, Ordering::Relaxed);
    client.produce(name, &bulky(50..1500))?;
    streamer.wait_metric("strimzi_backup_store_failing", |failing| failing == 1.0)?;
    // 145 MB are waiting; 48 MiB are the budget's share of 64.
    streamer.wait_metric("strimzi_backup_buffered_bytes", |bytes| bytes > 40.0 * MIB)?;
    let lag = streamer.metric("strimzi_backup_lag_seconds")?;
    streamer.wait_metric("strimzi_backup_lag_seconds", |now| now > lag + 5.0)?;
    let buffered = streamer.metric("strimzi_backup_buffered_bytes")?;
    let budget = streamer.metric("strimzi_backup_memory_budget_bytes")?;
    // The last record alone may overdraw the budget.
    ensure!(buffered <= budget + 200_000.0, "{buffered} bytes buffered, {budget} allowed");
    every.store(0, Ordering::Relaxed);
    wait_rows(&server, name, 1500)?;
    streamer.wait_metric("strimzi_backup_store_failing", |failing| failing == 0.0)?;
    streamer.wait_metric("strimzi_backup_lag_seconds", |lag| lag < 5.0)?;
    streamer.stop()?;
    let backup = Backup::open(&server.dir_of(name))?;
    ensure!(backup.equals_topic(client, name)? == 1500, "every record, once");
    ensure!(backup.gaps(name).is_empty(), "{:?}", backup.gaps(name));
    Ok(())
}

#[test]
fn a14_an_outage_longer_than_retention_is_a_gap_with_exact_offsets() -> Result<()> {
    let name = "a14";
    let scenario = Scenario::shared(name)?;
    let client = &scenario.client;
    client.create_topic(name, 1, &[("segment.bytes", "1048576"), ("retention.bytes", "-1")])?;
    let store = FarStore::start()?;
    let mut streamer = store.job(&scenario.job).set("/backup/memoryBudget", json!("64Mi")).stream(&[])?;
    streamer.ready()?;
    client.produce(name, &bulky(0..20))?;
    store.wait_rows(name, 20)?;
    store.proxy.disable()?;
    // Far more than is buffered while the store is away, and then all but the last is taken by retention.
    client.produce(name, &bulky(20..2000))?;
    streamer.wait_metric("strimzi_backup_buffered_bytes", |bytes| bytes > 40.0 * MIB)?;
    let all = client.read_all(name)?;
    client.alter_topic_config(name, "retention.bytes", "5242880")?;
    wait::wait_until("retention", Duration::from_secs(60), || Ok(client.watermarks(name, 0)?.0 > 1800))?;
    store.proxy.enable()?;
    streamer.wait_metric("strimzi_backup_lost_offsets_total{kind=\"RetentionOverrun\"}", |lost| lost > 0.0)?;
    client.produce(name, &bulky(2000..2020))?;
    store.wait_backup("the end", |backup| Ok(backup.position(name, 0, 0) == Some(2020)))?;
    streamer.stop()?;
    let backup = store.backup()?;
    let [(0, 0, from, to, "RetentionOverrun")] = backup.gaps(name)[..] else {
        anyhow::bail!("one gap: {:?}", backup.gaps(name));
    };
    let held = backup.records(name, 0)?;
    let offsets: Vec<i64> = held.iter().map(|record| record.offset).collect();
    ensure!(offsets.iter().copied().eq((0..from).chain(to..2020)), "every offset is held or in the gap");
    ensure!(from > 20 && to > 1800, "gap [{from}, {to})");
    let kept: Vec<_> = all.into_iter().filter(|record| !(from..to).contains(&record.offset)).collect();
    same(&held[..kept.len()], &kept, name)?;
    Ok(())
}

#[test]
fn a39_headroom_low_fires_before_the_gap() -> Result<()> {
    let name = "a39h";
    let scenario = Scenario::shared(name)?;
    let client = &scenario.client;
    client.create_topic(name, 1, &[("segment.bytes", "1048576"), ("retention.bytes", "-1")])?;
    let store = FarStore::start()?;
    let mut streamer = store.job(&scenario.job).set("/backup/memoryBudget", json!("64Mi")).stream(&[])?;
    streamer.ready()?;
    client.produce(name, &bulky(0..20))?;
    store.wait_rows(name, 20)?;
    store.proxy.disable()?;
    client.produce(name, &bulky(20..2000))?;
    streamer.wait_metric("strimzi_backup_buffered_bytes", |bytes| bytes > 47.0 * MIB)?;
    ensure!(streamer.metric("strimzi_backup_headroom_low_partitions")? == 0.0, "retention is far away yet");
    // About 500 records are held and 1500 lie before the reader; retention comes up behind it, to within 100.
    let held = streamer.metric("strimzi_backup_buffered_bytes")? / 100_100.0;
    client.alter_topic_config(name, "retention.bytes", &format!("{:.0}", (1980.0 - held + 90.0) * 100_100.0))?;
    streamer.wait_metric("strimzi_backup_headroom_low_partitions", |low| low == 1.0)?;
    streamer.wait_log("HeadroomLow")?;
    let start_at_the_warning = client.watermarks(name, 0)?.0;
    client.alter_topic_config(name, "retention.bytes", "5242880")?;
    wait::wait_until("retention", Duration::from_secs(60), || Ok(client.watermarks(name, 0)?.0 > 1800))?;
    store.proxy.enable()?;
    store.wait_backup("the end", |backup| Ok(backup.position(name, 0, 0) == Some(2000)))?;
    streamer.wait_metric("strimzi_backup_headroom_low_partitions", |low| low == 0.0)?;
    streamer.stop()?;
    let backup = store.backup()?;
    let [(0, 0, from, _, "RetentionOverrun")] = backup.gaps(name)[..] else {
        anyhow::bail!("one gap: {:?}", backup.gaps(name));
    };
    ensure!(start_at_the_warning < from, "nothing was lost yet at {start_at_the_warning}, the gap begins at {from}");
    Ok(())
}

#[test]
fn a15_a_slow_a_trickling_and_a_stalled_store_are_lived_through() -> Result<()> {
    let name = "a15";
    let scenario = Scenario::shared(name)?;
    let client = &scenario.client;
    client.create_topic(name, 1, &[])?;
    let store = FarStore::start()?;
    let mut streamer = store.job(&scenario.job).stream(&[])?;
    streamer.ready()?;
    let address = streamer.http()?;
    let toxics = [
        ("latency", Direction::Downstream, json!({"latency": 1500})),
        ("slicer", Direction::Downstream, json!({"average_size": 10, "size_variation": 5, "delay": 20_000})),
    ];
    let mut produced = 0;
    for (kind, direction, attributes) in toxics {
        store.proxy.add_toxic(kind, kind, direction, &attributes)?;
        client.produce(name, &numbered(produced..produced + 100))?;
        produced += 100;
        store.wait_rows(name, u64::try_from(produced)?)?;
        store.proxy.remove_toxic(kind)?;
    }
    // Swallows every answer: each call runs into its deadline, and the process stays answerable meanwhile.
    store.proxy.add_toxic("stall", "timeout", Direction::Downstream, &json!({"timeout": 0}))?;
    client.produce(name, &numbered(produced..produced + 100))?;
    streamer.wait_metric("strimzi_backup_store_failing", |failing| failing == 1.0)?;
    let asked = Instant::now();
    ensure!(http::get(&address, "/livez")?.status == 200, "alive while the store stalls");
    ensure!(asked.elapsed() < Duration::from_secs(2), "answered late");
    store.proxy.remove_toxic("stall")?;
    store.wait_rows(name, 300)?;
    streamer.stop()?;
    ensure!(store.backup()?.equals_topic(client, name)? == 300, "every record, once");
    Ok(())
}

/// A job whose keys for the store are in files.
fn with_key_files(scenario: &Scenario, server: &S3Server, name: &str) -> Result<Job> {
    write_keys(scenario, server)?;
    let job = scenario.job.clone().into_s3(server, name).environment("AWS_ACCESS_KEY_ID", "");
    Ok(job
        .environment("AWS_SECRET_ACCESS_KEY", "")
        .set("/storage/s3/accessKeyIdFile", json!(scenario.dir().join("key-id")))
        .set("/storage/s3/secretAccessKeyFile", json!(scenario.dir().join("secret"))))
}

fn write_keys(scenario: &Scenario, server: &S3Server) -> Result<()> {
    std::fs::write(scenario.dir().join("key-id"), server.access_key())?;
    Ok(std::fs::write(scenario.dir().join("secret"), server.secret_key())?)
}

#[test]
fn a28_revoked_keys_show_in_a_metric_and_new_ones_are_taken_without_a_restart() -> Result<()> {
    let name = "a28";
    let scenario = Scenario::shared(name)?;
    let client = &scenario.client;
    client.create_topic(name, 1, &[])?;
    let mut server = S3Server::start()?;
    let job = with_key_files(&scenario, &server, name)?;
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    client.produce(name, &numbered(0..100))?;
    wait_rows(&server, name, 100)?;
    let access_key = server.access_key().to_owned();
    server.rotate_keys(&access_key, "rotated-secret-key")?;
    client.produce(name, &numbered(100..200))?;
    streamer.wait_metric("strimzi_backup_store_failing", |failing| failing == 1.0)?;
    write_keys(&scenario, &server)?;
    wait_rows(&server, name, 200)?;
    streamer.wait_metric("strimzi_backup_store_failing", |failing| failing == 0.0)?;
    ensure!(streamer.process.stderr().contains("403 Forbidden"), "the log says why\n{}", streamer.process.tail());
    let output = format!("{}{}", streamer.process.stderr(), streamer.process.stdout());
    strimzi_backup_tests::scenario::shows_none_of(&output, &["test-secret-key", "rotated-secret-key"])?;
    streamer.stop()?;
    ensure!(Backup::open(&server.dir_of(name))?.equals_topic(client, name)? == 200, "every record, once");
    Ok(())
}

#[test]
fn a22_a_store_without_room_is_waited_for() -> Result<()> {
    let name = "a22q";
    let scenario = Scenario::shared(name)?;
    let client: &KafkaClient = &scenario.client;
    client.create_topic(name, 1, &[])?;
    let server = S3Server::start()?;
    let full = Arc::new(AtomicBool::new(false));
    let judge = Arc::clone(&full);
    let front = Front::start(&server.address(), move |head| {
        let refused = head.method == "PUT" && judge.load(Ordering::Relaxed);
        if refused { Verdict::Refuse(507, "QuotaExceeded") } else { Verdict::Forward }
    })?;
    let job = scenario.job.clone().into_s3(&server, name).set("/storage/s3/endpoint", json!(front.endpoint()));
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    full.store(true, Ordering::Relaxed);
    client.produce(name, &numbered(0..100))?;
    streamer.wait_metric("strimzi_backup_store_failing", |failing| failing == 1.0)?;
    streamer.wait_log("QuotaExceeded")?;
    ensure!(Backup::open(&server.dir_of(name))?.rows(name, 0) == 0, "nothing is half there");
    full.store(false, Ordering::Relaxed);
    wait_rows(&server, name, 100)?;
    streamer.stop()?;
    ensure!(Backup::open(&server.dir_of(name))?.equals_topic(client, name)? == 100, "every record, once");
    Ok(())
}
