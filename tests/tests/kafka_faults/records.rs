//! Transactions, compaction, and records that are odd, huge or damaged.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use strimzi_backup_tests::client::{KafkaClient, Record};
use strimzi_backup_tests::far_store::FarStore;
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::scenario::{Scenario, bulky, noise, numbered};
use strimzi_backup_tests::wait;

#[test]
fn a45_an_open_transaction_holds_its_partition_and_aborted_records_are_never_captured() -> Result<()> {
    let topic = "a45";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 1, &[])?;
    let aborting = client.transactional_producer("a45-aborting")?;
    let send = |producer: &strimzi_backup_tests::client::Producer, records: &[Record]| -> Result<()> {
        records.iter().try_for_each(|record| producer.send(topic, record))?;
        producer.flush().map(drop)
    };
    aborting.begin()?;
    send(&aborting, &numbered(0..10))?;
    aborting.abort()?;
    let open = client.transactional_producer("a45-open")?;
    open.begin()?;
    send(&open, &numbered(10..20))?;
    client.produce(topic, &numbered(20..25))?;
    let mut streamer = scenario.job.stream(&[])?;
    scenario.wait_backup("the partition behind an open transaction", |backup| {
        Ok(backup.behind(topic) == ["OpenTransaction"])
    })?;
    streamer.wait_metric("strimzi_backup_partitions_behind{kind=\"OpenTransaction\"}", |behind| behind == 1.0)?;
    ensure!(scenario.backup()?.rows(topic, 0) == 0, "nothing is readable yet");
    // A crash of the streamer in the middle of the transaction, and one of the producer: the next one with its id aborts.
    streamer.process.kill_9()?;
    let mut streamer = scenario.job.stream(&[])?;
    streamer.wait_metric("strimzi_backup_partitions_behind{kind=\"OpenTransaction\"}", |behind| behind == 1.0)?;
    drop(open);
    let committing = client.transactional_producer("a45-open")?;
    committing.begin()?;
    send(&committing, &numbered(30..37))?;
    committing.commit()?;
    scenario.wait_rows(topic, 0, 12)?;
    scenario.wait_backup("nothing behind", |backup| Ok(backup.behind(topic).is_empty()))?;
    streamer.stop()?;
    let backup = scenario.backup()?;
    ensure!(backup.equals_topic(client, topic)? == 12, "five plain records and seven committed ones");
    ensure!(backup.position(topic, 0, 0) == Some(client.watermarks(topic, 0)?.1), "past the last marker");
    ensure!(backup.gaps(topic).is_empty(), "{:?}", backup.gaps(topic));
    Ok(())
}

#[test]
fn a46_holes_of_compaction_are_no_gaps() -> Result<()> {
    let topic = "a46";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "100"),
    ];
    client.create_topic(topic, 1, &configs)?;
    let mut produced = 0;
    wait::wait_until("compaction", Duration::from_secs(60), || {
        // Three keys over and over: whole segments are compacted away.
        let keys = (0..30).map(|n| Record::new(format!("k{}", n % 3), format!("{}", produced + n)).partition(0));
        client.produce(topic, &keys.collect::<Vec<_>>())?;
        produced += 30;
        Ok(produced > 60 && client.read_all(topic)?.len() < produced / 2)
    })?;
    scenario.job.catch_up()?;
    let backup = scenario.backup()?;
    ensure!(backup.gaps(topic).is_empty(), "{:?}", backup.gaps(topic));
    let held = backup.records(topic, 0)?;
    // Compaction goes on meanwhile, so that the topic may hold less than was captured, never something else.
    for record in client.read_all(topic)? {
        ensure!(held.contains(&record), "record {} is missing", record.offset);
    }
    ensure!(backup.position(topic, 0, 0) == Some(client.watermarks(topic, 0)?.1), "past the holes at the end");
    Ok(())
}

