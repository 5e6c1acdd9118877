//! The source: which partitions are read, from which offset, and what was fetched of them.
//!
//! ```text
//!              assign / unassign                      records, end of partition, faults
//!  stream.rs ─────────────────────▶ Broker (Kafka) ──────────────────────────────────────▶ Buffers
//!      │  ▲                                                                                   │
//!      │  └────────────────────────────── Cut: everything fetched so far ◀────────────────────┘
//!      └─▶ Catalog: what topics there are, which life each partition is in, what changed
//! ```
//!
//! Owns: what was fetched of each partition and not cut yet, up to when each is captured, the catalog of topics and their
//! lives. Does not own: the positions ahead of the log, the decision about a position out of range, the frontier of the
//! whole ([`crate::stream`]); the client ([`crate::kafka`]), encoding, the log. There are two [`Broker`]s: [`live`] is
//! Kafka, the other is the simulation's.

pub mod buffers;
pub mod catalog;
pub mod groups;
pub mod live;
mod slots;

use std::collections::BTreeMap;
use std::future::Future;

use strimzi_backup_format::ids::{LeaderEpoch, Offset, PartitionId, TopicId, TopicName};

/// A partition as Kafka names it.
pub type TopicPartition = (TopicName, PartitionId);

/// What the broker says of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its id.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: u32,
    /// Replicas of its first partition.
    pub replication_factor: u32,
}

/// How a topic is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicConfig {
    /// What is set on the topic itself.
    pub own: BTreeMap<String, String>,
    /// What it inherits of the settings of [`strimzi_backup_format::manifest::INHERITED`].
    pub inherited: BTreeMap<String, String>,
}

/// Why the broker does not tell of a topic or a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not exist.
    Unknown,
    /// Not allowed to see it.
    Denied,
    /// Not at the moment.
    Unavailable,
    /// It is there and has no id: its lives could not be told apart.
    NoId,
}

/// The broker could not be asked at all; asking again may help.
#[derive(Debug, thiserror::Error)]
#[error("ask the broker for {what}")]
pub struct Unreachable {
    /// What was asked.
    pub what: &'static str,
    /// What the client said.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A partition to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Where its records go in [`buffers::Buffers`].
    pub slot: u32,
    /// The partition.
    pub partition: TopicPartition,
    /// The first offset to read.
    pub offset: Offset,
    /// The leader epoch of the record before, where known: lets the client find a truncated log.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// What streaming asks of Kafka. Fetched records arrive in [`buffers::Buffers`] on their own.
pub trait Broker: Send + Sync + 'static {
    /// All topics of the cluster.
    fn topics(&self) -> impl Future<Output = Result<Vec<TopicName>, Unreachable>> + Send;

    /// Ids and partitions of `topics`.
    fn describe(
        &self,
        topics: &[TopicName],
    ) -> impl Future<Output = Result<BTreeMap<TopicName, Result<Described, Refusal>>, Unreachable>> + Send;

    /// How the topics are configured, of those where that may be read.
    fn configs(
        &self,
        topics: &[TopicName],
    ) -> impl Future<Output = Result<BTreeMap<TopicName, TopicConfig>, Unreachable>> + Send;

    /// The high watermarks: the end of what is committed, open transactions included.
    fn high_watermarks(
        &self,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<BTreeMap<TopicPartition, Result<Offset, Refusal>>, Unreachable>> + Send;

    /// The log starts.
    fn log_starts(
        &self,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<BTreeMap<TopicPartition, Result<Offset, Refusal>>, Unreachable>> + Send;

    /// Begins to read partitions.
    ///
    /// # Errors
    /// [`Unreachable`] where the client refuses; nothing is read then.
    fn assign(&self, assignments: &[Assignment]) -> Result<(), Unreachable>;

    /// Stops reading partitions; what is still on its way is dropped.
    ///
    /// # Errors
    /// [`Unreachable`] where the client refuses.
    fn unassign(&self, partitions: &[TopicPartition]) -> Result<(), Unreachable>;

    /// Connects anew where the files with credentials changed, the client stopped for good, or a topic `was_recreated`. All
    /// assignments are gone then, and `true` comes back.
    ///
    /// A client may keep the leader epoch of a partition of the life before, and takes what it hears of the next one for outdated
    /// then, for ever: epochs begin again (librdkafka 2.12, `rd_kafka_toppar_leader_update`; seen in half of all tries).
    ///
    /// # Errors
    /// [`Unreachable`] where the new files are not usable; the old connection stays.
    fn reconnect_if_outdated(&self, was_recreated: bool) -> Result<bool, Unreachable>;
}
