//! Intake becomes segments of one topic each, and nobody who reads notices.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::duckdb;
use strimzi_backup_tests::restore::{Restore, same_but_offsets};
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::scenario::{Scenario, noise, wait_backup};
use strimzi_backup_tests::streamer::{Job, PATIENCE};
use strimzi_backup_tests::wait;

/// Records of 4 KiB that do not compress, in two partitions.
fn records(range: std::ops::Range<u64>) -> Vec<Record> {
    let partition = |number: u64| i32::from(number % 2 == 1);
    range.map(|n| Record::new(format!("{n}"), noise(n + 1, 4096)).partition(partition(n))).collect()
}

/// Streams until nothing lies in intake any more; gives how many bytes of it were copied.
fn refined(job: &Job, dir: &std::path::Path) -> Result<f64> {
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    streamer.wait_metric("strimzi_backup_refined_segments_total", |count| count > 0.0)?;
    wait_backup(dir, "everything to be refined", |backup| {
        Ok(backup.objects()?.iter().all(|object| object.starts_with("topics/")))
    })?;
    let copied = streamer.metric("strimzi_backup_refined_copied_bytes_total")?;
    streamer.stop()?;
    Ok(copied)
}

#[test]
fn intake_becomes_topic_segments_while_streaming_and_every_reader_sees_each_record_once() -> Result<()> {
    let server = S3Server::start()?;
    let scenario = Scenario::shared("refine")?;
    let topics = ["refine-orders", "refine-payments"];
    for topic in topics {
        scenario.client.create_topic(topic, 2, &[])?;
        scenario.client.produce(topic, &records(0..60))?;
    }
    // Enough of one topic in one cut for a row group that is copied, however it is divided into two.
    let bulk = "refine-bulk";
    scenario.client.create_topic(bulk, 2, &[])?;
    scenario.client.produce(bulk, &records(0..1600))?;
    let job = scenario.job.clone().into_s3(&server, "years").set("/backup/refineBytes", json!("64Ki"));
    let dir = server.dir_of("years");
    // All of it lies in intake first.
    job.clone().set("/backup/refineBytes", json!("1Gi")).set("/backup/commitInterval", json!("2s")).catch_up()?;
    for topic in topics {
        scenario.client.produce(topic, &records(60..90))?;
    }
    let copied = refined(&job, &dir)?;
    ensure!(copied >= f64::from(2 << 20), "{copied} bytes were copied");
    job.verify()?;
    let backup = strimzi_backup_tests::backup::Backup::open(&dir)?;
    for topic in topics {
        ensure!(backup.equals_topic(&scenario.client, topic)? == 90, "{topic}");
    }
    ensure!(backup.equals_topic(&scenario.client, bulk)? == 1600, "{bulk}");
    // What is replaced lies there still, and neither the log nor who asks it counts it.
    ensure!(dir.join("intake").exists(), "replaced segments are left to prune");
    let sql = job.segments(&["--topic", "refine-orders", "--output", "duckdb"])?;
    ensure!(!sql.contains("/intake/"), "{sql}");
    let glob = format!(
        "SELECT count(*) AS rows, count(DISTINCT (lineage, \"partition\", \"offset\")) AS different \
         FROM read_parquet('{}/topics/topic=refine-orders/**/*.parquet')",
        dir.display()
    );
    let rows = duckdb::query(&glob)?;
    ensure!(rows == [json!({"rows": 90, "different": 90})], "{rows:?}");
    let restore = Restore::new(scenario.dir(), "refine", &job, job.bootstrap()?)
        .mapped("refine-orders", "refined-orders")
        .mapped("refine-payments", "refined-payments")
        .mapped(bulk, "refined-bulk");
    restore.done()?;
    for (topic, records) in [(topics[0], 90), (topics[1], 90), (bulk, 1600)] {
        let target = topic.replace("refine", "refined");
        let (source, target) = (scenario.client.read_all(topic)?, scenario.client.read_all(&target)?);
        ensure!(same_but_offsets(&source, &target)? == records, "{topic}");
    }
    Ok(())
}

#[test]
fn a01_killed_while_refining_it_leaves_at_most_files_that_no_manifest_names() -> Result<()> {
    let scenario = Scenario::shared("a01-refine")?;
    scenario.client.create_topic("a01-refine", 2, &[])?;
    let job = scenario.job.clone().set("/backup/refineBytes", json!("64Ki"));
    for round in 0..8_u64 {
        scenario.client.produce("a01-refine", &records(round * 40..(round + 1) * 40))?;
        let mut streamer = job.stream(&[])?;
        streamer.ready()?;
        let wanted = (round + 1) * 40;
        scenario.wait_rows("a01-refine", 0, wanted)?;
        // Refining is under way now, at another point each time.
        streamer.process.kill_9()?;
        ensure!(scenario.backup()?.equals_topic(&scenario.client, "a01-refine")? as u64 == wanted, "round {round}");
    }
    refined(&job, &job.backup_dir())?;
    job.verify()?;
    ensure!(scenario.backup()?.equals_topic(&scenario.client, "a01-refine")? == 320);
    Ok(())
}

#[test]
fn an_hour_that_is_over_is_sealed_and_planned_over_with_one_document() -> Result<()> {
    let scenario = Scenario::shared("sealed")?;
    scenario.client.create_topic("sealed", 1, &[("retention.ms", "-1")])?;
    let day = 1_770_940_800_000_i64;
    for hour in 0..6_i64 {
        let at =
            |n: i64| Record::new(format!("{n}"), format!("{hour}")).partition(0).timestamp(day + hour * 3_600_000 + n);
        scenario.client.produce("sealed", &(0..20).map(at).collect::<Vec<_>>())?;
    }
    let job = scenario.job.clone().set("/backup/refineBytes", json!("64Ki"));
    // What a few cuts brought is less than that; it is refined with the bulk that follows.
    scenario.client.produce("sealed", &[Record::value(noise(1, 200_000)).partition(0)])?;
    refined(&job, &job.backup_dir())?;
    // An hour is sealed when the next one begins, and at the start.
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    let log = || scenario.backup();
    let sealed = wait::wait_until("all hours to be sealed", PATIENCE, || {
        let backup = log()?;
        let sealed = backup.log.sealed.as_ref().map_or(0, |sealed| sealed.buckets.len());
        Ok(sealed >= 6)
    });
    sealed.with_context(|| streamer.process.tail())?;
    streamer.stop()?;
    job.verify()?;
    let backup = log()?;
    ensure!(backup.equals_topic(&scenario.client, "sealed")? == 121);
    let from = strimzi_backup_format::ids::TimestampMs::new(day + 3 * 3_600_000);
    let listings = backup.log.listings(
        |bucket| bucket.overlaps(Some(from), Some(from.plus_millis(300_000))),
        |block| block.overlaps(Some(from), Some(from.plus_millis(300_000))),
    );
    ensure!(listings.len() == 1, "{listings:?}");
    Ok(())
}
