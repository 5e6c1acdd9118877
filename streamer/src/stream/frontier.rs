//! Up to when everything is captured: what a manifest claims of the instant before it, and why some partitions are behind.

use std::collections::BTreeMap;

use strimzi_backup_format::ids::{PartitionKey, TimestampMs};
use strimzi_backup_format::manifest::{Behind, BehindReason, Frontier};
use strimzi_backup_format::state::State;

use super::Stream;
use crate::clock::Clock;
use crate::source::Broker;
use crate::source::buffers::{Fault, Standing, Start};

impl<B: Broker, C: Clock> Stream<B, C> {
    /// Up to when everything is captured by the positions of the last cut.
    pub(super) fn frontier(&mut self) -> Frontier {
        let standings = self.parts.buffers.lock().standings();
        let mut absent = self.catalog.wanted();
        let (mut behind, mut of_groups) = (Vec::new(), Vec::new());
        let mut until: Option<TimestampMs> = None;
        for (key, standing) in standings {
            absent.remove(&key);
            let behind_for = self.reason_behind(&key, standing);
            if let Some(start) = self.ledger.get_mut(&key) {
                start.until = standing.until;
            }
            if standing.at_end {
                self.suspects.remove(&key);
            }
            match behind_for {
                Some(reason) => behind.push(behind_entry(&key, standing.until, reason)),
                // How far groups are never holds records up.
                None if key.topic.is_consumer_offsets() => of_groups.push((key, standing.until)),
                None => until = [until, standing.until].into_iter().flatten().min(),
            }
        }
        for key in absent {
            let until = match self.ledger.get(&key) {
                Some(start) => start.until,
                None => self.inherited.get(&key).copied(),
            };
            behind.push(behind_entry(&key, until, BehindReason::Unreachable));
        }
        let until = until.or_else(|| newest_of_records(&behind, self.watched_at));
        let until = until.map(|until| self.watched_at.map_or(until, |watched| until.min(watched)));
        let slower = of_groups.into_iter().filter(|(_, reached)| *reached < until);
        behind.extend(slower.map(|(key, reached)| behind_entry(&key, reached, BehindReason::Backlog)));
        behind.sort_by(|a, b| (&a.topic, a.lineage, a.partition).cmp(&(&b.topic, b.lineage, b.partition)));
        let frontier = Frontier { until, behind, groups: self.parts.groups.standing() };
        self.parts.groups.known_until(frontier.groups_until());
        frontier
    }

    /// Why a partition is behind. One that delivers what is corrupt is assigned anew again and again, so that its slot knows
    /// little: it stands still until it has brought something, or is captured up to a later look than before.
    fn reason_behind(&mut self, key: &PartitionKey, standing: Standing) -> Option<BehindReason> {
        if self.told_faults.get(key) != Some(&Fault::Corrupt) || standing.behind == Some(BehindReason::Unreachable) {
            return standing.behind;
        }
        let before = self.ledger.get(key).and_then(|start| start.until);
        if standing.behind.is_none() && standing.until > before {
            self.told_faults.remove(key);
            return None;
        }
        Some(BehindReason::Corrupt)
    }
}

/// Where every partition is behind: the newest instant that one of those with records is captured up to, and where there is
/// none at all, the last look.
fn newest_of_records(behind: &[Behind], watched_at: Option<TimestampMs>) -> Option<TimestampMs> {
    let of_records = || behind.iter().filter(|behind| !behind.topic.is_consumer_offsets());
    match of_records().next() {
        Some(_) => of_records().filter_map(|behind| behind.until).max(),
        None => watched_at,
    }
}

/// Where each partition stands that the log holds something of.
pub(super) fn ledger(state: &State) -> BTreeMap<PartitionKey, Start> {
    let behind: BTreeMap<PartitionKey, Option<TimestampMs>> =
        state.frontier.behind.iter().map(|behind| (behind.key(), behind.until)).collect();
    let until = |key: &PartitionKey| {
        let until = behind.get(key).copied().unwrap_or(state.frontier.until);
        until.filter(|_| is_followed(state, key))
    };
    let starts = state.positions.iter().map(|(key, position)| Start {
        key: key.clone(),
        offset: position.next_offset,
        last_record: position.last_record,
        highest_timestamp: position.highest_timestamp,
        filed: position.filed,
        until: until(key),
    });
    starts.map(|start| (start.key.clone(), start)).collect()
}

/// What partitions count as captured up to of which the log holds nothing yet.
pub(super) fn inherited(state: &State) -> BTreeMap<PartitionKey, TimestampMs> {
    let behind = state.frontier.behind.iter().filter_map(|behind| Some((behind.key(), behind.until?)));
    behind.filter(|(key, _)| state.position(key).is_none()).collect()
}

/// Whether the log's frontier speaks for a partition. It does not for what was excluded or taken for deleted: that may
/// come back, and then what it is captured up to is not known.
fn is_followed(state: &State, key: &PartitionKey) -> bool {
    state
        .topics
        .get(&key.topic)
        .is_some_and(|topic| topic.is_live() && topic.current.get(&key.partition) == Some(&key.lineage))
}

fn behind_entry(key: &PartitionKey, until: Option<TimestampMs>, reason: BehindReason) -> Behind {
    let PartitionKey { topic, lineage, partition } = key.clone();
    Behind { topic, lineage, partition, until, reason }
}
