//! What a restore finds at the target, and what it leaves there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use serde_json::json;
use strimzi_backup_tests::client::{ReadRecord, Record};
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::restore::{Restore, same_but_offsets};
use strimzi_backup_tests::scenario::{Scenario, noise, numbered, shared_broker};
use strimzi_backup_tests::streamer::PATIENCE;

use super::{begun, kilobytes, overrides, reset};

fn restore(scenario: &Scenario, id: &str) -> Result<Restore> {
    Ok(Restore::new(scenario.dir(), id, &scenario.job, &shared_broker()?.bootstrap()))
}

/// A restore that must not begin: everything that stands in its way.
fn refused(restore: &Restore) -> Result<String> {
    let (code, out, err) = restore.run(&[])?;
    ensure!(code == 2, "ended with {code}\n{out}\n{err}");
    ensure!(err.contains("nothing was written"), "{err}");
    Ok(err)
}

#[test]
fn a68_everything_that_stands_in_the_way_is_told_at_once_and_nothing_is_written() -> Result<()> {
    let scenario = Scenario::shared("a68")?;
    for topic in ["a68-there", "a68-wide", "a68-missing"] {
        scenario.client.create_topic(topic, 2, &[])?;
        scenario.client.produce(topic, &numbered(0..20))?;
    }
    scenario.job.catch_up()?;
    scenario.client.create_topic("b68-wide", 3, &[])?;
    let before = scenario.client.read_all("a68-there")?;
    let blocked = restore(&scenario, "a68")?
        .mapped("a68-wide", "b68-wide")
        .mapped("a68-missing", "b68-missing")
        .set("existingTopicPolicy", json!("append"))
        .set("topicCreation", json!("manual"));
    let told = refused(&blocked)?;
    ensure!(told.contains("b68-wide has 3 partitions and 2 are restored"), "{told}");
    ensure!(told.contains("b68-missing is missing"), "{told}");
    let told = refused(&restore(&scenario, "a68")?)?;
    for topic in ["a68-there", "a68-wide", "a68-missing"] {
        ensure!(told.contains(&format!("topic {topic} is there already, with 2 partitions and 20 offsets")), "{told}");
    }
    assert_eq!(scenario.client.read_all("a68-there")?, before);
    assert_eq!(scenario.client.partition_count("b68-missing")?, 0);
    ensure!(!scenario.job.backup_dir().join("restores").exists(), "a refused restore leaves nothing in the store");
    Ok(())
}

#[test]
fn a68_append_adds_and_overwrite_replaces() -> Result<()> {
    let scenario = Scenario::shared("policy")?;
    scenario.client.create_topic("policy-orders", 1, &[])?;
    scenario.client.produce("policy-orders", &numbered(0..50))?;
    scenario.job.catch_up()?;
    let source = scenario.client.read_all("policy-orders")?;
    scenario.client.create_topic("kept-orders", 1, &[])?;
    scenario.client.produce("kept-orders", &[Record::new("mine", "first").partition(0)])?;
    let into = |id: &str, policy: &str| -> Result<Restore> {
        Ok(restore(&scenario, id)?.mapped("policy-orders", "kept-orders").set("existingTopicPolicy", json!(policy)))
    };
    into("appended", "append")?.done()?;
    let records = scenario.client.read_all("kept-orders")?;
    assert_eq!(records[0].value.as_deref(), Some(b"first".as_slice()));
    same_but_offsets(&source, &records[1..])?;
    let plan = into("overwritten", "overwrite")?.plan()?;
    assert_eq!(plan["topics"][0]["action"], "Recreate");
    ensure!(plan["warnings"].to_string().contains("deletes"), "{}", plan["warnings"]);
    into("overwritten", "overwrite")?.done()?;
    same_but_offsets(&source, &scenario.client.read_all("kept-orders")?)?;
    Ok(())
}

