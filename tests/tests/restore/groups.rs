//! Consumer groups go on at the target at exactly the record that they would have read next.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::client::{GroupProtocol, KafkaClient, ReadRecord, Record};
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::restore::Restore;
use strimzi_backup_tests::scenario::{Scenario, now, numbered, shared_broker};
use strimzi_backup_tests::streamer::PATIENCE;
use strimzi_backup_tests::wait;

use super::time;

const PARTITIONS: i32 = 3;

/// Transactions of which every third was aborted, so that offsets at the target are others.
fn fill(client: &KafkaClient, topic: &str, size: usize) -> Result<()> {
    client.create_topic(topic, PARTITIONS, &[])?;
    let producer = client.transactional_producer(topic)?;
    for number in 0..30 {
        producer.begin()?;
        for record in 0..20 {
            let value = format!("{number}-{record}-{}", "x".repeat(size));
            producer.send(topic, &Record::new(format!("{record}"), value).partition(record % PARTITIONS))?;
        }
        if number % 3 == 0 { producer.abort()? } else { producer.commit()? }
    }
    Ok(())
}

/// Streams until the backup holds what groups had committed by now, and tells the moment.
fn covered(scenario: &Scenario) -> Result<i64> {
    // The first copy is to be complete before the moment.
    scenario.job.catch_up()?;
    let moment = now()?;
    wait::wait_until("the next millisecond", PATIENCE, || Ok(now()? > moment))?;
    wait::wait_until("the backup to cover groups", PATIENCE, || {
        scenario.job.catch_up()?;
        let inspected = scenario.job.inspect()?;
        let reached = |until: &Value| until.as_i64().is_some_and(|until| until >= moment);
        Ok(reached(&inspected["groups"]["until"]) && scenario.backup()?.until().is_some_and(|until| until >= moment))
    })?;
    Ok(moment)
}

fn to(scenario: &Scenario, id: &str, moment: i64) -> Result<Restore> {
    let restore = Restore::new(scenario.dir(), id, &scenario.job, &shared_broker()?.bootstrap());
    Ok(restore.set("pointInTime", json!({"timestamp": time(moment)})).set("consumerGroups", json!({"restore": true})))
}

/// What a group reads next in each partition, from where it stands.
fn next(
    client: &KafkaClient,
    group: &str,
    topic: &str,
    records: &[ReadRecord],
) -> Result<BTreeMap<i32, Option<Vec<u8>>>> {
    let mut next = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let Some(offset) = client.committed_offset(group, topic, partition)? else { continue };
        let of_partition = records.iter().filter(|record| record.partition == partition);
        let first = of_partition.filter(|record| record.offset >= offset).min_by_key(|record| record.offset);
        next.insert(partition, first.and_then(|record| record.value.clone()));
    }
    Ok(next)
}

#[test]
fn a73_groups_of_both_protocols_go_on_at_exactly_the_record_that_they_would_have_read_next() -> Result<()> {
    let broker = KafkaBroker::start()?;
    let scenario = Scenario::on(&broker, "a73-orders")?;
    let (client, target, topic) = (&scenario.client, shared_broker()?.client(), "a73-orders");
    fill(client, topic, 10)?;
    client.member("a73-classic", GroupProtocol::Classic, topic)?.read(101)?;
    client.member("a73-modern", GroupProtocol::Consumer, topic)?.read(77)?;
    client.member("a73-done", GroupProtocol::Classic, topic)?.read(400)?;
    client.commit_offsets("a73-edges", &[(topic, 0, 0), (topic, 1, 1_000_000)])?;
    let moment = covered(&scenario)?;
    // What comes later belongs to no group of the moment.
    let groups = ["a73-classic", "a73-modern", "a73-done", "a73-edges"];
    let source: Vec<ReadRecord> = client.read_all(topic)?;
    let wanted: Result<Vec<_>> = groups.iter().map(|group| next(client, group, topic, &source)).collect();
    let wanted = wanted?;
    client.commit_offsets("a73-classic", &[(topic, 0, 1)])?;
    let report = to(&scenario, "a73", moment)?.done()?;
    let restored = target.read_all(topic)?;
    ensure!(restored.len() == 400, "{} records", restored.len());
    for (group, wanted) in groups.iter().zip(&wanted) {
        let found = next(&target, group, topic, &restored)?;
        ensure!(
            found == *wanted,
            "{group}: reads {found:?} next, and would have read {wanted:?}\n{}",
            report["groups"]
        );
    }
    let adjusted = |group: &Value| group["offsets"].to_string().contains("adjustments");
    let adjusted: Vec<&Value> =
        report["groups"].as_array().context("groups")?.iter().filter(|one| adjusted(one)).collect();
    ensure!(adjusted.len() == 1 && adjusted[0]["source"] == "a73-edges", "{}", report["groups"]);
    ensure!(adjusted[0]["offsets"][1]["adjustments"] == json!(["ClampedToEnd"]), "{}", report["groups"]);
    // A member that joins reads the rest, and nothing else.
    let rest = target.member("a73-classic", GroupProtocol::Classic, topic)?.read(400 - 101)?;
    let first: BTreeMap<i32, Vec<u8>> =
        rest.iter().rev().filter_map(|one| Some((one.partition, one.value.clone()?))).collect();
    for (partition, value) in first {
        // Where the group had committed nothing, it begins at the start.
        ensure!(wanted[0].get(&partition).is_none_or(|wanted| *wanted == Some(value)), "another record in {partition}");
    }
    Ok(())
}

