//! What stands in the way of restoring the offsets of groups. Pure.

use std::collections::BTreeMap;

use strimzi_backup_format::ids::{GroupId, PartitionId, TopicName};

use super::GroupPlan;
use crate::kafka::BrokerError;
use crate::restore::translation::MOST_OFFSETS;

/// Why offsets of groups must not be restored. Every one is told at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupConflict {
    /// The backup does not tell what groups had committed at the moment.
    #[error("{why}: choose another moment, or leave consumerGroups out")]
    NotCovered {
        /// Why, as a whole sentence.
        why: String,
    },
    /// A group can have the offsets of one only.
    #[error(
        "the offsets of groups {first} and {second} would both be those of group {group}: map one to another id \
         (consumerGroups.mapping)"
    )]
    SharedTarget {
        /// The group at the target.
        group: GroupId,
        /// A group in the backup.
        first: GroupId,
        /// Another.
        second: GroupId,
    },
    /// The client library cannot name the group.
    #[error("group {:?} has a NUL in its id, which cannot be sent: map it to another id (consumerGroups.mapping)", group.as_str())]
    Unnameable {
        /// The group at the target.
        group: GroupId,
    },
    /// The group is in use.
    #[error(
        "group {group} has {members} live members ({state}), and no offset can be set then: stop them, or map {source_group} to \
         another id (consumerGroups.mapping)"
    )]
    Members {
        /// The group at the target.
        group: GroupId,
        /// Its id in the backup.
        source_group: GroupId,
        /// How many members it has.
        members: usize,
        /// Its state, in the broker's word.
        state: String,
    },
    /// The target does not say what the group is.
    #[error("the target does not describe group {group}: {code}")]
    Undescribed {
        /// The group at the target.
        group: GroupId,
        /// The broker's code.
        code: BrokerError,
    },
    /// The translations do not fit into what is committed with the progress.
    #[error(
        "groups had committed {offsets} different offsets in {topic}-{partition}, and a restore translates at most {MOST_OFFSETS} of a \
         partition: choose fewer groups (consumerGroups.include, exclude)"
    )]
    TooManyOffsets {
        /// The topic in the backup.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// How many.
        offsets: usize,
    },
}

/// Conflicts of groups with each other.
pub(super) fn find(groups: &[GroupPlan]) -> Vec<GroupConflict> {
    let mut conflicts = Vec::new();
    let mut firsts: BTreeMap<&GroupId, &GroupId> = BTreeMap::new();
    for GroupPlan { source, target, .. } in groups.iter().filter(|group| group.is_restored()) {
        match firsts.get(target) {
            Some(first) => conflicts.push(GroupConflict::SharedTarget {
                group: target.clone(),
                first: (*first).clone(),
                second: source.clone(),
            }),
            None => {
                firsts.insert(target, source);
            }
        }
        if target.as_str().contains('\0') {
            conflicts.push(GroupConflict::Unnameable { group: target.clone() });
        }
    }
    conflicts
}
