//! The folded state of a log: what all manifests up to one of them say together.
//!
//! Owns: folding and what it keeps. Every fold runs the checks of [`crate::manifest::invariants`] first, for the writer
//! before it creates a manifest and for a reader after it has read one, so both stop at the same fault.
//! The state does not hold the list of segments: that grows with the backup, the state with its partitions only.

mod fold;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;
use crate::checksum::Sha256;
use crate::ids::{
    BackupId, Epoch, Lineage, Offset, PartitionId, PartitionKey, Sequence, Shard, TimestampMs, TopicId, TopicName,
};
use crate::manifest::{Frontier, Gap, GroupImage, LastRecord, Run, Segment, TopicDescription, TopicEventKind};

/// How many of the newest claims the state remembers: enough to see two writers fight.
const CLAIMS_KEPT: usize = 128;

/// How many earlier descriptions of a topic the state remembers: enough for years of careful changes, and a bound for a
/// topic that something changes every minute.
pub const DESCRIPTIONS_KEPT: usize = 100;

/// What a log says, up to and with its `head`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// The backup.
    pub backup: BackupId,
    /// The shard whose log it is.
    pub shard: Shard,
    /// The newest manifest; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// SHA-256 of `backup.json`.
    pub identity: Sha256,
    /// Who claimed the log, newest last.
    pub claims: Vec<ClaimRecord>,
    /// Every topic that was ever selected.
    pub topics: BTreeMap<TopicName, TopicState>,
    /// Every partition that was ever captured.
    #[serde(with = "positions_as_list")]
    pub positions: BTreeMap<PartitionKey, Position>,
    /// Every gap, oldest first.
    pub gaps: Vec<Gap>,
    /// As the head has it.
    pub frontier: Frontier,
    /// What consumer groups had committed at one instant of each hour, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_images: Vec<GroupImageAt>,
    /// The first instant at which every partition selected then was captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_since: Option<TimestampMs>,
    /// How far intake segments were written anew; absent before the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refined: Option<Refinement>,
    /// What is not kept any longer; absent while everything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<Retirement>,
    /// What is stored.
    pub totals: Totals,
}

/// How far intake segments were written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refinement {
    /// No intake segment that this manifest, or one before it, has added is live.
    pub through: Sequence,
    /// When the manifest that says so was cut.
    pub observed_at: TimestampMs,
}

/// From when on instants are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retirement {
    /// No instant before this one can be restored.
    pub before: TimestampMs,
    /// When the manifest that says so was cut: the time between the two is what was kept then.
    pub observed_at: TimestampMs,
}

/// The newest manifest of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    /// Its place.
    pub sequence: Sequence,
    /// SHA-256 of its stored bytes.
    pub sha256: Sha256,
    /// Its writer's epoch.
    pub epoch: Epoch,
    /// When it was cut.
    pub observed_at: TimestampMs,
}

/// An image of consumer groups, and which instant it is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupImageAt {
    /// The manifest that adds it, whose positions it is of.
    pub sequence: Sequence,
    /// When that was cut.
    pub observed_at: TimestampMs,
    /// Everything that groups had committed at this instant is in it, or was overwritten in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<TimestampMs>,
    /// The file.
    #[serde(flatten)]
    pub image: GroupImage,
}

/// One claim of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimRecord {
    /// The epoch claimed.
    pub epoch: Epoch,
    /// By whom.
    pub writer: String,
    /// When.
    pub observed_at: TimestampMs,
}

/// Sums over live segments. Files with the offsets of consumer groups count with their bytes, their rows are no records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Totals {
    /// Segments.
    pub segments: u64,
    /// Their bytes in the store.
    pub bytes: u64,
    /// Their records.
    pub rows: u64,
    /// Bytes of keys, values and headers before encoding.
    pub raw_bytes: u64,
}

