//! Offsets of consumer groups: what becomes of each, and where it is at the target. Pure but for [`target`].
//!
//! ```text
//! what groups had committed + plan of the topics ──▶ plan ──▶ GroupPlan ─ wanted ─▶ translation, while records are written
//!                                                                └───── translate ◀────┘
//!                                                                           └──▶ target::commit, report
//! ```
//!
//! Owns: the stored parts of plan and report, and their rules. Does not own: reading the offsets
//! ([`strimzi_backup_format::groups`]), or finding records at the target ([`super::translation`]).

mod conflict;
mod report;
pub mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use strimzi_backup_format::groups::{CommittedOffset, GroupOffsets};
use strimzi_backup_format::ids::{GroupId, Lineage, Offset, PartitionId, PartitionKey, TopicName};
use strimzi_backup_format::job::RestoreGroups;

pub use conflict::GroupConflict;
pub use report::{GroupReport, PositionReport, translate};

use super::plan::{Action, Basis, Plan, TopicPlan};
use super::translation::MOST_OFFSETS;

/// What groups had committed at the moment of a restore, as far as the backup tells.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// By group and partition.
    pub offsets: GroupOffsets,
    /// Why the backup does not tell all of it, as a whole sentence; absent where it does.
    pub incomplete: Option<String>,
    /// Records of groups that could not be read when they were captured.
    pub unreadable: u64,
}

/// A group whose offsets are restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupPlan {
    /// Its id in the backup.
    pub source: GroupId,
    /// Its id at the target.
    pub target: GroupId,
    /// What it had committed for topics that are restored.
    pub offsets: Vec<Position>,
}

/// What a group had committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Position {
    /// The topic's name in the backup.
    pub topic: TopicName,
    /// The topic's name at the target.
    pub target_topic: TopicName,
    /// The partition, of the same number on both sides.
    pub partition: PartitionId,
    /// The offset in the backup.
    pub offset: Offset,
    /// What the group keeps with it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// Why the group does not go on at exactly the record that it would have read next; absent where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adjustment: Option<Adjustment>,
}

/// Why a group does not go on at exactly the record that it would have read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum Adjustment {
    /// The offset is before what is restored: the group goes on at the first record.
    ClampedToStart,
    /// The offset is beyond what is restored: the group goes on at the end.
    ClampedToEnd,
    /// The offset is in an accepted gap: the group goes on at the next record after it.
    InGap,
    /// The offset is of another topic of the same name, before or after the one that is restored; left out.
    OtherLife,
    /// The records are spread over partitions anew, so no offset stands for another; left out.
    Repartitioned,
    /// Nothing of the partition is restored; left out.
    NotRestored,
    /// The target did not tell where each record is: the group goes on a few records before its own.
    Approximate,
}

impl Adjustment {
    /// The name as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClampedToStart => "ClampedToStart",
            Self::ClampedToEnd => "ClampedToEnd",
            Self::InGap => "InGap",
            Self::OtherLife => "OtherLife",
            Self::Repartitioned => "Repartitioned",
            Self::NotRestored => "NotRestored",
            Self::Approximate => "Approximate",
        }
    }

    /// Whether the group gets no offset for the partition.
    pub const fn leaves_out(self) -> bool {
        matches!(self, Self::OtherLife | Self::Repartitioned | Self::NotRestored)
    }
}

impl Position {
    /// Whether the group gets an offset for the partition.
    pub fn is_kept(&self) -> bool {
        !self.adjustment.is_some_and(Adjustment::leaves_out)
    }
}

impl GroupPlan {
    /// Whether the group gets an offset at all.
    pub fn is_restored(&self) -> bool {
        self.offsets.iter().any(Position::is_kept)
    }
}

impl TopicPlan {
    /// A partition of it as the backup names it, and where it ends there; `None` where nothing of it is restored.
    fn source(&self, partition: PartitionId) -> Option<(PartitionKey, Offset)> {
        let found = self.partitions.iter().find(|one| one.partition == partition)?;
        Some((PartitionKey { topic: self.source.clone(), lineage: found.lineage, partition }, found.end))
    }

    /// Where a partition ends at the target before the first record.
    pub fn start(&self, partition: PartitionId) -> Offset {
        let ends = self.existing_ends.iter().filter(|_| self.action == Action::Append);
        let number = usize::try_from(partition.get()).unwrap_or(usize::MAX);
        ends.copied().nth(number).unwrap_or(Offset::new(0))
    }
}

/// What becomes of the offsets of the groups that the document chooses, for topics that are restored.
pub(super) fn plan(basis: &Basis<'_>, topics: &[TopicPlan]) -> (Vec<GroupPlan>, Vec<GroupConflict>) {
    let Some(chosen) = &basis.settings.groups else { return (Vec::new(), Vec::new()) };
    let missing = || Held {
        incomplete: Some("the backup does not hold offsets of consumer groups".to_owned()),
        ..Held::default()
    };
    let held = basis.groups.cloned().unwrap_or_else(missing);
    let mut conflicts: Vec<GroupConflict> = Vec::new();
    conflicts.extend(held.incomplete.map(|why| GroupConflict::NotCovered { why }));
    let firsts = firsts(basis);
    let groups = held.offsets.iter().filter(|(group, _)| chosen.selection.selects(group));
    let groups = groups.map(|(group, offsets)| {
        let position = |((topic, partition), committed): (&(TopicName, PartitionId), &CommittedOffset)| {
            let plan = topics.iter().find(|plan| plan.source == *topic)?;
            Some(position(basis, plan, *partition, committed, &firsts))
        };
        group_plan(group, chosen, offsets.iter().filter_map(position).collect())
    });
    let groups: Vec<GroupPlan> = groups.collect();
    conflicts.extend(conflict::find(&groups));
    for (key, wanted) in wanted_of(&groups, topics) {
        if wanted.len() > MOST_OFFSETS {
            let (topic, partition, offsets) = (key.topic, key.partition, wanted.len());
            conflicts.push(GroupConflict::TooManyOffsets { topic, partition, offsets });
        }
    }
    (groups, conflicts)
}

