//! What is protected: the one resolved view of a backup (P10) that the command line, the metrics and the custom resource show.
//!
//! Pure: a folded [`State`] and the present in, facts out.

use serde::Serialize;

use crate::identity::Identity;
use crate::ids::{ClusterId, PartitionKey, TimestampMs, TopicName};
use crate::manifest::{Behind, BehindReason, Gap};
use crate::state::{Head, Interval, State, Totals};

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
    let positions = || state.positions.values();
    Coverage {
        backup: identity.backup.to_string(),
        name: identity.name.clone(),
        cluster: identity.cluster.clone(),
        head: state.head,
        writer: state.claims.last().map(|claim| claim.writer.clone()),
        recoverable: Recoverable { from: state.complete_since, until },
        lag_seconds: until.map(|until| now.millis_since(until) / 1000),
        oldest_timestamp: positions().filter_map(|position| position.lowest_timestamp).min(),
        newest_timestamp: positions().filter_map(|position| position.highest_timestamp).max(),
        behind: state.frontier.behind.clone(),
        topics: state.topics.keys().map(|topic| topic_coverage(state, topic)).collect(),
        gaps: state.gaps.clone(),
        totals: state.totals,
    }
}

/// The instant up to which every partition with a complete first copy is captured; `None` where there is none.
pub fn recoverable_until(state: &State) -> Option<TimestampMs> {
    let live: usize = state.topics.values().filter(|topic| topic.is_live()).map(|topic| topic.current.len()).sum();
    let behind = &state.frontier.behind;
    let first_copies = behind.iter().filter(|behind| behind.until.is_none()).count();
    if live > 0 && first_copies >= live {
        return None;
    }
    let slowest = behind.iter().filter_map(|behind| behind.until).min();
    let until = state.frontier.until?;
    Some(slowest.map_or(until, |slowest| slowest.min(until)))
}

fn topic_coverage(state: &State, topic: &TopicName) -> TopicCoverage {
    let first = PartitionKey {
        topic: topic.clone(),
        lineage: crate::ids::Lineage::FIRST,
        partition: crate::ids::PartitionId::new(0),
    };
    let rows = state
        .positions
        .range(first..)
        .take_while(|(key, _)| key.topic == *topic)
        .map(|(_, position)| position.rows)
        .sum();
    let lost_offsets = state.gaps.iter().filter(|gap| gap.topic == *topic).map(|gap| gap.range.span()).sum();
    let held = &state.topics[topic];
    let copying =
        |behind: &Behind| behind.topic == *topic && behind.until.is_none() && behind.reason == BehindReason::Backlog;
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
