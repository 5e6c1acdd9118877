//! Incremental manifests: the documents whose gapless sequence is the whole truth about a backup (P1).
//!
//! Owns: the documents and their parts. [`log`] creates them, [`reader`] reads them, [`invariants`] are the pure checks that every manifest passes before it is created and after it is read.

/// What every part that names its partition by three fields shares.
macro_rules! of_a_partition {
    ($($part:ty),+) => {$(
        impl $part {
            /// The partition that it is about.
            pub fn key(&self) -> PartitionKey {
                PartitionKey { topic: self.topic.clone(), lineage: self.lineage, partition: self.partition }
            }
        }
    )+};
}

pub mod invariants;
pub mod log;
pub mod reader;
mod upkeep;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;
use crate::checksum::Sha256;
use crate::ids::{
    BackupId, Epoch, LeaderEpoch, Lineage, Nonce, Offset, PartitionId, PartitionKey, Sequence, Shard, TimestampMs,
    TopicId, TopicName,
};
use crate::layout::{ObjectKey, SegmentPlace};
use crate::offset_range::OffsetRange;
pub use upkeep::{PartitionStart, Refined, Retired};

/// One link of the log: what was added to the backup between two instants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// Always 1 today; checked before anything else is read.
    pub format_version: u32,
    /// Always `manifest`.
    pub kind: crate::document::Kind,
    /// The backup it belongs to.
    pub backup: BackupId,
    /// The shard whose log it is a link of.
    pub shard: Shard,
    /// Its place in the log.
    pub sequence: Sequence,
    /// The writer's epoch.
    pub epoch: Epoch,
    /// Drawn for this manifest alone.
    pub nonce: Nonce,
    /// SHA-256 of the stored bytes of the manifest before; for the first one, of `backup.json`.
    pub previous: Sha256,
    /// The instant of the cut: everything in it was fetched before.
    pub observed_at: TimestampMs,
    /// Present where a writer takes the log over with this manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// The segments it adds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<Segment>,
    /// What consumer groups have committed by the positions of this manifest; one in each hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_image: Option<GroupImage>,
    /// Offsets that were lost, or may have been.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
    /// Offsets without a record that no run covers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<Hole>,
    /// What became of topics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<TopicEvent>,
    /// Where each partition that moved stands now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<PartitionPosition>,
    /// Intake segments that topic segments take the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refined: Option<Refined>,
    /// What is not kept any longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<Retired>,
    /// Up to when everything is captured, and what is behind.
    pub frontier: Frontier,
}

impl Manifest {
    /// Every segment that it names for the first time.
    pub fn named_segments(&self) -> impl Iterator<Item = &Segment> {
        let refined = self.refined.iter().flat_map(|refined| &refined.segments);
        self.segments.iter().chain(refined).chain(self.retired.iter().flat_map(|retired| &retired.base))
    }
}

impl crate::document::Document for Manifest {
    const KIND: crate::document::Kind = crate::document::Kind::Manifest;
}

/// Who took the log over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claim {
    /// The writer's name: its host or pod.
    pub writer: String,
    /// The release that writes.
    pub software: String,
}

/// One immutable Parquet file and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Segment {
    /// Where it lies below the backup's prefix.
    pub object: ObjectKey,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of all its bytes.
    pub sha256: Sha256,
    /// Bytes from the start of the page index to the end of the file: one range request reads footer and indexes.
    pub footer_bytes: u64,
    /// SHA-256 of these bytes: with it and the page checksums they hold, a part of the segment can be checked.
    pub footer_sha256: Sha256,
    /// Its records.
    pub rows: u64,
    /// Bytes of keys, values and headers before encoding.
    pub raw_bytes: u64,
    /// Its runs, in the order of its rows.
    pub runs: Vec<Run>,
}

impl Segment {
    /// Whether it holds offsets of consumer groups, and no record.
    pub fn holds_groups(&self) -> bool {
        self.runs.iter().any(|run| run.topic.is_consumer_offsets())
    }

    /// Whether it holds records of many topics, until they are written anew by topic.
    pub fn is_intake(&self) -> bool {
        matches!(self.object.segment(), Some(SegmentPlace::Intake(_)))
    }

    /// Which base of its topic it belongs to: the sequence in the names of all of its segments. `None` where it is none.
    pub fn base(&self) -> Option<Sequence> {
        let is_base = matches!(self.object.segment(), Some(SegmentPlace::Base(..)));
        self.object.segment_sequence().filter(|_| is_base)
    }
}

