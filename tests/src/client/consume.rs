//! Reading whole topics.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::{Header, KafkaClient, raw};

/// Longest wait for the next record or end of partition.
const STALLED: Duration = Duration::from_secs(60);

/// A record that was read, with everything Kafka says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRecord {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Milliseconds since 1970; -1 if there is none.
    pub timestamp: i64,
    /// `CreateTime`, `LogAppendTime` or `NoTimestampType`.
    pub timestamp_type: &'static str,
    /// The key; `None` is null.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is null.
    pub value: Option<Vec<u8>>,
    /// The headers in order.
    pub headers: Vec<Header>,
}

/// Reads every committed record of a topic, see [`KafkaClient::read_all`].
pub fn read_all(bootstrap: &str, topic: &str) -> Result<Vec<ReadRecord>> {
    KafkaClient::new(bootstrap).read_all(topic)
}

impl KafkaClient {
    /// Reads every committed record of a topic up to its end (the last stable offset), ordered by partition and
    /// offset.
    pub fn read_all(&self, topic: &str) -> Result<Vec<ReadRecord>> {
        let partitions = i32::try_from(self.partition_count(topic)?)?;
        ensure!(partitions > 0, "no topic {topic}");
        let consumer: BaseConsumer = self
            .config()
            .set("group.id", "strimzi-backup-tests-reader")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .create()
            .context("make a consumer")?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        let mut records = read_to_end(&consumer, (0..partitions).collect())?;
        records.sort_by_key(|record| (record.partition, record.offset));
        Ok(records)
    }
}

fn read_to_end(consumer: &BaseConsumer, mut open: BTreeSet<i32>) -> Result<Vec<ReadRecord>> {
    let mut records = Vec::new();
    let mut last_progress = Instant::now();
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => records.push(read_record(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            // Brokers that come and go; a lasting failure ends at the deadline below.
            Some(Err(_)) | None => {
                if last_progress.elapsed() > STALLED {
                    bail!("no end of partitions {open:?} within {STALLED:?}");
                }
                continue;
            }
        }
        last_progress = Instant::now();
    }
    Ok(records)
}

fn read_record(message: &BorrowedMessage<'_>) -> ReadRecord {
    let (timestamp, timestamp_type) = raw::timestamp(message);
    ReadRecord {
        partition: message.partition(),
        offset: message.offset(),
        timestamp,
        timestamp_type,
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: raw::headers(message),
    }
}
