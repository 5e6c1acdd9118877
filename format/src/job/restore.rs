//! What the code sees of a restore document: complete, in range, in the units its types name. Only
//! [`super::resolve_restore()`] makes these.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use crate::ids::{GroupId, RestoreId, SnapshotId, TimestampMs, TopicName};

use super::{Cluster, GroupSelection, HttpSettings, Storage, TopicSelection};

/// One restore.
#[derive(Clone, Debug)]
pub struct RestoreJob {
    /// The Kafka cluster to write to.
    pub cluster: Cluster,
    /// Where the backup is kept.
    pub storage: Storage,
    /// What is restored, and how.
    pub restore: RestoreSettings,
    /// Where health and metrics are served while it runs. Default: nowhere; with an empty block, the address of a job document.
    pub http: Option<HttpSettings>,
}

/// What is restored, and how.
#[derive(Clone, Debug)]
pub struct RestoreSettings {
    /// Its name: one that was killed and is started again under it goes on where it was. Required; 1 to 128 of
    /// `[a-zA-Z0-9._-]`, beginning with a letter or a digit.
    pub id: RestoreId,
    /// Where it stops. Default: at the newest instant that the backup holds.
    pub stop: Stop,
    /// The first record timestamp that belongs to it (`startTimestamp`), not above that of the stop. Default: the oldest
    /// record held. Later: fewer segments are read.
    pub start: Option<TimestampMs>,
    /// The topics, by their names in the backup. Default: all but internal ones.
    pub topics: TopicSelection,
    /// Topics that get another name or another number of partitions, by their names in the backup. No two have one target.
    /// Default: none, every topic keeps its name. Whether a target is the name of another topic that is restored, only the
    /// backup says.
    pub topic_mapping: BTreeMap<TopicName, TopicTarget>,
    /// Who creates topics that are not there. Default `auto`.
    pub topic_creation: TopicCreation,
    /// What happens where a target topic is there already. Default `fail`.
    pub existing_topic_policy: ExistingTopicPolicy,
    /// What happens where offsets in range are lost. Default `fail`.
    pub on_gap: OnGap,
    /// The consumer groups whose offsets are restored (`consumerGroups`). Default: `None`, of no group; with `restore: true`,
    /// of all.
    pub groups: Option<RestoreGroups>,
    /// Whether a topic that the restore creates gets a `max.message.bytes` that its largest record needs, where it would have
    /// a lower one (`raiseMessageLimit`). Default `false`: then that is a conflict.
    pub raise_message_limit: bool,
    /// Segments fetched and decoded at once. Default 4; 1 to 64. More: faster, more memory and connections.
    pub parallelism: NonZeroUsize,
    /// The most bytes of keys, values and headers that are produced in a second (`throttle`). Default: no limit; 64Ki to
    /// 1Ti. Lower: slower, and easier on a cluster that is in use.
    pub throttle_bytes: Option<NonZeroU64>,
}

/// Where a restore stops. With both, at whichever comes first for a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// At the exact positions of a snapshot (`backupId`).
    pub snapshot: Option<SnapshotId>,
    /// At a record timestamp (`pointInTime`).
    pub until: Option<Until>,
}

/// The last record timestamp that belongs to a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// This one (`timestamp`), to the millisecond and inclusive.
    At(TimestampMs),
    /// So long before the newest instant that the backup holds (`offsetFromEnd`); at least a millisecond.
    FromEnd(Duration),
}

/// Where the records of a topic go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTarget {
    /// The topic's name in the target cluster.
    pub topic: TopicName,
    /// Its number of partitions. Default: as in the backup. Another number spreads records anew, so their order holds
    /// within a source partition only.
    pub partitions: Option<NonZeroU32>,
}

/// The consumer groups whose offsets are restored, for the topics that are restored.
#[derive(Clone, Debug)]
pub struct RestoreGroups {
    /// Which, by their ids in the backup. Default: all.
    pub selection: GroupSelection,
    /// Groups that get another id, by their ids in the backup. No two have one target. Default: none, every group keeps its
    /// id. Whether a target is the id of another group that is restored, only the backup says.
    pub mapping: BTreeMap<GroupId, GroupId>,
}

impl RestoreGroups {
    /// The group that gets the offsets of `source`: the one of its own id unless the document says otherwise.
    pub fn target(&self, source: &GroupId) -> GroupId {
        self.mapping.get(source).unwrap_or(source).clone()
    }
}

/// Who creates topics that are not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopicCreation {
    /// The restore, as the backup describes them.
    #[default]
    Auto,
    /// Somebody else, before: a missing one ends the restore before its first write.
    Manual,
}

/// What happens where a target topic is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExistingTopicPolicy {
    /// The restore ends before its first write.
    #[default]
    Fail,
    /// Records are added after those that are there.
    Append,
    /// The topic is deleted and created anew.
    Overwrite,
}

/// What happens where offsets in range are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnGap {
    /// The restore ends before its first write, and names them.
    #[default]
    Fail,
    /// They are named, and the rest is restored.
    Accept,
}

impl RestoreSettings {
    /// Where the records of `source` go: under its own name unless the document says otherwise.
    pub fn target(&self, source: &TopicName) -> TopicTarget {
        let same = || TopicTarget { topic: source.clone(), partitions: None };
        self.topic_mapping.get(source).cloned().unwrap_or_else(same)
    }
}
