//! Restoring from a real store into a real broker: exactly the records that were asked for, each once.

mod brokers;
mod faults;
mod groups;
mod kills;
mod metrics;
mod moments;
mod rights;
mod targets;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use strimzi_backup_format::ids::{TimestampMs, TopicName};
use strimzi_backup_format::job::Job as JobDocument;
use strimzi_backup_streamer::kafka::{Kafka, Tuning};
use strimzi_backup_tests::client::{KafkaClient, ReadRecord, Record};
use strimzi_backup_tests::scenario::Scenario;
use strimzi_backup_tests::streamer::{Job, PATIENCE};
use strimzi_backup_tests::wait;

fn time(millis: i64) -> String {
    TimestampMs::new(millis).to_rfc3339()
}

/// Streams until everything up to an instant is captured.
fn caught_up_to(scenario: &Scenario, instant: i64) -> Result<()> {
    wait::wait_until("the backup to reach the moment", PATIENCE, || {
        scenario.job.catch_up()?;
        Ok(scenario.backup()?.until().is_some_and(|until| until >= instant))
    })
}

/// So many records of a thousand bytes each, for partition 0.
fn kilobytes(count: usize) -> Vec<Record> {
    (0..count).map(|number| Record::new(format!("{number}"), vec![b'x'; 1000]).partition(0)).collect()
}

/// Waits until the first records of a restore are to be read in a topic, which may not be there yet.
fn begun(client: &KafkaClient, topic: &str) -> Result<()> {
    wait::wait_until("the first records", PATIENCE, || {
        Ok(client.partition_count(topic)? > 0 && !client.read_all(topic)?.is_empty())
    })
}

/// What is set on a topic itself.
fn overrides(job: &Job, topic: &str) -> Result<BTreeMap<String, String>> {
    let job: JobDocument = job.document().to_string().parse()?;
    let topic = TopicName::new(topic)?;
    let kafka = Kafka::connect(&job.cluster, &Tuning::default())?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut found = runtime.block_on(kafka.topic_settings(std::slice::from_ref(&topic)))?;
    Ok(found.remove(&topic).context("no settings")??.overrides)
}

/// Takes a setting of a topic back to what the brokers say.
fn reset(job: &Job, topic: &str, setting: &str) -> Result<()> {
    let job: JobDocument = job.document().to_string().parse()?;
    let kafka = Kafka::connect(&job.cluster, &Tuning::default())?;
    let (topic, changes) = (TopicName::new(topic)?, BTreeMap::from([(setting.to_owned(), None)]));
    tokio::runtime::Runtime::new()?.block_on(kafka.alter_topic(&topic, &changes))??;
    Ok(())
}

/// The records of a topic up to a timestamp, inclusive.
fn until(scenario: &Scenario, topic: &str, until: i64) -> Result<Vec<ReadRecord>> {
    let mut records = scenario.client.read_all(topic)?;
    records.retain(|record| record.timestamp <= until);
    Ok(records)
}