#[test]
fn a68_records_are_spread_over_other_partitions_by_key() -> Result<()> {
    let scenario = Scenario::shared("spread")?;
    scenario.client.create_topic("spread-orders", 3, &[])?;
    // The Java client's partitioner, so that producers and the restore can be compared.
    let murmur2 = scenario.client.clone().property("partitioner", "murmur2_random");
    let records: Vec<Record> =
        (0..600).map(|number| Record::new(format!("key-{}", number % 40), format!("{number}"))).collect();
    murmur2.produce("spread-orders", &records)?;
    murmur2.produce("spread-orders", &[Record::value("no key").partition(2)])?;
    scenario.job.catch_up()?;
    let spread = restore(&scenario, "spread")?
        .set("topicMapping", json!([{"sourceTopic": "spread-orders", "targetTopic": "wide-orders", "partitions": 7}]));
    spread.done()?;
    scenario.client.create_topic("wide-reference", 7, &[])?;
    murmur2.produce("wide-reference", &records)?;
    let places = |topic: &str| -> Result<BTreeMap<Option<Vec<u8>>, BTreeSet<i32>>> {
        let mut places: BTreeMap<_, BTreeSet<i32>> = BTreeMap::new();
        for record in scenario.client.read_all(topic)?.into_iter().filter(|record| record.key.is_some()) {
            places.entry(record.key).or_default().insert(record.partition);
        }
        Ok(places)
    };
    assert_eq!(places("wide-orders")?, places("wide-reference")?);
    let written = scenario.client.read_all("wide-orders")?;
    assert_eq!(written.len(), 601);
    // Of each key, in their order.
    for key in 0..40 {
        let of_key = |records: &[ReadRecord]| -> Vec<Option<Vec<u8>>> {
            let key = format!("key-{key}").into_bytes();
            let of_key = records.iter().filter(|record| record.key.as_deref() == Some(&key));
            of_key.map(|record| record.value.clone()).collect()
        };
        assert_eq!(of_key(&written), of_key(&scenario.client.read_all("spread-orders")?), "key-{key}");
    }
    Ok(())
}

#[test]
fn a51_and_a52_odd_records_come_back_byte_for_byte_and_settings_are_set_back() -> Result<()> {
    let scenario = Scenario::shared("odd")?;
    let far = [
        ("message.timestamp.after.max.ms", "9223372036854775807"),
        ("cleanup.policy", "compact"),
        ("retention.ms", "1000"),
    ];
    scenario.client.create_topic("odd-records", 1, &far)?;
    let odd = |record: Record| record.partition(0);
    let records: Vec<Record> = vec![
        odd(Record::new("", "")),
        odd(Record::tombstone("gone")),
        odd(Record::new("k", "v").header("h", None).header("h", Some(b"")).header(vec![0xff, 0xfe], Some(b"raw"))),
        odd(Record::new("late", "a hundred years ahead").timestamp(4_900_000_000_000)),
        odd(Record::new("old", "1970").timestamp(1)),
        odd(Record::new("none", "no time").timestamp(-1)),
        odd(Record::new("large", vec![7_u8; 900_000])),
    ];
    scenario.client.produce("odd-records", &records)?;
    scenario.client.create_topic("odd-appended", 1, &[("message.timestamp.type", "LogAppendTime")])?;
    scenario.client.produce("odd-appended", &numbered(0..30))?;
    scenario.job.catch_up()?;
    restore(&scenario, "odd")?.mapped("odd-records", "even-records").mapped("odd-appended", "even-appended").done()?;
    for (source, target) in [("odd-records", "even-records"), ("odd-appended", "even-appended")] {
        same_but_offsets(&scenario.client.read_all(source)?, &scenario.client.read_all(target)?)?;
        assert_eq!(overrides(&scenario.job, source)?, overrides(&scenario.job, target)?, "{target}");
    }
    Ok(())
}

#[test]
fn a48_a_record_larger_than_the_target_takes_is_refused_by_the_plan_unless_the_limit_may_be_raised() -> Result<()> {
    let scenario = Scenario::shared("a48")?;
    scenario.client.create_topic("a48-large", 1, &[("max.message.bytes", "4000000")])?;
    scenario.client.create_topic("a48-small", 1, &[])?;
    scenario.client.produce("a48-small", &numbered(0..50))?;
    let large = scenario.client.clone().property("message.max.bytes", "4000000");
    large.produce("a48-large", &numbered(0..10))?;
    large.produce("a48-large", &[Record::value(noise(48, 2_000_000)).partition(0)])?;
    scenario.job.catch_up()?;
    // 61 of the batch, 4 of the record's length, 3 of its own, 1 of no key, 4 of the value's length, 1 of no headers.
    let bytes = 2_000_000 + 74;
    scenario.client.create_topic("b48-large", 1, &[])?;
    let appended = |id: &str| -> Result<Restore> {
        let mapped = restore(&scenario, id)?.mapped("a48-large", "b48-large").mapped("a48-small", "b48-small");
        Ok(mapped.set("existingTopicPolicy", json!("append")))
    };
    let limit = format!(
        "topic b48-large takes records of at most 1048588 bytes (max.message.bytes), and one of up to {bytes} is restored"
    );
    for restore in [appended("a48-there")?, appended("a48-there")?.set("raiseMessageLimit", json!(true))] {
        let told = refused(&restore)?;
        ensure!(told.contains(&limit) && told.contains("while it is restored"), "{told}");
    }
    assert_eq!(scenario.client.read_all("b48-large")?, []);
    assert_eq!(scenario.client.partition_count("b48-small")?, 0);
    // As if the brokers of the source had let it in: the topic has no limit of its own.
    reset(&scenario.job, "a48-large", "max.message.bytes")?;
    scenario.job.catch_up()?;
    let created = |id: &str| -> Result<Restore> {
        Ok(restore(&scenario, id)?.mapped("a48-large", "c48-large").mapped("a48-small", "c48-small"))
    };
    let told = refused(&created("a48-refused")?)?;
    ensure!(
        told.contains("c48-large takes records of at most 1048588") && told.contains("raiseMessageLimit"),
        "{told}"
    );
    assert_eq!(scenario.client.partition_count("c48-small")?, 0);
    let consented = created("a48")?.set("raiseMessageLimit", json!(true));
    let raised = json!([{"warning": "raisesLimit", "topic": "c48-large", "bytes": bytes, "insteadOf": 1_048_588}]);
    assert_eq!(consented.plan()?["warnings"], raised);
    assert_eq!(consented.done()?["warnings"], raised);
    for (source, target) in [("a48-large", "c48-large"), ("a48-small", "c48-small")] {
        same_but_offsets(&scenario.client.read_all(source)?, &scenario.client.read_all(target)?)?;
    }
    assert_eq!(overrides(&scenario.job, "c48-large")?["max.message.bytes"], bytes.to_string());
    assert_eq!(overrides(&scenario.job, "c48-small")?, BTreeMap::new());
    Ok(())
}

