//! What a restore relies on when it writes: all of a transaction or nothing of it, and every record as it was.

mod records;
mod refusals;
mod transactions;

use std::time::Duration;

use anyhow::{Context, Result};
use strimzi_backup_format::ids::{LeaderEpoch, Offset, PartitionId, TimestampMs, TopicName};
use strimzi_backup_format::record::{HeaderRef, Record as OwnedRecord, RecordRef, TimestampType};
use strimzi_backup_streamer::kafka::{
    Code, CommittedOffset, Error, GroupOffset, OffsetSpec, ProducerError, ProducerTuning, Refusal,
    TransactionalProducer, Unready,
};
use strimzi_backup_tests::client::ReadRecord;
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::scenario::noise;
use strimzi_backup_tests::wait;
use tokio_util::sync::CancellationToken;

use super::{Recorder, SOON, at, block_on, broker, cluster, connect, name, numbered};

fn unready(broker: &KafkaBroker, id: &str, tuning: &ProducerTuning) -> Result<Unready> {
    let cluster = cluster(&broker.bootstrap());
    Ok(TransactionalProducer::connect(&cluster, id, tuning, CancellationToken::new())?)
}

fn ready(broker: &KafkaBroker, id: &str) -> Result<TransactionalProducer> {
    Ok(unready(broker, id, &ProducerTuning::default())?.init(SOON)?)
}

/// The records are older than the brokers' retention.
const KEPT: (&str, &str) = ("retention.ms", "-1");

/// A record of 2024.
fn record<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>, headers: &'a [HeaderRef<'a>]) -> RecordRef<'a> {
    RecordRef {
        offset: Offset::new(5_000_000_000),
        timestamp: TimestampMs::new(1_720_000_000_000),
        timestamp_type: TimestampType::CreateTime,
        leader_epoch: LeaderEpoch::UNKNOWN,
        key,
        value,
        headers,
    }
}

fn valued(value: &[u8]) -> RecordRef<'_> {
    record(None, Some(value), &[])
}

const P0: PartitionId = PartitionId::new(0);

fn progress(topic: &TopicName, offset: i64, metadata: Option<&str>) -> GroupOffset {
    let metadata = metadata.map(str::to_owned);
    GroupOffset { topic: topic.clone(), partition: P0, offset: Offset::new(offset), metadata }
}

/// What a new producer of the id reads of the group's progress in partition 0.
fn committed(producer: &TransactionalProducer, group: &str, topic: &TopicName) -> Result<Option<CommittedOffset>> {
    let asked = [(topic.clone(), P0)];
    let mut found = producer.committed(group, &asked, SOON)?;
    found.remove(&asked[0]).context("an answer")
}

/// The ends of partitions 0 and up, as readers of committed records see them and as they are.
fn ends(broker: &KafkaBroker, topic: &str) -> Result<(Vec<i64>, Vec<i64>)> {
    let kafka = connect(&broker.bootstrap())?;
    let count = i32::try_from(broker.client().partition_count(topic)?)?;
    let partitions: Result<Vec<_>> =
        (0..count).map(|partition| Ok((name(topic)?, PartitionId::new(partition)))).collect();
    let partitions = partitions?;
    let ends = |spec| -> Result<Vec<i64>> {
        let mut found = block_on(kafka.list_offsets(&partitions, spec))??;
        found.sort_by(|one, other| one.0.cmp(&other.0));
        found.into_iter().map(|(_, end)| Ok(end?.get())).collect()
    };
    Ok((ends(OffsetSpec::LastStable)?, ends(OffsetSpec::HighWatermark)?))
}

/// Every committed record of a topic without open transactions. The brokers' last word on one comes a moment after its
/// end was told.
fn settled(broker: &KafkaBroker, topic: &str) -> Result<Vec<ReadRecord>> {
    wait::wait_until("the end of all transactions", SOON, || {
        let (stable, all) = ends(broker, topic)?;
        Ok(stable == all)
    })?;
    broker.client().read_all(topic)
}

/// The committed values of a topic without open transactions, in order.
fn visible(broker: &KafkaBroker, topic: &str) -> Result<Vec<Vec<u8>>> {
    Ok(settled(broker, topic)?.into_iter().filter_map(|record| record.value).collect())
}

/// Waits until the log of partition 0 holds so many offsets, committed or not.
fn wait_for_log(broker: &KafkaBroker, topic: &str, end: i64) -> Result<()> {
    wait::wait_until(&format!("{end} offsets in {topic}"), SOON, || Ok(broker.client().watermarks(topic, 0)?.1 >= end))
}
