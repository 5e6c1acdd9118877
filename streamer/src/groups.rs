//! `groups`: which offsets consumer groups had committed at a moment. Reads the store alone.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU64;

use serde::Serialize;
use strimzi_backup_format::groups::GroupOffsets;
use strimzi_backup_format::groups::at::{self, Incomplete, Moment};
use strimzi_backup_format::ids::{GroupId, LeaderEpoch, Offset, PartitionId, Shard, TimestampMs, TopicId, TopicName};
use strimzi_backup_format::manifest::reader;
use strimzi_backup_format::store::Store;

use crate::error::Error;

/// What groups had committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// The moment; absent: the end of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<TimestampMs>,
    /// The groups, by their ids.
    pub groups: Vec<Group>,
    /// Records that could not be read when they were captured: what they say is not in the offsets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<NonZeroU64>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its id.
    pub group: GroupId,
    /// What it had committed, by topic and partition.
    pub offsets: Vec<Committed>,
}

/// What a group had committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Committed {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionId,
    /// The offset that it would have read next.
    pub offset: Offset,
    /// The leader epoch of the record before; −1 where the group did not tell.
    pub leader_epoch: LeaderEpoch,
    /// When it was committed.
    pub committed_at: TimestampMs,
    /// What the group keeps with it; mostly empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// The id of the topic that it speaks of, where the broker keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<TopicId>,
}

/// What the groups of the backup in `store` had committed at `at`, inclusive; at the end of the log where absent. Only those
/// of `wanted`, where that names any.
///
/// # Errors
/// [`Error::NoBackup`], [`Error::Read`], [`Error::Groups`]; [`Error::NoGroups`] where that moment is not covered.
pub async fn run(store: &Store, wanted: &BTreeSet<GroupId>, at: Option<TimestampMs>) -> Result<Found, Error> {
    let log = reader::open(store, Shard::ONLY).await?;
    let log = log.ok_or_else(|| Error::NoBackup(store.description.clone()))?;
    let found = match Moment::of_log(&log, at) {
        Some(moment) => at::at(store, &log, moment).await?,
        None => return Err(Error::NoGroups(Incomplete::FirstCopy)),
    };
    match found.incomplete {
        Some(incomplete) => Err(Error::NoGroups(incomplete)),
        None => {
            let unreadable = NonZeroU64::new(found.unreadable);
            Ok(Found { at, groups: groups(found.offsets, wanted), unreadable })
        }
    }
}

fn groups(mut offsets: GroupOffsets, wanted: &BTreeSet<GroupId>) -> Vec<Group> {
    if !wanted.is_empty() {
        // Who asks for one by name is told that it had committed nothing.
        offsets = wanted.iter().map(|group| (group.clone(), offsets.remove(group).unwrap_or_default())).collect();
    }
    let all = offsets.into_iter().map(|(group, offsets)| {
        let offsets = offsets.into_iter().map(|((topic, partition), committed)| Committed {
            topic,
            partition,
            offset: committed.offset,
            leader_epoch: committed.leader_epoch,
            committed_at: committed.committed_at,
            metadata: committed.metadata,
            topic_id: committed.topic_id,
        });
        Group { group, offsets: offsets.collect() }
    });
    all.collect()
}

impl Found {
    /// As JSON.
    pub fn to_json(&self) -> String {
        // Text keys and finite numbers only, which is all that serde_json asks for.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.map_or_else(|| "the end of the backup".to_owned(), TimestampMs::to_rfc3339);
        if let Some(records) = self.unreadable {
            writeln!(f, "not all is known: {records} records were of a version that the streamer could not read")?;
        }
        if self.groups.is_empty() {
            return writeln!(f, "no group had committed an offset at {at}");
        }
        for Group { group, offsets } in &self.groups {
            if offsets.is_empty() {
                writeln!(f, "{group} had committed nothing at {at}")?;
                continue;
            }
            writeln!(f, "{group}, at {at}:")?;
            for Committed { topic, partition, offset, committed_at, metadata, .. } in offsets {
                write!(f, "  {topic}-{partition}: {offset}, committed {}", committed_at.to_rfc3339())?;
                if !metadata.is_empty() {
                    write!(f, ", metadata {metadata:?}")?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use strimzi_backup_format::groups::CommittedOffset;

    use super::*;

    fn id(text: &str) -> GroupId {
        GroupId::new(text).expect("an id")
    }

    fn held() -> GroupOffsets {
        let committed = CommittedOffset {
            offset: Offset::new(42),
            leader_epoch: LeaderEpoch::UNKNOWN,
            metadata: "from the batch".to_owned(),
            committed_at: TimestampMs::new(0),
            topic_id: None,
        };
        let place = (TopicName::new("orders").expect("a name"), PartitionId::new(3));
        GroupOffsets::from([(id("billing"), BTreeMap::from([(place, committed)]))])
    }

    #[test]
    fn a_group_that_is_asked_for_and_had_committed_nothing_says_so() {
        let found = |wanted: &[&str]| Found {
            at: Some(TimestampMs::new(0)),
            groups: groups(held(), &wanted.iter().map(|text| id(text)).collect()),
            unreadable: NonZeroU64::new(2),
        };
        insta::assert_snapshot!(found(&["billing", "nobody"]), @r#"
        not all is known: 2 records were of a version that the streamer could not read
        billing, at 1970-01-01T00:00:00.000Z:
          orders-3: 42, committed 1970-01-01T00:00:00.000Z, metadata "from the batch"
        nobody had committed nothing at 1970-01-01T00:00:00.000Z
        "#);
        assert_eq!(found(&[]).groups, found(&["billing"]).groups);
        let nobody: serde_json::Value = serde_json::from_str(&found(&["nobody"]).to_json()).expect("json");
        assert_eq!(nobody["groups"], serde_json::json!([{"group": "nobody", "offsets": []}]));
    }
}