/// A contiguous offset range of one partition inside a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The topic.
    pub topic: TopicName,
    /// Which life of the topic.
    pub lineage: Lineage,
    /// The partition.
    pub partition: PartitionId,
    /// All offsets it accounts for; those without a row are legal holes.
    #[serde(flatten)]
    pub range: OffsetRange,
    /// The row group its rows are in.
    pub row_group: u32,
    /// Its first row, counted from the start of the row group.
    pub first_row: u64,
    /// Its rows.
    pub rows: u64,
    /// The most bytes that one record of it takes in an uncompressed batch of its own
    /// ([`crate::record::Record::batch_bytes`]): a topic with this `max.message.bytes` takes all of them. 0 for offsets of groups.
    pub largest_record: u64,
    /// The lowest exact timestamp in it.
    pub min_timestamp: TimestampMs,
    /// The highest exact timestamp in it.
    pub max_timestamp: TimestampMs,
    /// The leader epoch of its last record.
    pub leader_epoch: LeaderEpoch,
    /// The time bucket it is filed under.
    pub bucket: Bucket,
}

/// The file that holds every offset that a selected consumer group has committed and not deleted, by the positions of the
/// manifest that adds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupImage {
    /// Where it lies below the backup's prefix.
    pub object: ObjectKey,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of all its bytes.
    pub sha256: Sha256,
    /// Its rows: one for each group and partition.
    pub rows: u64,
    /// The highest timestamp in `__consumer_offsets` up to there: a moment from then on is not before anything that it
    /// holds, or that was overwritten for it. Absent where there was no record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<TimestampMs>,
    /// Records in it up to there that could not be read and are kept raw: what they say is in no row. Absent where all could.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreadable: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Offsets that existed, or may have, and were not captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// The topic.
    pub topic: TopicName,
    /// Which life of the topic.
    pub lineage: Lineage,
    /// The partition.
    pub partition: PartitionId,
    /// The offsets.
    #[serde(flatten)]
    pub range: OffsetRange,
    /// Why they are missing.
    pub reason: GapReason,
    /// The highest timestamp captured before them, absent where nothing was: a moment below it misses nothing, as far as the
    /// producers' clocks go up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<TimestampMs>,
    /// When it was found: they were written before.
    pub observed_at: TimestampMs,
}

/// Why offsets are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum GapReason {
    /// Retention deleted them before they were read.
    RetentionOverrun,
    /// `DeleteRecords`, or retention where it cannot be told apart: the topic keeps records for ever.
    DeletedByUser,
    /// They went while the topic was not selected.
    Excluded,
    /// They went with their topic: it was deleted before they were read.
    TopicDeleted,
}

impl GapReason {
    /// The name as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RetentionOverrun => "RetentionOverrun",
            Self::DeletedByUser => "DeletedByUser",
            Self::Excluded => "Excluded",
            Self::TopicDeleted => "TopicDeleted",
        }
    }
}

/// Offsets that the broker skipped while saying that nothing is there for a reader: transaction markers, aborted or
/// compacted records, at the end of what was read. Inside a run such holes are implied by its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hole {
    /// The topic.
    pub topic: TopicName,
    /// Which life of the topic.
    pub lineage: Lineage,
    /// The partition.
    pub partition: PartitionId,
    /// The offsets.
    #[serde(flatten)]
    pub range: OffsetRange,
}

/// Where a partition stands after a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartitionPosition {
    /// The topic.
    pub topic: TopicName,
    /// Which life of the topic.
    pub lineage: Lineage,
    /// The partition.
    pub partition: PartitionId,
    /// The first offset not yet accounted for.
    pub next_offset: Offset,
    /// The last record before it; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_record: Option<LastRecord>,
    /// The highest timestamp seen, which decides the bucket of what follows; absent before the first record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest_timestamp: Option<TimestampMs>,
    /// The bucket that it has come to, where that is not what the highest timestamp says: after a record without one, or one that
    /// is dated ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filed: Option<Bucket>,
}

/// The last record before a position: with it a leader can say whether its log is still the one that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastRecord {
    /// Its offset.
    pub offset: Offset,
    /// Its leader epoch.
    pub leader_epoch: LeaderEpoch,
}