#[test]
fn a46_segments_compacted_away_before_the_reader_comes_to_them_are_no_gap() -> Result<()> {
    let topic = "a46r";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("min.compaction.lag.ms", "86400000"),
    ];
    client.create_topic(topic, 1, &configs)?;
    let three_keys = |range: std::ops::Range<u64>| -> Vec<Record> {
        let keys = b"abc".iter().cycle();
        bulky(range).into_iter().zip(keys).map(|(record, key)| Record { key: Some(vec![*key]), ..record }).collect()
    };
    let store = FarStore::start()?;
    let mut streamer = store.job(&scenario.job).set("/backup/memoryBudget", json!("64Mi")).stream(&[])?;
    streamer.ready()?;
    client.produce(topic, &three_keys(0..20))?;
    store.wait_rows(topic, 20)?;
    store.proxy.disable()?;
    client.produce(topic, &three_keys(20..1200))?;
    streamer.wait_metric("strimzi_backup_buffered_bytes", |bytes| bytes > 47e6)?;
    // The reader stands in the middle of a log of which only the newest segment and a record of each key will be left.
    client.alter_topic_config(topic, "min.compaction.lag.ms", "0")?;
    wait::wait_until("compaction", Duration::from_secs(60), || Ok(client.read_all(topic)?.len() < 100))?;
    let left = client.read_all(topic)?;
    store.proxy.enable()?;
    store.wait_backup("the end", |backup| Ok(backup.position(topic, 0, 0) == Some(1200)))?;
    streamer.stop()?;
    let backup = store.backup()?;
    ensure!(backup.gaps(topic).is_empty(), "{:?}", backup.gaps(topic));
    let held = backup.records(topic, 0)?;
    ensure!(held.len() < 1100, "whole segments were gone before they were read: {} records", held.len());
    let missing = left.iter().find(|record| !held.contains(record));
    ensure!(missing.is_none(), "record {:?} is missing", missing.map(|record| record.offset));
    Ok(())
}

#[test]
fn a48_a_batch_larger_than_the_fetch_size_is_captured() -> Result<()> {
    let topic = "a48";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 1, &[("max.message.bytes", "20971520")])?;
    let producer = client.clone().property("message.max.bytes", "20000000");
    let records: Vec<Record> =
        [5_usize << 20, 100, 12 << 20, 7].iter().map(|size| Record::new("k", noise(*size as u64, *size))).collect();
    producer.produce(topic, &records)?;
    scenario.job.clone().set("/backup/memoryBudget", json!("64Mi")).catch_up()?;
    ensure!(scenario.backup()?.equals_topic(client, topic)? == 4, "all four");
    Ok(())
}

#[test]
fn a51_odd_records_come_back_byte_for_byte() -> Result<()> {
    let topic = "a51";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 1, &[("max.message.bytes", "4194304")])?;
    let bare = || Record { partition: Some(0), ..Record::default() };
    let mut many = bare();
    many.headers =
        (0..10_000_u32).map(|n| (format!("h{}", n % 7).into_bytes(), Some(n.to_le_bytes().to_vec()))).collect();
    let records = [
        bare(),
        Record { key: Some(Vec::new()), value: Some(Vec::new()), ..bare() },
        Record { key: None, value: Some(Vec::new()), ..bare() },
        Record { key: Some(b"tombstone".to_vec()), ..bare() },
        bare().header("same", Some(b"1")).header("same", Some(b"2")).header("same", None).header("", Some(b"")),
        bare().header(b"\xff\xfe not utf-8".to_vec(), Some(b"\x00\x01")).header("utf-8 \u{1f980}", Some(b"x")),
        bare().header(b"\xff".to_vec(), None),
        Record { key: Some(noise(3, 1 << 20)), value: Some(b"small".to_vec()), ..bare() },
        Record { key: Some(vec![0]), value: Some(noise(4, 1 << 20)), ..bare() },
        many,
    ];
    client.clone().property("message.max.bytes", "4000000").produce(topic, &records)?;
    scenario.job.catch_up()?;
    ensure!(scenario.backup()?.equals_topic(client, topic)? == records.len(), "all records");
    Ok(())
}

