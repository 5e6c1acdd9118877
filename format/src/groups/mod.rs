//! Committed offsets of consumer groups: decoded from `__consumer_offsets`, stored as a time series, read as of a moment.
//!
//! Owns: the way from a record ([`wire`]) to a row ([`row`]), rows as files ([`mod@file`]), and the fold of rows ([`table`]).
//! Does not own: reading the topic, or which manifest names a file.

pub mod at;
pub mod file;
pub mod row;
#[cfg(test)]
pub(crate) mod sample;
pub mod table;
pub mod wire;

use std::collections::BTreeMap;

use crate::ids::{GroupId, LeaderEpoch, Offset, PartitionId, TimestampMs, TopicId, TopicName};

pub use file::GroupRun;
pub use row::{OffsetRow, RowKind, of_record};
pub use table::Table;

/// What a group has committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset that it reads next.
    pub offset: Offset,
    /// The leader epoch of the record before, as the group told it; unknown where it did not.
    pub leader_epoch: LeaderEpoch,
    /// What the group keeps with it; mostly empty.
    pub metadata: String,
    /// When it was committed, by the broker's clock.
    pub committed_at: TimestampMs,
    /// The id of the topic that it speaks of; absent where the broker does not keep it, as for commits in transactions.
    pub topic_id: Option<TopicId>,
}

/// What groups have committed, by group and partition.
pub type GroupOffsets = BTreeMap<GroupId, BTreeMap<(TopicName, PartitionId), CommittedOffset>>;
