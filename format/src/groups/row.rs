//! What a record of `__consumer_offsets` becomes: a row of the time series.
//!
//! Owns: the row and its kinds. Does not own: the record's bytes ([`super::wire`]) or the file ([`super::file`]).

use bytes::Bytes;

use super::CommittedOffset;
use super::wire::{self, Committed, Decoded};
use crate::ids::{GroupId, Lineage, Offset, PartitionId, TimestampMs, TopicName};
use crate::record::RecordRef;

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// A group committed an offset.
    Commit,
    /// An offset expired or was deleted.
    Delete,
    /// What stood when an image of all groups was made, repeated from the row that said so.
    Image,
    /// A record that the release that captured it could not read; its bytes are kept.
    Raw,
}

impl RowKind {
    /// The name in the `kind` column.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "Commit",
            Self::Delete => "Delete",
            Self::Image => "Image",
            Self::Raw => "Raw",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Commit, Self::Delete, Self::Image, Self::Raw].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// One record of `__consumer_offsets`, decoded as far as it could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetRow {
    /// What it says.
    pub kind: RowKind,
    /// The group; absent with some of [`RowKind::Raw`].
    pub group: Option<GroupId>,
    /// The topic that the group reads; absent with [`RowKind::Raw`].
    pub topic: Option<TopicName>,
    /// The partition that it reads; absent with [`RowKind::Raw`].
    pub partition: Option<PartitionId>,
    /// What it committed; with [`RowKind::Commit`] and [`RowKind::Image`] alone.
    pub committed: Option<CommittedOffset>,
    /// When the broker wrote the record.
    pub timestamp: TimestampMs,
    /// Which life of `__consumer_offsets` the record is of.
    pub lineage: Lineage,
    /// The record's partition.
    pub log_partition: PartitionId,
    /// The record's offset.
    pub log_offset: Offset,
    /// The record's key, with [`RowKind::Raw`] alone.
    pub raw_key: Option<Bytes>,
    /// The record's value, with [`RowKind::Raw`] alone.
    pub raw_value: Option<Bytes>,
}

impl OffsetRow {
    /// Bytes of its texts and of what it keeps raw.
    pub fn raw_bytes(&self) -> usize {
        let texts = [self.group.as_ref().map(GroupId::as_str), self.topic.as_ref().map(TopicName::as_str)];
        let committed = self.committed.as_ref();
        let metadata = committed.map_or(0, |committed| committed.metadata.len());
        let topic_id = committed.and_then(|committed| committed.topic_id.as_ref()).map_or(0, |id| id.as_str().len());
        let raw = [&self.raw_key, &self.raw_value].into_iter().flatten().map(Bytes::len).sum::<usize>();
        self.kind.as_str().len() + texts.into_iter().flatten().map(str::len).sum::<usize>() + metadata + topic_id + raw
    }
}

/// The row of a record in partition `log_partition` of `__consumer_offsets`; `None` where it says nothing of offsets. A
/// record that cannot be read becomes a [`RowKind::Raw`] row: a later release may read it.
pub fn of_record(lineage: Lineage, log_partition: PartitionId, record: &RecordRef<'_>) -> Option<OffsetRow> {
    let nothing = OffsetRow {
        kind: RowKind::Raw,
        group: None,
        topic: None,
        partition: None,
        committed: None,
        timestamp: record.timestamp,
        lineage,
        log_partition,
        log_offset: record.offset,
        raw_key: None,
        raw_value: None,
    };
    match wire::decode(record.key, record.value) {
        Decoded::Other => None,
        Decoded::Offset { group, topic, partition, committed } => {
            let (kind, committed) = match committed {
                Committed::Deleted => (RowKind::Delete, None),
                Committed::At(committed) => (RowKind::Commit, Some(committed)),
            };
            let (group, topic, partition) = (Some(group), Some(topic), Some(partition));
            Some(OffsetRow { kind, group, topic, partition, committed, ..nothing })
        }
        Decoded::Unknown { group, .. } => {
            let raw = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
            Some(OffsetRow { group, raw_key: raw(record.key), raw_value: raw(record.value), ..nothing })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LeaderEpoch;
    use crate::record::TimestampType;

    fn row(key: &[u8], value: Option<&[u8]>) -> Option<OffsetRow> {
        let record = RecordRef {
            offset: Offset::new(77),
            timestamp: TimestampMs::new(5),
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: LeaderEpoch::UNKNOWN,
            key: Some(key),
            value,
            headers: &[],
        };
        of_record(Lineage::new(2), PartitionId::new(40), &record)
    }

    #[test]
    fn records_become_rows_of_their_kind() {
        let key = b"\0\x01\0\x01g\0\x01t\0\0\0\x03";
        let commit = row(key, Some(b"\0\0\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\0\x04")).expect("an offset");
        assert_eq!(
            (commit.kind, commit.timestamp, commit.log_offset),
            (RowKind::Commit, TimestampMs::new(5), Offset::new(77))
        );
        let committed = commit.committed.as_ref().map(|at| (at.offset, at.committed_at));
        assert_eq!(committed, Some((Offset::new(9), TimestampMs::new(4))));
        let delete = row(key, None).expect("a tombstone");
        assert_eq!(delete, OffsetRow { kind: RowKind::Delete, committed: None, ..commit });
        assert_eq!(row(b"\0\x02\0\x01g", Some(b"members")), None);
        let raw = row(key, Some(b"\0\x09new")).expect("a value of a later version");
        assert_eq!((raw.kind, raw.group, raw.topic), (RowKind::Raw, GroupId::new("g").ok(), None));
        assert_eq!((raw.raw_key.as_deref(), raw.raw_value.as_deref()), (Some(&key[..]), Some(&b"\0\x09new"[..])));
    }

    #[test]
    fn kinds_have_the_names_that_they_are_read_by() {
        for kind in [RowKind::Commit, RowKind::Delete, RowKind::Image, RowKind::Raw] {
            assert_eq!(RowKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(RowKind::parse("commit"), None);
    }
}
