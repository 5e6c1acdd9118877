//! Target brokers that take records slowly, or none for a while.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use strimzi_backup_tests::http;
use strimzi_backup_tests::kafka::{KafkaBroker, KafkaCluster};
use strimzi_backup_tests::metrics::{Seen, value};
use strimzi_backup_tests::restore::{Restore, same_but_offsets};
use strimzi_backup_tests::scenario::{Scenario, bulky};
use strimzi_backup_tests::streamer::PATIENCE;
use strimzi_backup_tests::wait;

use super::metrics::address;

/// Changes what the brokers let clients of this program write in a second, all together.
fn quota(target: &KafkaBroker, change: [&str; 2]) -> Result<()> {
    let clients = ["--alter", "--entity-type", "clients", "--entity-name", "strimzi-backup"];
    target.cli("configs", &[&clients[..], &change].concat()).map(drop)
}

#[test]
fn a74_a_quota_of_the_target_slows_a_restore_down_and_costs_nothing() -> Result<()> {
    let (target, topic) = (KafkaBroker::start()?, "quota-orders");
    let scenario = Scenario::shared("quota")?;
    // A request holds one record then, so that no answer is held back for longer than a client waits for it.
    scenario.client.create_topic(topic, 1, &[("max.message.bytes", "120000")])?;
    scenario.client.clone().property("batch.size", "100000").produce(topic, &bulky(0..40))?;
    scenario.job.catch_up()?;
    let source = scenario.client.read_all(topic)?;
    // With it, all of the 4 MB takes about a minute.
    quota(&target, ["--add-config", "producer_byte_rate=65536"])?;
    let restore = Restore::new(scenario.dir(), "quota", &scenario.job, &target.bootstrap());
    let mut process = restore.start()?;
    let client = target.client();
    wait::wait_until("the first records", PATIENCE, || {
        // The leader of a topic that was created this moment may not know yet that it is.
        Ok(client.partition_count(topic)? > 0 && client.watermarks(topic, 0).is_ok_and(|(_, end)| end > 0))
    })?;
    let held = client.read_all(topic)?;
    ensure!(held.len() < source.len() && process.is_running(), "the quota does not hold it up\n{}", process.tail());
    quota(&target, ["--delete-config", "producer_byte_rate"])?;
    let status = process.wait(PATIENCE * 3)?;
    ensure!(status.success(), "{status}\n{}", process.tail());
    same_but_offsets(&source, &client.read_all(topic)?)?;
    assert_eq!(restore.done()?["records"], source.len());
    Ok(())
}

/// Three brokers, and a topic on all of them that takes records only while all are there; one that does not lead it has stopped.
fn too_few_in_sync(topic: &str) -> Result<(KafkaCluster, i32)> {
    let mut target = KafkaCluster::start()?;
    let client = target.client();
    client.create_replicated_topic(topic, 1, 3, &[("min.insync.replicas", "3")])?;
    // The topics of transactions and of offsets are made with the first of each: while there are brokers for all replicas.
    drop(client.transactional_producer("first")?);
    wait::wait_until("the first offset", PATIENCE, || Ok(client.commit_offsets("first", &[(topic, 0, 0)]).is_ok()))?;
    let leader = client.leader(topic, 0)?;
    let stopped = (1..=3).find(|id| *id != leader).context("a broker that does not lead")?;
    target.broker(stopped)?.stop()?;
    Ok((target, stopped))
}

/// Whether a broker says that it refuses records of the topic, because too few replicas are in sync.
fn refuses(target: &mut KafkaCluster, stopped: i32, topic: &str) -> Result<bool> {
    for id in (1..=3).filter(|id| *id != stopped) {
        let log = target.broker(id)?.process().context("a broker that runs")?.stderr();
        if log.lines().any(|line| line.contains("NotEnoughReplicas") && line.contains(topic)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[test]
fn a74_a_topic_with_too_few_replicas_in_sync_is_waited_for() -> Result<()> {
    let topic = "isr-orders";
    let scenario = Scenario::shared("isr")?;
    scenario.client.create_topic(topic, 1, &[])?;
    scenario.client.produce(topic, &bulky(0..20))?;
    scenario.job.catch_up()?;
    let (mut target, stopped) = too_few_in_sync(topic)?;
    let client = target.client();
    let restore = Restore::new(scenario.dir(), "isr", &scenario.job, &target.bootstrap())
        .set("existingTopicPolicy", json!("append"))
        .serving();
    let mut process = restore.start()?;
    wait::wait_until("records that the target refuses", PATIENCE, || {
        ensure!(process.is_running(), "it does not wait\n{}", process.tail());
        refuses(&mut target, stopped, topic)
    })?;
    let address = address(&process)?;
    ensure!(http::get(&address, "/livez")?.status == 200, "alive while it waits");
    let text = Seen::default().look(&address)?;
    assert_eq!(value(&text, "strimzi_restore_phase{kind=\"Writing\"}")?, 1.0);
    assert_eq!(value(&text, "strimzi_restore_restored_records")?, 0.0);
    assert_eq!(client.read_all(topic)?, []);
    target.broker(stopped)?.restart()?;
    let status = process.wait(PATIENCE * 3)?;
    ensure!(status.success(), "{status}\n{}", process.tail());
    let source = scenario.client.read_all(topic)?;
    same_but_offsets(&source, &client.read_all(topic)?)?;
    assert_eq!(restore.done()?["records"], source.len());
    Ok(())
}
