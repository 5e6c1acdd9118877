//! What goes wrong while a restore runs, or before it begins.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use strimzi_backup_format::manifest::Segment;
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::restore::{Restore, same_but_offsets};
use strimzi_backup_tests::scenario::{Scenario, flip, noise, now, numbered, shared_broker};
use strimzi_backup_tests::sealing::Sealing;
use strimzi_backup_tests::streamer::PATIENCE;

use super::{begun, kilobytes, time};

/// A restore that needs a damaged segment, and one of the same backup that does not.
fn damaged_segment(name: &str, sealing: Sealing) -> Result<()> {
    let mut scenario = Scenario::shared(name)?.sealed(sealing)?;
    scenario.job = scenario.job.set("/backup/topicSegmentBytes", json!("64Ki"));
    let [broken, whole] = ["broken", "whole"].map(|kind| format!("{name}-{kind}"));
    for topic in [&broken, &whole] {
        scenario.client.create_topic(topic, 1, &[])?;
        scenario.client.produce(topic, &kilobytes(500))?;
    }
    scenario.job.catch_up()?;
    let segments = scenario.backup()?.segments()?;
    let is_of_topic =
        |segment: &&Segment| !segment.is_intake() && segment.runs.iter().any(|run| run.topic.as_str() == broken);
    let object = segments.iter().find(is_of_topic).context("a topic segment")?.object.to_string();
    flip(&scenario.job.backup_dir().join(&object))?;
    let of = |id: &str, topic: &str| -> Result<Restore> {
        let restore = Restore::new(scenario.dir(), id, &scenario.job, &shared_broker()?.bootstrap());
        Ok(restore.set("topics", json!({"include": [topic]})).mapped(topic, &format!("{topic}-again")))
    };
    let (code, _, err) = of(&format!("{name}-1"), &broken)?.run(&[])?;
    ensure!(code == 4, "ended with {code}\n{err}");
    ensure!(err.contains(&object) && err.contains(&format!("{broken}-0")), "{err}");
    of(&format!("{name}-2"), &whole)?.done()?;
    same_but_offsets(&scenario.client.read_all(&whole)?, &scenario.client.read_all(&format!("{whole}-again"))?)?;
    Ok(())
}

#[test]
fn a57_a_damaged_segment_ends_a_restore_that_needs_it_and_no_other() -> Result<()> {
    damaged_segment("a57r", Sealing::Open)
}

#[test]
fn a57_a_damaged_segment_of_an_encrypted_backup_ends_a_restore_that_needs_it_and_no_other() -> Result<()> {
    damaged_segment("sealed-a57r", Sealing::Key)
}

/// The segment that holds the last records of a topic with one partition, and the first offset that it holds.
fn last_segment(scenario: &Scenario, topic: &str) -> Result<(i64, String)> {
    let first = |segment: &Segment| {
        let of_topic = segment.runs.iter().filter(|run| run.topic.as_str() == topic);
        of_topic.map(|run| run.range.base().get()).min()
    };
    let segments = scenario.backup()?.segments()?;
    let found = segments.iter().filter_map(|segment| Some((first(segment)?, segment.object.to_string())));
    found.max().context("a segment of the topic")
}

/// A restore that comes to a segment that is not there, and goes on once it is.
fn missing_segment(name: &str, sealing: Sealing) -> Result<()> {
    let mut scenario = Scenario::shared(name)?.sealed(sealing)?;
    scenario.job = scenario.job.set("/backup/topicSegmentBytes", json!("64Ki"));
    let [topic, target] = ["orders", "again"].map(|kind| format!("{name}-{kind}"));
    scenario.client.create_topic(&topic, 1, &[])?;
    for number in 0..3 {
        let record = |number: u64| Record::new(format!("{number}"), noise(number, 1000)).partition(0);
        let records: Vec<Record> = (number * 100..(number + 1) * 100).map(record).collect();
        scenario.client.produce(&topic, &records)?;
        scenario.job.catch_up()?;
    }
    let source = scenario.client.read_all(&topic)?;
    let (first, object) = last_segment(&scenario, &topic)?;
    let (file, aside) = (scenario.job.backup_dir().join(&object), scenario.dir().join("aside.parquet"));
    std::fs::rename(&file, &aside)?;
    // Slow enough that what comes before is committed.
    let restore = Restore::new(scenario.dir(), name, &scenario.job, &shared_broker()?.bootstrap())
        .set("topics", json!({"include": [topic]}))
        .set("throttle", json!("128Ki"))
        .mapped(&topic, &target);
    for start in ["first", "second"] {
        let (code, out, err) = restore.run(&[])?;
        ensure!(code == 4, "the {start} start ended with {code}\n{out}\n{err}");
        ensure!(err.contains(&object) && err.contains(&format!("{topic}-0")), "{err}");
        ensure!(err.contains("the same document goes on there"), "{err}");
        let held = scenario.client.read_all(&target)?;
        ensure!(!held.is_empty() && i64::try_from(held.len())? <= first, "{} records, {first} before it", held.len());
        same_but_offsets(&source[..held.len()], &held)?;
    }
    std::fs::rename(&aside, &file)?;
    assert_eq!(restore.done()?["records"], source.len());
    same_but_offsets(&source, &scenario.client.read_all(&target)?)?;
    Ok(())
}