impl Totals {
    /// With one segment more; `None` where a sum is beyond all numbers, which only a hostile document asks for.
    pub fn plus(self, segment: &Segment) -> Option<Self> {
        let with_object = self.plus_object(segment.bytes)?;
        if segment.holds_groups() {
            return Some(with_object);
        }
        Some(Self {
            rows: self.rows.checked_add(segment.rows)?,
            raw_bytes: self.raw_bytes.checked_add(segment.raw_bytes)?,
            ..with_object
        })
    }

    /// With one file more that holds no record.
    pub fn plus_object(self, bytes: u64) -> Option<Self> {
        Some(Self { segments: self.segments.checked_add(1)?, bytes: self.bytes.checked_add(bytes)?, ..self })
    }

    /// Without what is not live any more; `None` where that is more than there is.
    pub fn minus(self, gone: Self) -> Option<Self> {
        Some(Self {
            segments: self.segments.checked_sub(gone.segments)?,
            bytes: self.bytes.checked_sub(gone.bytes)?,
            rows: self.rows.checked_sub(gone.rows)?,
            raw_bytes: self.raw_bytes.checked_sub(gone.raw_bytes)?,
        })
    }
}

/// What is known of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicState {
    /// Its lives, oldest first; the index is the lineage.
    pub lives: Vec<Life>,
    /// Which life each of its partitions is in.
    pub current: BTreeMap<PartitionId, Lineage>,
    /// What it is like now.
    pub description: TopicDescription,
    /// What it was like before, oldest first; the newest [`DESCRIPTIONS_KEPT`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
    /// When it was selected, oldest first; an open end means it still is.
    pub selected: Vec<Interval>,
}

/// What a topic was like up to an instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Earlier {
    /// When it was found changed.
    pub until: TimestampMs,
    /// What it was like.
    pub description: TopicDescription,
}

/// One life of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Life {
    /// The topic's id in that life.
    pub topic_id: TopicId,
    /// How it began.
    pub began: TopicEventKind,
    /// When it was first seen.
    pub since: TimestampMs,
    /// When its topic was found deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<TimestampMs>,
}

/// From one instant until another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interval {
    /// Its start.
    pub from: TimestampMs,
    /// Its end; absent while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<TimestampMs>,
}

/// What is held of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// The first offset accounted for: what was held before is retired, but for what is in its base.
    pub first_offset: Offset,
    /// The base that holds, of what was before, the newest record of each key; absent where nothing of it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// The first offset not yet accounted for.
    pub next_offset: Offset,
    /// The last record before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_record: Option<LastRecord>,
    /// The highest timestamp seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest_timestamp: Option<TimestampMs>,
    /// The bucket that its records were filed under last, where that is not what the highest timestamp says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filed: Option<Bucket>,
    /// No record held has a lower timestamp; absent where none is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowest_timestamp: Option<TimestampMs>,
    /// Records held, those of the base among them.
    pub rows: u64,
}

/// Where the newest record of each key is, of what a compacted partition held before its first offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Base {
    /// The sequence in the names of its segments.
    pub sequence: Sequence,
    /// The manifest that added it.
    pub added: Sequence,
}

impl TopicState {
    /// The newest life.
    pub fn newest(&self) -> (Lineage, Option<&Life>) {
        let last = i32::try_from(self.lives.len().saturating_sub(1)).unwrap_or(i32::MAX);
        (Lineage::new(last), self.lives.last())
    }

    /// The life that a next one would be.
    pub fn next_lineage(&self) -> Lineage {
        Lineage::new(i32::try_from(self.lives.len()).unwrap_or(i32::MAX))
    }

    /// What it was like at an instant, as far back as that is remembered.
    pub fn description_at(&self, instant: TimestampMs) -> &TopicDescription {
        let then = self.earlier.iter().find(|earlier| instant < earlier.until);
        then.map_or(&self.description, |earlier| &earlier.description)
    }

    /// Whether it is selected and was not deleted.
    pub fn is_live(&self) -> bool {
        self.is_selected() && self.newest().1.is_some_and(|life| life.deleted.is_none())
    }

