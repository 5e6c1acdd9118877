//! What is protected: the one resolved view of a backup (P10) that the command line, the metrics and the custom resource show.
//!
//! Pure: a folded [`State`] and the present in, facts out.

use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::ids::{ClusterId, Lineage, Offset, PartitionId, PartitionKey, TimestampMs, TopicName};
use crate::manifest::{Behind, BehindReason, Gap, GroupStanding};
use crate::state::{Head, Interval, Position, State, TopicState, Totals};

/// What is protected, since when, until when, and what is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// The backup's id.
    pub backup: String,
    /// The name its job gives it.
    pub name: String,
    /// The Kafka cluster.
    pub cluster: ClusterId,
    /// The newest manifest: what an anchor names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// Who writes, or wrote last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
    /// The window that a restore may choose its moment from.
    pub recoverable: Recoverable,
    /// Seconds from `recoverable.until` to the present: what would be lost if Kafka were lost now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<u64>,
    /// The lowest record timestamp held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_timestamp: Option<TimestampMs>,
    /// The highest record timestamp held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_timestamp: Option<TimestampMs>,
    /// Partitions behind `recoverable.until`'s present, and why.
    pub behind: Vec<Behind>,
    /// Topics, by name.
    pub topics: Vec<TopicCoverage>,
    /// Consumer groups.
    pub groups: GroupCoverage,
    /// Every partition ever captured, of all lives, by topic.
    pub positions: Vec<PartitionCoverage>,
    /// Every gap, oldest first.
    pub gaps: Vec<Gap>,
    /// What is stored in all.
    pub totals: Totals,
}

/// The window that a restore may choose its moment from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Recoverable {
    /// The first instant at which every selected partition was captured; absent while the first copy lasts.
    pub from: Option<TimestampMs>,
    /// The last instant up to which everything is captured in every partition whose first copy is complete.
    pub until: Option<TimestampMs>,
}

/// What is held of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicCoverage {
    /// The topic.
    pub topic: TopicName,
    /// Whether it is being captured.
    pub state: TopicCondition,
    /// Its lives.
    pub lineages: usize,
    /// Its partitions in the present life.
    pub partitions: u32,
    /// Records held, of all lives.
    pub rows: u64,
    /// Offsets lost, of all lives.
    pub lost_offsets: u64,
    /// When it was selected.
    pub selected: Vec<Interval>,
}

/// What is held of consumer groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupCoverage {
    /// Whether their offsets are being captured.
    pub state: GroupCondition,
    /// The first instant whose committed offsets are held; absent while the first copy lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<TimestampMs>,
    /// Every offset that was committed at this instant is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<TimestampMs>,
}

/// Whether the offsets of consumer groups are being captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub enum GroupCondition {
    /// They are.
    Streaming,
    /// The first copy is not complete.
    FirstCopy,
    /// The job selects no group.
    NotSelected,
    /// The user may not see `__consumer_offsets`.
    Denied,
    /// `__consumer_offsets` is out of reach, or its records are refused to the user.
    Unreachable,
    /// What was stored of them cannot be read any more.
    Damaged,
}

impl GroupCondition {
    /// Each of them.
    pub const ALL: [Self; 6] =
        [Self::Streaming, Self::FirstCopy, Self::NotSelected, Self::Denied, Self::Unreachable, Self::Damaged];

    /// The name as shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Streaming => "Streaming",
            Self::FirstCopy => "FirstCopy",
            Self::NotSelected => "NotSelected",
            Self::Denied => "Denied",
            Self::Unreachable => "Unreachable",
            Self::Damaged => "Damaged",
        }
    }
}

/// What is accounted for of a partition: each offset from the first up to the next is held, a legal hole, or in a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartitionCoverage {
    /// The topic.
    pub topic: TopicName,
    /// Which life of the topic.
    pub lineage: Lineage,
    /// The partition.
    pub partition: PartitionId,
    /// The first offset accounted for.
    pub first_offset: Offset,
    /// The first offset not yet accounted for.
    pub next_offset: Offset,
}

impl PartitionCoverage {
    /// The partition.
    pub fn key(&self) -> PartitionKey {
        PartitionKey { topic: self.topic.clone(), lineage: self.lineage, partition: self.partition }
    }
}