#[test]
fn a52_timestamps_are_stored_as_they_are() -> Result<()> {
    let topic = "a52";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    let configs = [("message.timestamp.after.max.ms", "9223372036854775807"), ("retention.ms", "-1")];
    client.create_topic(topic, 1, &configs)?;
    let times =
        [-1, -2, -100_000, 1, 1_700_000_000_000, 1_600_000_000_000, 9_223_372_036_854_000_000, i64::MAX, 5, 5, 5];
    for time in times {
        client.produce(topic, &[Record::value(format!("{time}")).partition(0).timestamp(time)])?;
    }
    client.alter_topic_config(topic, "message.timestamp.type", "LogAppendTime")?;
    client.produce(topic, &[Record::value("appended").partition(0).timestamp(7)])?;
    client.alter_topic_config(topic, "message.timestamp.type", "CreateTime")?;
    client.produce(topic, &[Record::value("created").partition(0).timestamp(8)])?;
    scenario.job.catch_up()?;
    let backup = scenario.backup()?;
    ensure!(backup.equals_topic(client, topic)? == times.len() + 2, "all records");
    let kinds: Vec<&str> = backup.records(topic, 0)?.iter().map(|record| record.timestamp_type).collect();
    ensure!(kinds[times.len()..] == ["LogAppendTime", "CreateTime"], "{kinds:?}");
    // The index of each run is exact, whatever the clock of the producer said.
    let mut positions = backup.log.state.positions.iter().filter(|(key, _)| key.topic.as_str() == topic);
    let (_, position) = positions.next().context("a position")?;
    let bounds = (position.lowest_timestamp.map(|t| t.get()), position.highest_timestamp.map(|t| t.get()));
    ensure!(bounds == (Some(-100_000), Some(i64::MAX)), "{bounds:?}");
    // The first one has no timestamp: it is filed under the hour it came in, and nothing later before it.
    let runs = backup.segments()?.into_iter().flat_map(|segment| segment.runs);
    let mut runs: Vec<_> = runs.filter(|run| run.topic.as_str() == topic).collect();
    runs.sort_by_key(|run| run.range);
    let hours: Vec<String> = runs.iter().map(|run| run.bucket.to_string()).collect();
    ensure!(hours.is_sorted() && hours.first().is_some_and(|first| first.as_str() > "2026"), "{hours:?}");
    Ok(())
}

#[test]
fn a53_every_legal_topic_name_has_a_place_of_its_own() -> Result<()> {
    let scenario = Scenario::shared("a53")?;
    let client = &scenario.client;
    let names: Vec<String> = ["a53", "a53.", "a53-A", "a53-a", "a53..b", "a53.c_d.e"].map(str::to_owned).into();
    let long = format!("a53{}", "x".repeat(246));
    let internal = "__a53".to_owned();
    for name in names.iter().chain([&long, &internal]) {
        client.create_topic(name, 1, &[])?;
        client.produce(name, &[Record::value(name.clone())])?;
    }
    // `a53.*` does not name the internal topic, so that it is left out although it would match `.*a53`.
    let job = scenario.job.clone().set("/topics/include", json!(["a53.*", ".*a53"]));
    job.set("/backup/topicSegmentBytes", json!("64Ki")).catch_up()?;
    let backup = scenario.backup()?;
    for name in names.iter().chain([&long]) {
        ensure!(backup.equals_topic(client, name)? == 1, "{name}");
    }
    ensure!(backup.topic(&internal).is_err(), "an internal topic must be named");
    scenario.job.clone().set("/topics/include", json!(["a53.*", "__a53"])).catch_up()?;
    ensure!(scenario.backup()?.equals_topic(client, &internal)? == 1, "named, hence captured");
    Ok(())
}

