//! Rows for tests.

use bytes::Bytes;

use super::CommittedOffset;
use super::row::{OffsetRow, RowKind};
use crate::ids::{GroupId, LeaderEpoch, Lineage, Offset, PartitionId, TopicId};
use crate::sample::{at, topic};

pub(crate) fn commit(group: &str, topic_name: &str, partition: i32, offset: i64, log_offset: i64) -> OffsetRow {
    let committed = CommittedOffset {
        offset: Offset::new(offset),
        leader_epoch: LeaderEpoch::new(3),
        metadata: format!("at {offset}"),
        committed_at: at(log_offset),
        topic_id: (offset % 2 == 0).then(|| TopicId::new("-_8CAwQFBgcICQoLDA0ODw")),
    };
    OffsetRow { kind: RowKind::Commit, committed: Some(committed), ..delete(group, topic_name, partition, log_offset) }
}

pub(crate) fn delete(group: &str, topic_name: &str, partition: i32, log_offset: i64) -> OffsetRow {
    OffsetRow {
        kind: RowKind::Delete,
        group: Some(GroupId::new(group).expect("legal id")),
        topic: Some(topic(topic_name)),
        partition: Some(PartitionId::new(partition)),
        committed: None,
        timestamp: at(log_offset),
        lineage: Lineage::FIRST,
        log_partition: PartitionId::new(0),
        log_offset: Offset::new(log_offset),
        raw_key: None,
        raw_value: None,
    }
}

pub(crate) fn raw(log_offset: i64) -> OffsetRow {
    OffsetRow {
        kind: RowKind::Raw,
        group: None,
        topic: None,
        partition: None,
        raw_key: Some(Bytes::from_static(b"\0\x63key")),
        raw_value: Some(Bytes::new()),
        ..delete("g", "t", 0, log_offset)
    }
}