/// Whether a topic is being captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub enum TopicCondition {
    /// It is.
    Streaming,
    /// Its first copy is not complete.
    FirstCopy,
    /// It was deleted; what was captured is kept.
    Deleted,
    /// It is not selected any more.
    Excluded,
}

impl TopicCondition {
    /// The name as shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Streaming => "Streaming",
            Self::FirstCopy => "FirstCopy",
            Self::Deleted => "Deleted",
            Self::Excluded => "Excluded",
        }
    }
}

/// Resolves what is protected at `now`.
pub fn resolve(identity: &Identity, state: &State, now: TimestampMs) -> Coverage {
    let until = recoverable_until(state);
    let (oldest_timestamp, newest_timestamp) = timestamps(state);
    Coverage {
        backup: identity.backup.to_string(),
        name: identity.name.clone(),
        cluster: identity.cluster.clone(),
        head: state.head,
        writer: state.claims.last().map(|claim| claim.writer.clone()),
        recoverable: Recoverable { from: state.recoverable_from(), until },
        lag_seconds: until.map(|until| now.millis_since(until) / 1000),
        oldest_timestamp,
        newest_timestamp,
        behind: behind_in_records(state).cloned().collect(),
        topics: record_topics(state).map(|(topic, _)| topic_coverage(state, topic)).collect(),
        groups: groups(state),
        positions: positions(state),
        gaps: state.gaps.clone(),
        totals: state.totals,
    }
}

/// The instant up to which every partition with a complete first copy is captured; `None` where there is none.
pub fn recoverable_until(state: &State) -> Option<TimestampMs> {
    let live = record_topics(state).filter(|(_, topic)| topic.is_live());
    let live: usize = live.map(|(_, topic)| topic.current.len()).sum();
    let first_copies = behind_in_records(state).filter(|behind| behind.until.is_none()).count();
    if live > 0 && first_copies >= live {
        return None;
    }
    let slowest = behind_in_records(state).filter_map(|behind| behind.until).min();
    let until = state.frontier.until?;
    Some(slowest.map_or(until, |slowest| slowest.min(until)))
}

/// The topics whose records are held: all but that of the consumer groups.
pub fn record_topics(state: &State) -> impl Iterator<Item = (&TopicName, &TopicState)> {
    state.topics.iter().filter(|(topic, _)| !topic.is_consumer_offsets())
}

/// The partitions with records that are behind. How far consumer groups are, never holds records up.
pub fn behind_in_records(state: &State) -> impl Iterator<Item = &Behind> + Clone {
    state.frontier.behind.iter().filter(|behind| !behind.topic.is_consumer_offsets())
}

/// What is held of consumer groups.
pub fn groups(state: &State) -> GroupCoverage {
    let until = state.frontier.groups_until();
    let refused = |behind: &Behind| behind.topic.is_consumer_offsets() && behind.reason == BehindReason::Unreachable;
    let condition = match state.frontier.groups {
        None => GroupCondition::NotSelected,
        Some(GroupStanding::Denied) => GroupCondition::Denied,
        Some(GroupStanding::Damaged) => GroupCondition::Damaged,
        Some(_) if state.frontier.behind.iter().any(refused) => GroupCondition::Unreachable,
        Some(_) if until.is_some() => GroupCondition::Streaming,
        Some(_) => GroupCondition::FirstCopy,
    };
    GroupCoverage { state: condition, from: state.group_images.first().and_then(|image| image.until), until }
}

/// The lowest and the highest record timestamp held.
pub fn timestamps(state: &State) -> (Option<TimestampMs>, Option<TimestampMs>) {
    let positions = || state.positions.iter().filter(|(key, _)| !key.topic.is_consumer_offsets());
    let oldest = positions().filter_map(|(_, position)| position.lowest_timestamp).min();
    (oldest, positions().filter_map(|(_, position)| position.highest_timestamp).max())
}

/// What is accounted for of every partition ever captured, by topic.
pub fn positions(state: &State) -> Vec<PartitionCoverage> {
    state.positions.iter().map(partition_coverage).collect()
}