/// Something became of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicEvent {
    /// The topic.
    pub topic: TopicName,
    /// The life of the topic the event is about; a new one starts with `Added`, `Recreated` and `Truncated`.
    pub lineage: Lineage,
    /// What happened.
    pub event: TopicEventKind,
    /// The topic's id.
    pub topic_id: TopicId,
    /// The partition, where the event is about one only (`Truncated`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionId>,
    /// What the topic is like from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<TopicDescription>,
}

/// What happened to a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum TopicEventKind {
    /// Seen for the first time.
    Added,
    /// Deleted and created anew under its name: another topic id, so another life.
    Recreated,
    /// A partition's log was cut back below what was captured (unclean leader election): that partition goes on in a
    /// life of its own, read anew from its start.
    Truncated,
    /// Partitions, replication factor or configuration changed.
    Changed,
    /// Deleted; what was captured stays.
    Deleted,
    /// No longer selected.
    Excluded,
    /// Selected again.
    Included,
}

/// What a topic is like: enough to create it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicDescription {
    /// Its number of partitions.
    pub partitions: u32,
    /// Replicas of its first partition.
    pub replication_factor: u32,
    /// What is set on the topic itself, not inherited from the broker.
    pub config: BTreeMap<String, String>,
    /// What it inherits of the settings that say how long it keeps records ([`INHERITED`]), where that is known. A restore
    /// leaves them to its own brokers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inherited: BTreeMap<String, String>,
}

/// The settings whose inherited value is kept: they decide how long records are kept here, too.
pub const INHERITED: [&str; 2] = ["cleanup.policy", "retention.ms"];

impl TopicDescription {
    /// What holds for a setting of [`INHERITED`], whoever set it.
    pub fn effective(&self, setting: &str) -> Option<&str> {
        self.config.get(setting).or_else(|| self.inherited.get(setting)).map(String::as_str)
    }

    /// Whether this is one of the policies in `cleanup.policy`: `compact` or `delete`.
    pub fn has_cleanup_policy(&self, policy: &str) -> bool {
        self.effective("cleanup.policy").is_some_and(|policies| policies.split(',').any(|one| one.trim() == policy))
    }
}

/// Up to when the backup holds everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Frontier {
    /// Every record visible in Kafka at this instant is captured, in all partitions but those behind. Absent before the
    /// first look at the broker succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<TimestampMs>,
    /// The partitions that are behind that instant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<Behind>,
    /// What becomes of consumer groups; absent where the job selects none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<GroupStanding>,
}

impl Frontier {
    /// Every offset that a selected group had committed at this instant is captured; `None` where that cannot be said.
    pub fn groups_until(&self) -> Option<TimestampMs> {
        match self.groups? {
            GroupStanding::Denied | GroupStanding::Damaged => None,
            GroupStanding::Absent => self.until,
            GroupStanding::Followed => {
                let behind = self.behind.iter().filter(|behind| behind.topic.is_consumer_offsets());
                behind.map(|behind| behind.until).chain([self.until]).min().flatten()
            }
        }
    }
}

/// What becomes of consumer groups: whether `__consumer_offsets` is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum GroupStanding {
    /// It is; where its partitions are behind, the frontier says so.
    Followed,
    /// The cluster has no such topic: no group has committed anything yet.
    Absent,
    /// The user may not see it.
    Denied,
    /// What was stored of it cannot be read any more, so no image can be made.
    Damaged,
}

/// A partition that is behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Behind {
    /// The topic.
    pub topic: TopicName,
    /// Which life of the topic.
    pub lineage: Lineage,
    /// The partition.
    pub partition: PartitionId,
    /// What it is captured up to; absent while its first copy is not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<TimestampMs>,
    /// Why.
    pub reason: BehindReason,
}

/// Why a partition is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum BehindReason {
    /// Records are waiting to be read.
    Backlog,
    /// A transaction is open: what follows it may not be read yet.
    OpenTransaction,
    /// The broker does not answer for it, or refuses it.
    Unreachable,
    /// What the broker delivers fails its checksum or cannot be read; the partition stands still.
    Corrupt,
}

impl BehindReason {
    /// The name as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backlog => "Backlog",
            Self::OpenTransaction => "OpenTransaction",
            Self::Unreachable => "Unreachable",
            Self::Corrupt => "Corrupt",
        }
    }
}

of_a_partition!(Run, Gap, Hole, PartitionPosition, Behind);

#[cfg(test)]
mod tests;
