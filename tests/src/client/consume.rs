//! Reading whole topics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
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

/// How members of a group agree on who reads what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// Clients assign.
    Classic,
    /// The broker assigns (KIP-848).
    Consumer,
}

impl KafkaClient {
    /// A member of a group that reads a topic from its committed offset, or from the beginning where there is none.
    pub fn member(&self, group: &str, protocol: GroupProtocol, topic: &str) -> Result<GroupMember> {
        let mut config = self.config();
        config.set("group.id", group).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        config.set("isolation.level", "read_committed");
        match protocol {
            GroupProtocol::Classic => config.set("group.protocol", "classic").set("session.timeout.ms", "6000"),
            GroupProtocol::Consumer => config.set("group.protocol", "consumer"),
        };
        let consumer: BaseConsumer = config.create().context("make a consumer")?;
        consumer.subscribe(&[topic])?;
        Ok(GroupMember { consumer })
    }
}

/// A live member of a consumer group; dropped, it leaves.
pub struct GroupMember {
    consumer: BaseConsumer,
}

impl GroupMember {
    /// Reads so many records and commits what follows them.
    pub fn read(&self, count: usize) -> Result<Vec<ReadRecord>> {
        let mut records = Vec::with_capacity(count);
        let mut next: BTreeMap<(String, i32), i64> = BTreeMap::new();
        let mut last_progress = Instant::now();
        while records.len() < count {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    next.insert((message.topic().to_owned(), message.partition()), message.offset() + 1);
                    records.push(read_record(&message));
                    last_progress = Instant::now();
                }
                Some(Err(_)) | None => {
                    ensure!(
                        last_progress.elapsed() < STALLED,
                        "{} of {count} records within {STALLED:?}",
                        records.len()
                    );
                }
            }
        }
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in &next {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
        }
        self.consumer.commit(&list, CommitMode::Sync).context("commit")?;
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