    /// Whether it is selected.
    pub fn is_selected(&self) -> bool {
        self.selected.last().is_some_and(|interval| interval.until.is_none())
    }
}

impl State {
    /// The state before the first manifest.
    pub fn empty(backup: BackupId, shard: Shard, identity: Sha256) -> Self {
        Self {
            backup,
            shard,
            head: None,
            identity,
            claims: Vec::new(),
            topics: BTreeMap::new(),
            positions: BTreeMap::new(),
            gaps: Vec::new(),
            frontier: Frontier::default(),
            group_images: Vec::new(),
            complete_since: None,
            refined: None,
            retired: None,
            totals: Totals::default(),
        }
    }

    /// Whether a segment that the log has named is live: not replaced, and not all of it retired.
    pub fn holds(&self, segment: &Segment) -> bool {
        let is_replaced = || {
            let through = self.refined.map(|refined| refined.through);
            segment.is_intake() && segment.object.segment_sequence() <= through
        };
        !is_replaced() && (self.retired.is_none() || self.live_runs(segment).next().is_some())
    }

    /// Whether the image of consumer groups that a manifest has added is kept; one that comes later is.
    pub fn holds_image(&self, sequence: Sequence) -> bool {
        self.group_images.first().is_none_or(|first| first.sequence <= sequence)
    }

    /// The runs of a segment that the log has named, and that is not replaced, that are not retired.
    pub fn live_runs<'a>(&self, segment: &'a Segment) -> impl Iterator<Item = &'a Run> {
        let base = segment.base();
        segment.runs.iter().filter(move |run| self.retired.is_none() || self.holds_run(run, base))
    }

    /// `base` is that of the run's segment.
    fn holds_run(&self, run: &Run, base: Option<Sequence>) -> bool {
        self.position(&run.key()).is_none_or(|held| match base {
            Some(_) => held.base.map(|held| held.sequence) == base,
            None => held.first_offset < run.range.next_offset(),
        })
    }

    /// The instant from which on a restore may choose its moment; `None` while a first copy lasts.
    pub fn recoverable_from(&self) -> Option<TimestampMs> {
        let since = self.complete_since?;
        Some(self.retired.map_or(since, |retired| retired.before.max(since)))
    }

    /// The slot that the next manifest takes.
    pub fn next_sequence(&self) -> Sequence {
        self.head.map_or(Sequence::FIRST, |head| head.sequence.next())
    }

    /// The digest that the next manifest must carry as `previous`.
    pub fn next_previous(&self) -> Sha256 {
        self.head.map_or(self.identity, |head| head.sha256)
    }

    /// The epoch of the head; 0 before the first claim.
    pub fn epoch(&self) -> Epoch {
        self.head.map_or(Epoch::new(0), |head| head.epoch)
    }

    /// Where `key` stands, where it was ever captured.
    pub fn position(&self, key: &PartitionKey) -> Option<&Position> {
        self.positions.get(key)
    }
}

/// JSON objects have text keys only, so positions travel as a list.
mod positions_as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Lineage, PartitionId, PartitionKey, Position, TopicName};

    #[derive(Serialize, Deserialize)]
    struct Entry {
        topic: TopicName,
        lineage: Lineage,
        partition: PartitionId,
        #[serde(flatten)]
        position: Position,
    }

    pub(super) fn serialize<S: Serializer>(
        positions: &BTreeMap<PartitionKey, Position>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(positions.iter().map(|(key, position)| Entry {
            topic: key.topic.clone(),
            lineage: key.lineage,
            partition: key.partition,
            position: *position,
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<PartitionKey, Position>, D::Error> {
        let entries = Vec::<Entry>::deserialize(deserializer)?;
        let keyed = entries.into_iter().map(|Entry { topic, lineage, partition, position }| {
            (PartitionKey { topic, lineage, partition }, position)
        });
        Ok(keyed.collect())
    }
}

#[cfg(test)]
mod tests;