fn group_plan(group: &GroupId, chosen: &RestoreGroups, offsets: Vec<Position>) -> GroupPlan {
    GroupPlan { source: group.clone(), target: chosen.target(group), offsets }
}

/// The first offset of each partition that may be restored.
fn firsts(basis: &Basis<'_>) -> BTreeMap<PartitionKey, Offset> {
    let mut firsts = BTreeMap::new();
    for part in basis.touched.iter().flat_map(|touched| &touched.wanted) {
        let first = firsts.entry(part.run.key()).or_insert(part.run.range.base());
        *first = part.run.range.base().min(*first);
    }
    firsts
}

fn position(
    basis: &Basis<'_>,
    plan: &TopicPlan,
    partition: PartitionId,
    committed: &CommittedOffset,
    firsts: &BTreeMap<PartitionKey, Offset>,
) -> Position {
    let adjustment = match plan.source(partition) {
        None => Some(Adjustment::NotRestored),
        Some(_) if plan.respread().is_some() => Some(Adjustment::Repartitioned),
        // Seen by the group before the topic was seen to have it.
        Some(_) if partition.get().unsigned_abs() >= plan.target_partitions => Some(Adjustment::NotRestored),
        Some((key, _)) if is_of_other_life(basis, &key, committed) => Some(Adjustment::OtherLife),
        Some((key, end)) => adjustment(basis, &key, end, committed.offset, firsts.get(&key).copied()),
    };
    Position {
        topic: plan.source.clone(),
        target_topic: plan.target.clone(),
        partition,
        offset: committed.offset,
        metadata: committed.metadata.clone(),
        adjustment,
    }
}

/// Brokers do not keep the topic's id for every commit; without one it is taken for that of the topic that stood.
fn is_of_other_life(basis: &Basis<'_>, key: &PartitionKey, committed: &CommittedOffset) -> bool {
    let lineage = |lineage: Lineage| usize::try_from(lineage.get()).unwrap_or(usize::MAX);
    let life = basis.state.topics.get(&key.topic).and_then(|topic| topic.lives.get(lineage(key.lineage)));
    committed.topic_id.as_ref().zip(life).is_some_and(|(id, life)| *id != life.topic_id)
}

fn adjustment(
    basis: &Basis<'_>,
    key: &PartitionKey,
    end: Offset,
    offset: Offset,
    first: Option<Offset>,
) -> Option<Adjustment> {
    if offset >= end {
        return (offset > end).then_some(Adjustment::ClampedToEnd);
    }
    if basis.state.gaps.iter().any(|gap| gap.key() == *key && gap.range.contains(offset)) {
        return Some(Adjustment::InGap);
    }
    // Offsets before the first that was ever captured were gone then. What a startTimestamp leaves out was not. What a base does
    // without was written over, as by the compaction of the topic.
    let held = basis.state.position(key).map_or(end, |held| {
        let of_base = first.filter(|_| held.base.is_some());
        of_base.map_or(held.first_offset, |first| first.min(held.first_offset))
    });
    let is_cut = basis.point.start.is_some() && offset < first.unwrap_or(end);
    (offset < held || is_cut).then_some(Adjustment::ClampedToStart)
}

/// The offsets that are to be translated in each partition, in order; none for a partition without.
pub fn wanted(plan: &Plan) -> BTreeMap<PartitionKey, Vec<Offset>> {
    let wanted = wanted_of(&plan.groups, &plan.topics).into_iter();
    wanted.map(|(key, offsets)| (key, offsets.into_iter().collect())).collect()
}

fn wanted_of(groups: &[GroupPlan], topics: &[TopicPlan]) -> BTreeMap<PartitionKey, BTreeSet<Offset>> {
    let mut wanted: BTreeMap<PartitionKey, BTreeSet<Offset>> = BTreeMap::new();
    for position in groups.iter().flat_map(|group| &group.offsets).filter(|position| position.is_kept()) {
        let topic = topics.iter().find(|topic| topic.source == position.topic);
        let Some((key, end)) = topic.and_then(|topic| topic.source(position.partition)) else { continue };
        // All that is at the end or beyond it is in one place.
        wanted.entry(key).or_default().insert(position.offset.min(end));
    }
    wanted
}

impl fmt::Display for GroupPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.offsets.iter().filter(|position| position.is_kept()).count();
        let of = self.offsets.len();
        let what = match (kept, of) {
            (_, 0) => "nothing committed for these topics".to_owned(),
            (0, _) => format!("nothing is restored of {of} offsets"),
            (kept, of) if kept == of => format!("{of} offsets"),
            (kept, of) => format!("{kept} of {of} offsets"),
        };
        writeln!(f, "group       {} -> {}: {what}", self.source, self.target)?;
        for position in &self.offsets {
            if let Some(adjustment) = position.adjustment {
                let Position { topic, partition, offset, .. } = position;
                writeln!(f, "  {topic}-{partition} at {offset}: {}", adjustment.as_str())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
