//! A snapshot: a manifest of the log under a name, with all that stood at it, so that a restore finds its boundary.
//!
//! Owns: the document. [`catalog`] creates, lists and reads them. It is derived, as a checkpoint is: the log decides, and who
//! restores to a snapshot asks it first. Nothing but the name is new in it.

pub mod catalog;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::coverage::{self, PartitionCoverage};
use crate::document::{Document, FORMAT_VERSION, Kind};
use crate::ids::{BackupId, Nonce, Shard, SnapshotId, TimestampMs, TopicName};
use crate::manifest::Frontier;
use crate::state::{Head, State, TopicState, Totals};

/// A named boundary: where everything stood after one manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// Always 1 today.
    pub format_version: u32,
    /// Always `snapshot`.
    pub kind: Kind,
    /// The backup it is of.
    pub backup: BackupId,
    /// The shard whose log it is a boundary of.
    pub shard: Shard,
    /// Its name.
    pub id: SnapshotId,
    /// Drawn for this snapshot alone, or who asked for it.
    pub nonce: Nonce,
    /// When it was asked for.
    pub asked_at: TimestampMs,
    /// Whether it is kept whatever its age, and with it all that was captured since; absent where retention decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// The manifest that it is: the first one to be observed at or after that.
    pub manifest: Head,
    /// The instant from which on a restore may choose its moment; absent while a first copy lasted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recoverable_from: Option<TimestampMs>,
    /// The instant up to which it holds everything, in every partition whose first copy was complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recoverable_until: Option<TimestampMs>,
    /// The lowest record timestamp held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_timestamp: Option<TimestampMs>,
    /// The highest record timestamp held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_timestamp: Option<TimestampMs>,
    /// What is stored up to it.
    pub totals: Totals,
    /// As in the manifest: what was behind, and why.
    pub frontier: Frontier,
    /// Every topic that was ever selected, as the state of the log has it.
    pub topics: BTreeMap<TopicName, TopicState>,
    /// Every partition that was ever captured, of all lives, by topic.
    pub positions: Vec<PartitionCoverage>,
}

/// How long a snapshot is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Keep {
    /// Until somebody deletes its document.
    Forever,
}

impl Document for Snapshot {
    const KIND: Kind = Kind::Snapshot;
}

/// What a snapshot has besides the state that it is taken of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub id: SnapshotId,
    /// Drawn for it, or who asks for it.
    pub nonce: Nonce,
    /// When it was asked for.
    pub asked_at: TimestampMs,
    /// Whether it is kept whatever its age.
    pub keep: Option<Keep>,
}

impl Snapshot {
    /// The snapshot of what the log says in `state`; `None` before the first manifest.
    pub fn of(state: &State, label: Label) -> Option<Self> {
        let Label { id, nonce, asked_at, keep } = label;
        let (oldest_timestamp, newest_timestamp) = coverage::timestamps(state);
        Some(Self {
            format_version: FORMAT_VERSION,
            kind: Kind::Snapshot,
            backup: state.backup,
            shard: state.shard,
            id,
            nonce,
            asked_at,
            keep,
            manifest: state.head?,
            recoverable_from: state.recoverable_from(),
            recoverable_until: coverage::recoverable_until(state),
            oldest_timestamp,
            newest_timestamp,
            totals: state.totals,
            frontier: state.frontier.clone(),
            topics: state.topics.clone(),
            positions: coverage::positions(state),
        })
    }

    /// Whether retention keeps its instant no longer; `kept_since` is the first instant that is kept, absent where all are.
    pub fn is_retired(&self, kept_since: Option<TimestampMs>) -> bool {
        kept_since.is_some_and(|kept_since| self.manifest.observed_at < kept_since)
    }

    /// What makes it more than the state it was taken of.
    pub fn label(&self) -> Label {
        Label { id: self.id.clone(), nonce: self.nonce, asked_at: self.asked_at, keep: self.keep }
    }
}

#[cfg(test)]
mod tests;