#[test]
fn a72_restores_into_another_cluster_from_the_bucket_alone() -> Result<()> {
    let mut source = KafkaBroker::start()?;
    let scenario = Scenario::on(&source, "a72")?;
    scenario.client.create_topic("a72-orders", 3, &[("retention.ms", "-1"), ("min.insync.replicas", "1")])?;
    let records: Vec<Record> = (0..2000).map(|number| Record::new(format!("{number}"), format!("{number}"))).collect();
    scenario.client.produce("a72-orders", &records)?;
    scenario.job.catch_up()?;
    let held = scenario.client.read_all("a72-orders")?;
    source.stop()?;
    drop(source);
    let report = restore(&scenario, "a72")?.done()?;
    let target = shared_broker()?.client();
    assert_eq!(json!(same_but_offsets(&held, &target.read_all("a72-orders")?)?), report["records"]);
    scenario.job.verify()?;
    let (code, out, _) = scenario.job.run(&["verify"])?;
    ensure!(code == 0 && !out.contains("orphans"), "what restores keep is no orphan\n{out}");
    let (code, out, _) = scenario.job.run(&["restores"])?;
    ensure!(code == 0 && out.contains("a72 ") && out.contains("2000 records"), "{out}");
    Ok(())
}

#[test]
fn a_snapshot_is_restored_to_its_exact_positions() -> Result<()> {
    let scenario = Scenario::shared("snap")?;
    scenario.client.create_topic("snap-orders", 1, &[])?;
    let mut streamer = scenario.job.stream(&[])?;
    streamer.ready()?;
    scenario.client.produce("snap-orders", &numbered(0..100))?;
    scenario.wait_rows("snap-orders", 0, 100)?;
    let (code, out, err) = scenario.job.run(&["snapshot", "--id", "before-the-upgrade"])?;
    ensure!(code == 0, "{out}\n{err}");
    // Older than what came before, and yet after the snapshot.
    let late: Vec<Record> =
        (0..50).map(|number| Record::new("late", format!("{number}")).partition(0).timestamp(1)).collect();
    scenario.client.produce("snap-orders", &late)?;
    scenario.wait_rows("snap-orders", 0, 150)?;
    streamer.stop()?;
    let unknown = restore(&scenario, "snap")?.set("backupId", json!("before-the-upgrad")).run(&[])?;
    ensure!(unknown.0 == 2 && unknown.2.contains("before-the-upgrade"), "{unknown:?}");
    let report = restore(&scenario, "snap")?
        .set("backupId", json!("before-the-upgrade"))
        .mapped("snap-orders", "snapped-orders")
        .done()?;
    assert_eq!(report["records"], 100);
    same_but_offsets(&scenario.client.read_all("snap-orders")?[..100], &scenario.client.read_all("snapped-orders")?)?;
    Ok(())
}

#[test]
fn what_others_write_meanwhile_is_reported() -> Result<()> {
    let scenario = Scenario::shared("foreign")?;
    scenario.client.create_topic("foreign-orders", 1, &[])?;
    scenario.client.produce("foreign-orders", &kilobytes(2000))?;
    scenario.job.catch_up()?;
    let slow = restore(&scenario, "foreign")?.mapped("foreign-orders", "shared-orders").set("throttle", json!("512Ki"));
    let mut process = slow.start()?;
    begun(&scenario.client, "shared-orders")?;
    scenario.client.produce("shared-orders", &[Record::new("theirs", "in between").partition(0)])?;
    let status = process.wait(PATIENCE)?;
    ensure!(status.success(), "{status}\n{}", process.tail());
    let report = slow.done()?;
    assert_eq!(report["foreignWrites"], json!([{"topic": "shared-orders", "partition": 0, "offsets": 1}]));
    Ok(())
}