#[test]
fn a57_a_segment_that_is_missing_ends_a_restore_that_goes_on_once_it_is_back() -> Result<()> {
    missing_segment("a57m", Sealing::Open)
}

#[test]
fn a57_a_segment_that_is_missing_of_an_encrypted_backup_ends_a_restore_that_goes_on_once_it_is_back() -> Result<()> {
    missing_segment("sealed-a57m", Sealing::Key)
}

#[test]
fn a74_a_broker_that_dies_on_the_way_and_comes_back_costs_nothing() -> Result<()> {
    let mut target = KafkaBroker::start()?;
    let scenario = Scenario::shared("a74")?;
    scenario.client.create_topic("a74-orders", 1, &[])?;
    scenario.client.produce("a74-orders", &kilobytes(4000))?;
    scenario.job.catch_up()?;
    let restore = Restore::new(scenario.dir(), "a74", &scenario.job, &target.bootstrap()).set("throttle", json!("1Mi"));
    let mut process = restore.start()?;
    let client = target.client();
    begun(&client, "a74-orders")?;
    target.kill()?;
    target.restart()?;
    let status = process.wait(PATIENCE * 3)?;
    ensure!(status.success(), "{status}\n{}", process.tail());
    same_but_offsets(&scenario.client.read_all("a74-orders")?, &client.read_all("a74-orders")?)?;
    Ok(())
}

#[test]
fn a67_a_restore_whose_progress_is_gone_does_not_begin_again() -> Result<()> {
    let scenario = Scenario::shared("gone")?;
    scenario.client.create_topic("gone-orders", 1, &[])?;
    scenario.client.produce("gone-orders", &kilobytes(2000))?;
    scenario.job.catch_up()?;
    let restore = Restore::new(scenario.dir(), "gone", &scenario.job, &shared_broker()?.bootstrap())
        .mapped("gone-orders", "gone-restored")
        .set("throttle", json!("256Ki"));
    let mut process = restore.start()?;
    begun(&scenario.client, "gone-restored")?;
    process.kill_9()?;
    let held = scenario.client.read_all("gone-restored")?;
    scenario.client.delete_group("strimzi-backup-restore-gone")?;
    let (code, _, err) = restore.run(&[])?;
    ensure!(code == 2 && err.contains("no progress of it is committed"), "ended with {code}\n{err}");
    ensure!(scenario.client.read_all("gone-restored")?.len() >= held.len(), "nothing is taken away");
    let other = restore.set("startTimestamp", json!(time(now()? - 1000))).run(&[])?;
    ensure!(other.0 == 2 && other.2.contains("begun with another document"), "{other:?}");
    Ok(())
}

#[test]
fn a70_and_a75_moments_that_cannot_be_are_refused_with_those_that_can() -> Result<()> {
    let scenario = Scenario::shared("a75")?;
    scenario.client.create_topic("a75-orders", 1, &[])?;
    scenario.client.produce("a75-orders", &numbered(0..10))?;
    scenario.job.catch_up()?;
    scenario.job.catch_up()?;
    let restore = Restore::new(scenario.dir(), "a75", &scenario.job, &shared_broker()?.bootstrap());
    let told = |moment: &str| -> Result<String> {
        let (code, _, err) = restore.clone().set("pointInTime", json!({"timestamp": moment})).run(&["--plan-only"])?;
        ensure!(code == 2, "{moment} ended with {code}\n{err}");
        Ok(err)
    };
    ensure!(told("2026-02-13T01:30:00")?.contains("zone"), "{}", told("2026-02-13T01:30:00")?);
    ensure!(told(&time(now()? + 3_600_000))?.contains("future"), "{}", told(&time(now()? + 3_600_000))?);
    ensure!(told("2020-01-01T00:00:00Z")?.contains("the earliest moment is"), "{}", told("2020-01-01T00:00:00Z")?);
    let after = told(&time(now()? - 1))?;
    ensure!(after.contains("the latest moment is"), "{after}");
    Ok(())
}