/// One record in a batch of its own, so that each batch can be found in the file.
fn produce_one_by_one(client: &KafkaClient, topic: &str, count: usize) -> Result<()> {
    (0..count).try_for_each(|number| client.produce(topic, &numbered(number..number + 1)).map(drop))
}

/// The byte positions at which the batches of a log file begin.
fn batches(log: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(length) = log.get(at + 8..at + 12) {
        let length = u32::from_be_bytes(length.try_into().unwrap_or_default()) as usize;
        if length == 0 {
            break;
        }
        starts.push(at);
        at += 12 + length;
    }
    starts
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |mut crc, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
        }
        crc
    })
}

/// Streams a log whose tenth batch `spoil` damages on the broker's disk: the nine before it are captured, the partition
/// then stands still, and another topic goes on.
fn stands_still_at_a_spoilt_batch(name: &str, spoil: impl Fn(&mut [u8])) -> Result<()> {
    let (bad, good) = (format!("{name}-bad"), format!("{name}-good"));
    let mut broker = KafkaBroker::start()?;
    let scenario = Scenario::on(&broker, name)?;
    let client = &scenario.client;
    client.create_topic(&bad, 1, &[])?;
    client.create_topic(&good, 1, &[])?;
    produce_one_by_one(client, &bad, 20)?;
    broker.stop()?;
    let file = broker.data_dir().join(format!("{bad}-0/00000000000000000000.log"));
    spoil_batch(&file, 9, &spoil)?;
    broker.restart()?;
    client.produce(&good, &numbered(0..50))?;
    let mut streamer = scenario.job.stream(&[])?;
    scenario.wait_rows(&good, 0, 50)?;
    scenario.wait_rows(&bad, 0, 9)?;
    streamer.wait_metric("strimzi_backup_kafka_errors_total{kind=\"Corrupt\"}", |count| count >= 5.0)?;
    scenario.wait_backup("the partition behind", |backup| Ok(backup.behind(&bad) == ["Corrupt"]))?;
    client.produce(&good, &numbered(50..60))?;
    scenario.wait_rows(&good, 0, 60)?;
    let log = streamer.log();
    streamer.stop()?;
    let backup = scenario.backup()?;
    ensure!(backup.rows(&bad, 0) == 9 && backup.position(&bad, 0, 0) == Some(9), "nothing spoilt is stored");
    ensure!(backup.gaps(&bad).is_empty(), "nothing is given up");
    let lines = log.iter().filter(|line| line["fault"] == "Corrupt").count();
    // Once when it is found, and once more where records before it were still under way.
    ensure!((1..=2).contains(&lines), "said {lines} times");
    Ok(())
}

fn spoil_batch(file: &Path, batch: usize, spoil: &impl Fn(&mut [u8])) -> Result<()> {
    let mut log = std::fs::read(file)?;
    let starts = batches(&log);
    let (start, end) = (starts[batch], starts[batch + 1]);
    spoil(&mut log[start..end]);
    Ok(std::fs::write(file, log)?)
}

#[test]
fn a49_a_batch_with_a_wrong_checksum_is_never_stored() -> Result<()> {
    stands_still_at_a_spoilt_batch("a49", |batch| {
        let last = batch.len() - 2;
        batch[last] ^= 1;
    })
}

#[test]
fn a50_an_unknown_codec_stops_its_partition_loudly() -> Result<()> {
    stands_still_at_a_spoilt_batch("a50", |batch| {
        // Attributes: codec 6 does not exist. Everything from them on is under the checksum.
        batch[22] |= 6;
        let checksum = crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    })
}

#[test]
fn a50_an_unknown_record_version_stops_its_partition_loudly() -> Result<()> {
    // The version is before what the checksum covers.
    stands_still_at_a_spoilt_batch("a50v", |batch| batch[16] = 3)
}