fn partition_coverage((key, position): (&PartitionKey, &Position)) -> PartitionCoverage {
    let PartitionKey { topic, lineage, partition } = key.clone();
    let Position { first_offset, next_offset, .. } = *position;
    PartitionCoverage { topic, lineage, partition, first_offset, next_offset }
}

fn topic_coverage(state: &State, topic: &TopicName) -> TopicCoverage {
    let first = PartitionKey { topic: topic.clone(), lineage: Lineage::FIRST, partition: PartitionId::new(0) };
    let rows = state
        .positions
        .range(first..)
        .take_while(|(key, _)| key.topic == *topic)
        .map(|(_, position)| position.rows)
        .sum();
    let lost_offsets = state.gaps.iter().filter(|gap| gap.topic == *topic).map(|gap| gap.range.span()).sum();
    let held = &state.topics[topic];
    // One that stands still in its first copy has not ended it.
    let unfinished = |reason| matches!(reason, BehindReason::Backlog | BehindReason::Corrupt);
    let copying = |behind: &Behind| behind.topic == *topic && behind.until.is_none() && unfinished(behind.reason);
    let condition = if !held.is_selected() {
        TopicCondition::Excluded
    } else if !held.is_live() {
        TopicCondition::Deleted
    } else if state.frontier.behind.iter().any(copying) {
        TopicCondition::FirstCopy
    } else {
        TopicCondition::Streaming
    };
    TopicCoverage {
        topic: topic.clone(),
        state: condition,
        lineages: held.lives.len(),
        partitions: held.description.partitions,
        rows,
        lost_offsets,
        selected: held.selected.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::log::{Draft, LogWriter};
    use crate::manifest::{Frontier, GapReason, TopicEventKind};
    use crate::sample::{at, behind, captured, claimed, commit, event, gap, identity, key, position, topic};
    use crate::store::Store;

    /// A log with these topics, of two partitions each.
    async fn writer(topics: &[&str]) -> LogWriter {
        let mut writer = claimed(&Store::memory()).await;
        let topics = topics.iter().map(|name| event(name, 0, TopicEventKind::Added)).collect();
        commit(&mut writer, Draft { topics, ..Draft::default() }).await;
        writer
    }

    /// What is protected after this frontier.
    async fn with(writer: &mut LogWriter, until: Option<i64>, behind: Vec<Behind>) -> Coverage {
        let frontier = Frontier { until: until.map(at), behind, groups: None };
        commit(writer, Draft { frontier, ..Draft::default() }).await;
        resolve(&identity(), writer.state(), at(1000))
    }

    #[tokio::test]
    async fn recoverable_ends_with_the_slowest_partition_and_without_first_copies() {
        let writer = &mut writer(&["orders"]).await;
        let (one, two) = (key("orders", 0, 0), key("orders", 0, 1));
        let first_copy = |key: &PartitionKey| behind(key, None, BehindReason::Backlog);
        let slow = |key: &PartitionKey, until| behind(key, Some(at(until)), BehindReason::OpenTransaction);
        let cases = [
            (None, vec![], (None, None), None),
            (Some(90), vec![first_copy(&one), first_copy(&two)], (None, None), None),
            (Some(100), vec![first_copy(&one)], (None, Some(100)), Some(900)),
            (Some(200), vec![first_copy(&one), slow(&two, 150)], (None, Some(150)), Some(850)),
            (Some(300), vec![slow(&one, 250), slow(&two, 240)], (Some(300), Some(240)), Some(760)),
            (Some(400), vec![slow(&one, 500)], (Some(300), Some(400)), Some(600)),
            (Some(500), vec![], (Some(300), Some(500)), Some(500)),
            (Some(2000), vec![], (Some(300), Some(2000)), Some(0)),
        ];
        for (until, behind, (recoverable_from, recoverable_until), lag) in cases {
            let found = with(writer, until, behind.clone()).await;
            let expected = Recoverable { from: recoverable_from.map(at), until: recoverable_until.map(at) };
            assert_eq!((found.recoverable, found.lag_seconds, &found.behind), (expected, lag, &behind), "{until:?}");
        }
    }

    #[tokio::test]
    async fn a_topic_is_streaming_copying_deleted_or_excluded() {
        let writer = &mut writer(&["copying", "deleted", "excluded", "streaming", "unreachable"]).await;
        let topics = vec![event("deleted", 0, TopicEventKind::Deleted), event("excluded", 0, TopicEventKind::Excluded)];
        commit(writer, Draft { topics, ..Draft::default() }).await;
        let behind = vec![
            behind(&key("copying", 0, 1), None, BehindReason::Backlog),
            behind(&key("streaming", 0, 0), Some(at(1)), BehindReason::Backlog),
            behind(&key("unreachable", 0, 0), None, BehindReason::Unreachable),
        ];
        let found = with(writer, Some(10), behind).await;
        let states: Vec<_> = found.topics.iter().map(|found| (found.topic.as_str(), found.state.as_str())).collect();
        let expected = [
            ("copying", "FirstCopy"),
            ("deleted", "Deleted"),
            ("excluded", "Excluded"),
            ("streaming", "Streaming"),
            ("unreachable", "Streaming"),
        ];
        assert_eq!(states, expected);
        assert_eq!(found.topics[2].selected, [Interval { from: at(2), until: Some(at(3)) }]);
    }

    #[tokio::test]
    async fn a_topic_counts_all_its_lives_and_none_of_its_neighbours() {
        let writer = &mut writer(&["order", "orders", "orders.v2"]).await;
        for (name, lineage) in [("order", 0), ("orders", 0), ("orders", 1), ("orders.v2", 0)] {
            commit(writer, captured(&key(name, lineage, 0), 0..10)).await;
        }
        let topics = vec![event("orders", 1, TopicEventKind::Recreated)];
        commit(writer, Draft { topics, ..Draft::default() }).await;
        let orders = key("orders", 0, 0);
        let gaps = vec![gap(&orders, 10..17, GapReason::TopicDeleted)];
        commit(writer, Draft { gaps, positions: vec![position(&orders, 17)], ..Draft::default() }).await;
        let found = with(writer, None, Vec::new()).await;
        let counted: Vec<_> = found
            .topics
            .iter()
            .map(|topic| (topic.rows, topic.lost_offsets, topic.lineages, topic.partitions))
            .collect();
        assert_eq!(counted, [(10, 0, 1, 2), (20, 7, 2, 2), (10, 0, 1, 2)]);
        assert_eq!((found.gaps.len(), found.totals.rows), (1, 40));
        assert_eq!((found.oldest_timestamp, found.newest_timestamp), (Some(at(0)), Some(at(16))));
    }

    #[tokio::test]
    async fn every_partition_of_every_life_has_its_first_and_its_next_offset() {
        let writer = &mut writer(&["orders"]).await;
        commit(writer, captured(&key("orders", 1, 0), 0..3)).await;
        commit(writer, captured(&key("orders", 0, 1), 100..120)).await;
        commit(writer, captured(&key("orders", 0, 1), 120..125)).await;
        let found = with(writer, None, Vec::new()).await;
        let position = |lineage, partition, first, next| PartitionCoverage {
            topic: topic("orders"),
            lineage: Lineage::new(lineage),
            partition: PartitionId::new(partition),
            first_offset: Offset::new(first),
            next_offset: Offset::new(next),
        };
        assert_eq!(found.positions, [position(0, 1, 100, 125), position(1, 0, 0, 3)]);
        let json = serde_json::to_value(&found.positions[0]).expect("json");
        let expected =
            serde_json::json!({"topic": "orders", "lineage": 0, "partition": 1, "firstOffset": 100, "nextOffset": 125});
        assert_eq!(json, expected);
    }

    #[tokio::test]
    async fn who_wrote_last_and_where_the_log_stands_is_told() {
        let writer = &mut writer(&[]).await;
        let found = with(writer, None, Vec::new()).await;
        assert_eq!((found.backup, found.name), (identity().backup.to_string(), "orders-dr".to_owned()));
        assert_eq!((found.head, found.writer.as_deref()), (writer.state().head, Some("pod-1")));
        let before = resolve(&identity(), &crate::sample::empty_state(), at(0));
        assert_eq!((before.head, before.writer, before.lag_seconds), (None, None, None));
    }
}
