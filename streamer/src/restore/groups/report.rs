//! Where offsets of groups are at the target, as it is stored and shown at the end of a restore. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use strimzi_backup_format::ids::{GroupId, Offset, PartitionId, PartitionKey, TopicName};

use super::{Adjustment, GroupPlan, Position, wanted};
use crate::restore::plan::Plan;
use crate::restore::translation::{Place, Translated, Translations};

/// The offsets that a group got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupReport {
    /// Its id in the backup.
    pub source: GroupId,
    /// Its id at the target.
    pub target: GroupId,
    /// What it had committed for topics that were restored, in the order of the plan.
    pub offsets: Vec<PositionReport>,
}

/// The offset that a group got for one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PositionReport {
    /// The topic's name in the backup.
    pub topic: TopicName,
    /// The topic's name at the target.
    pub target_topic: TopicName,
    /// The partition, of the same number on both sides.
    pub partition: PartitionId,
    /// The offset in the backup.
    pub offset: Offset,
    /// The offset at the target; absent where it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_offset: Option<Offset>,
    /// Why the group does not go on at exactly the record that it would have read next; none where it does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Vec<Adjustment>,
}

/// The offsets of every group at the target, once all records are written.
pub fn translate(plan: &Plan, translations: &Translations) -> Vec<GroupReport> {
    let wanted = wanted(plan);
    let group = |group: &GroupPlan| GroupReport {
        source: group.source.clone(),
        target: group.target.clone(),
        offsets: group.offsets.iter().map(|position| report(plan, position, &wanted, translations)).collect(),
    };
    plan.groups.iter().map(group).collect()
}

fn report(
    plan: &Plan,
    position: &Position,
    wanted: &BTreeMap<PartitionKey, Vec<Offset>>,
    translations: &Translations,
) -> PositionReport {
    let place = place(plan, position, wanted, translations).filter(|_| position.is_kept());
    let approximate = place.filter(|place| !place.is_exact).map(|_| Adjustment::Approximate);
    PositionReport {
        topic: position.topic.clone(),
        target_topic: position.target_topic.clone(),
        partition: position.partition,
        offset: position.offset,
        target_offset: place.map(|place| place.offset),
        adjustments: position.adjustment.into_iter().chain(approximate).collect(),
    }
}

fn place(
    plan: &Plan,
    position: &Position,
    wanted: &BTreeMap<PartitionKey, Vec<Offset>>,
    translations: &Translations,
) -> Option<Place> {
    let topic = plan.topics.iter().find(|topic| topic.source == position.topic)?;
    let (key, end) = topic.source(position.partition)?;
    let number = wanted.get(&key)?.binary_search(&position.offset.min(end)).ok()?;
    let nothing = Translated::default();
    Some(translations.get(&key).unwrap_or(&nothing).place(number, topic.start(position.partition)))
}

impl fmt::Display for GroupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.offsets.iter().filter(|position| position.target_offset.is_some()).count();
        writeln!(f, "  group {} -> {}: {set} of {} offsets", self.source, self.target, self.offsets.len())?;
        for position in self.offsets.iter().filter(|position| !position.adjustments.is_empty()) {
            let PositionReport { topic, partition, offset, .. } = position;
            let to = position.target_offset.map_or("left out".to_owned(), |offset| format!("-> {offset}"));
            let why: Vec<&str> = position.adjustments.iter().map(|one| one.as_str()).collect();
            writeln!(f, "    {topic}-{partition} at {offset} {to}: {}", why.join(", "))?;
        }
        Ok(())
    }
}
