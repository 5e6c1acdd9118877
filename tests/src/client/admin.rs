//! Topics and groups.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::{KafkaClient, set_topic_config};
use crate::wait;

const TIMEOUT: Duration = Duration::from_secs(30);

impl KafkaClient {
    /// Creates a topic with the broker's default replication and waits until it has its leaders.
    pub fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<()> {
        self.create_replicated_topic(name, partitions, -1, configs)
    }

    /// Creates a topic with `replicas` replicas (-1: the broker's default) and waits until it has its leaders.
    pub fn create_replicated_topic(
        &self,
        name: &str,
        partitions: i32,
        replicas: i32,
        configs: &[(&str, &str)],
    ) -> Result<()> {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        for (key, value) in configs {
            topic = topic.set(key, value);
        }
        first(self.admin()?.create_topics([&topic], &options())).with_context(|| format!("create the topic {name}"))?;
        self.wait_for_partitions(name, usize::try_from(partitions.max(1))?)
    }

    /// Deletes a topic and waits until clients no longer see it.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        first(self.admin()?.delete_topics(&[name], &options())).with_context(|| format!("delete the topic {name}"))?;
        let what = format!("the end of the topic {name}");
        wait::wait_until(&what, TIMEOUT, || Ok(self.partition_count(name)? == 0))
    }

    /// Raises the number of partitions to `total` and waits until the new ones have leaders.
    pub fn create_partitions(&self, name: &str, total: usize) -> Result<()> {
        let partitions = NewPartitions::new(name, total);
        first(self.admin()?.create_partitions([&partitions], &options()))
            .with_context(|| format!("create partitions of {name}"))?;
        self.wait_for_partitions(name, total)
    }

    /// Sets one configuration of a topic and leaves its others alone.
    pub fn alter_topic_config(&self, name: &str, key: &str, value: &str) -> Result<()> {
        set_topic_config(&self.config(), name, key, value)
    }

    /// Deletes the records of a partition before `offset`.
    pub fn delete_records(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        let deleted = block_on(self.admin()?.delete_records(&list, &options())).context("delete records")?;
        for element in deleted.elements() {
            element.error().with_context(|| format!("delete records of {topic}/{partition}"))?;
        }
        Ok(())
    }

    /// Deletes a group with its offsets.
    pub fn delete_group(&self, group: &str) -> Result<()> {
        first(self.admin()?.delete_groups(&[group], &options())).with_context(|| format!("delete the group {group}"))
    }

    /// The first offset of a partition and the offset after its last record, whether committed or not.
    pub fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64)> {
        let consumer: BaseConsumer =
            self.config().set("isolation.level", "read_uncommitted").create().context("make a consumer")?;
        consumer.fetch_watermarks(topic, partition, TIMEOUT).context("fetch watermarks")
    }

    /// The number of partitions clients see, all of which have a leader; 0 without the topic.
    pub fn partition_count(&self, topic: &str) -> Result<usize> {
        let consumer: BaseConsumer = self.config().create().context("make a consumer")?;
        let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).context("fetch metadata")?;
        let partitions = metadata.topics().first().filter(|topic| topic.error().is_none());
        let partitions = partitions.map(|topic| topic.partitions()).unwrap_or_default();
        Ok(if partitions.iter().all(|partition| partition.leader() >= 0) { partitions.len() } else { 0 })
    }

    /// The leader of a partition: a broker's id.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<i32> {
        let consumer: BaseConsumer = self.config().create().context("make a consumer")?;
        let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).context("fetch metadata")?;
        let partitions = metadata.topics().first().map(|topic| topic.partitions()).unwrap_or_default();
        let found = partitions.iter().find(|found| found.id() == partition);
        found.map(|found| found.leader()).with_context(|| format!("no partition {topic}/{partition}"))
    }

    /// Commits offsets `(topic, partition, offset)` of a group without members.
    pub fn commit_offsets(&self, group: &str, offsets: &[(&str, i32, i64)]) -> Result<()> {
        let consumer: BaseConsumer = self.config().set("group.id", group).create().context("make a consumer")?;
        let mut list = TopicPartitionList::new();
        for (topic, partition, offset) in offsets {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
        }
        consumer.commit(&list, CommitMode::Sync).with_context(|| format!("commit offsets of {group}"))
    }

    /// Commits an offset `(topic, partition, offset)` of a group without members, with a text of its own beside it.
    pub fn commit_with_metadata(&self, group: &str, offset: (&str, i32, i64), metadata: &str) -> Result<()> {
        let consumer: BaseConsumer = self.config().set("group.id", group).create().context("make a consumer")?;
        let (topic, partition, offset) = offset;
        let mut list = TopicPartitionList::new();
        let mut place = list.add_partition(topic, partition);
        place.set_offset(Offset::Offset(offset))?;
        place.set_metadata(metadata);
        consumer.commit(&list, CommitMode::Sync).with_context(|| format!("commit an offset of {group}"))
    }

    /// The offset that a group committed for a partition.
    pub fn committed_offset(&self, group: &str, topic: &str, partition: i32) -> Result<Option<i64>> {
        let consumer: BaseConsumer = self.config().set("group.id", group).create().context("make a consumer")?;
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        let committed = consumer.committed_offsets(list, TIMEOUT).context("fetch committed offsets")?;
        let element = committed.find_partition(topic, partition).context("an answer without the partition")?;
        element.error()?;
        Ok(match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        })
    }

    fn wait_for_partitions(&self, topic: &str, partitions: usize) -> Result<()> {
        let what = format!("{partitions} partitions of {topic}");
        // A broker that is making thousands of them does not always answer in time.
        wait::wait_until(&what, 3 * TIMEOUT, || Ok(self.partition_count(topic).unwrap_or_default() >= partitions))
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        self.config().create().context("make an admin client")
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT))
}

/// The result for the only element of a request.
fn first(
    results: impl Future<Output = Result<Vec<Result<String, (String, RDKafkaErrorCode)>>, KafkaError>>,
) -> Result<()> {
    let result = block_on(results)?.into_iter().next().context("an empty answer")?;
    result.map(drop).map_err(|(name, code)| anyhow!("{name}: {code}"))
}