#[test]
fn a73_a_restore_that_is_killed_again_and_again_translates_as_one_that_is_not() -> Result<()> {
    let broker = KafkaBroker::start()?;
    let scenario = Scenario::on(&broker, "a73-killed")?;
    let (client, target, topic) = (&scenario.client, shared_broker()?.client(), "a73-killed");
    fill(client, topic, 3000)?;
    let groups: Vec<String> = (0..12).map(|number| format!("a73-killed-{number}")).collect();
    for (group, offset) in groups.iter().zip((0..).step_by(17)) {
        client.commit_offsets(group, &[(topic, 0, offset), (topic, 1, offset + 1), (topic, 2, offset + 7)])?;
    }
    let moment = covered(&scenario)?;
    let source = client.read_all(topic)?;
    let restore = to(&scenario, "a73-killed", moment)?.set("throttle", json!("256Ki"));
    for kill in 0..6 {
        let mut process = restore.start()?;
        thread::sleep(Duration::from_millis(700 + 150 * kill));
        process.kill_9()?;
    }
    restore.set("throttle", json!("100Mi")).done()?;
    let restored = target.read_all(topic)?;
    ensure!(restored.len() == 400, "{} records", restored.len());
    for group in &groups {
        let (found, wanted) = (next(&target, group, topic, &restored)?, next(client, group, topic, &source)?);
        ensure!(found == wanted, "{group}: reads another record next");
    }
    Ok(())
}

#[test]
fn a73_a_group_with_live_members_is_refused_by_name_before_the_first_write_and_told_at_the_end() -> Result<()> {
    let broker = KafkaBroker::start()?;
    let scenario = Scenario::on(&broker, "a73-live")?;
    let (client, target, topic) = (&scenario.client, shared_broker()?.client(), "a73-live");
    client.create_topic(topic, 1, &[])?;
    client.produce(topic, &numbered(0..500))?;
    client.commit_offsets("a73-live", &[(topic, 0, 123)])?;
    let moment = covered(&scenario)?;
    target.create_topic("a73-elsewhere", 1, &[])?;
    target.produce("a73-elsewhere", &numbered(0..1))?;
    let live = |group: &str| -> Result<_> {
        let member = target.member(group, GroupProtocol::Consumer, "a73-elsewhere")?;
        member.read(1)?;
        Ok(member)
    };
    let member = live("a73-live")?;
    let (code, _, err) = to(&scenario, "a73-refused", moment)?.run(&[])?;
    ensure!(code == 2 && err.contains("group a73-live has 1 live members"), "{code}\n{err}");
    ensure!(target.partition_count(topic)? == 0, "nothing was written");
    let groups = json!({"restore": true, "mapping": [{"sourceGroup": "a73-live", "targetGroup": "a73-other"}]});
    let restore = to(&scenario, "a73-later", moment)?.set("consumerGroups", groups).set("throttle", json!("64Ki"));
    let mut process = restore.start()?;
    wait::wait_until("the plan", PATIENCE, || {
        Ok(scenario.job.backup_dir().join("restores/a73-later/plan.json").exists())
    })?;
    let other = live("a73-other")?;
    let status = process.wait(PATIENCE)?;
    ensure!(status.code() == Some(1), "{status}\n{}", process.tail());
    ensure!(process.tail().contains("a73-other have live members"), "{}", process.tail());
    drop((member, other));
    wait::wait_until("the group to be empty", PATIENCE, || Ok(restore.run(&[])?.0 == 0))?;
    ensure!(target.committed_offset("a73-other", topic, 0)? == Some(123), "{:?}", restore.done()?["groups"]);
    ensure!(target.committed_offset("a73-live", topic, 0)?.is_none());
    Ok(())
}
