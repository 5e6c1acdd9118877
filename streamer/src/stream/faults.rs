//! What to do about partitions that the client cannot read on: find out, then decide. Never a silent jump.

use std::collections::BTreeSet;
use std::time::Duration;

use strimzi_backup_format::ids::{Offset, PartitionKey};
use strimzi_backup_format::manifest::{GapReason, TopicDescription};

use super::{Stream, Until, topics_of};
use crate::clock::Clock;
use crate::error::Error;
use crate::source::buffers::Fault;
use crate::source::{Broker, TopicPartition};

/// How long the broker may take to tell the bounds of a log.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a position out of range means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// Records up to the log's start are gone.
    Lost {
        /// Where the log starts now.
        log_start: Offset,
    },
    /// The log is shorter than what was read of it, or another one.
    Truncated,
    /// It is in range, as far as can be seen: read on, and look again if it comes back.
    ReadOn,
}

/// Decides about a position that the client found out of range. Pure.
fn decide(position: Offset, log_start: Offset, high_watermark: Offset, came_back: bool) -> Decision {
    if position < log_start {
        return Decision::Lost { log_start };
    }
    if position > high_watermark {
        return Decision::Truncated;
    }
    // In range, and yet refused: the log was cut back and has grown again since, which the leader's epochs told the
    // client. Once may be a leader that lagged; twice is not.
    if came_back { Decision::Truncated } else { Decision::ReadOn }
}

/// Why records below the log's start are gone: retention, or somebody deleted them from a topic that keeps for ever.
fn loss_reason(description: Option<&TopicDescription>, excluded_meanwhile: bool) -> GapReason {
    let set_to = |key: &str, value: &str| {
        description.is_some_and(|topic| topic.config.get(key).is_some_and(|found| found == value))
    };
    let compacted_only = set_to("cleanup.policy", "compact");
    if excluded_meanwhile {
        GapReason::Excluded
    } else if compacted_only || (set_to("retention.ms", "-1") && !has_size_limit(description)) {
        GapReason::DeletedByUser
    } else {
        GapReason::RetentionOverrun
    }
}

fn has_size_limit(description: Option<&TopicDescription>) -> bool {
    description.is_some_and(|topic| topic.config.get("retention.bytes").is_some_and(|bytes| bytes != "-1"))
}

impl<B: Broker, C: Clock> Stream<B, C> {
    /// Looks into the faults of the last interval. What cannot be found out now is found again by the next fetch.
    ///
    /// # Errors
    /// [`Error::Denied`] for a run that is to end: it would wait for ever for what it may not read.
    pub(super) async fn handle_faults(&mut self) -> Result<(), Error> {
        let faults = self.parts.buffers.lock().take_faults();
        let mut out_of_range = Vec::new();
        for (slot, key, position, fault) in faults {
            self.tell(&key, position, fault);
            match fault {
                Fault::OutOfRange => out_of_range.push((slot, key)),
                // First into a cut with what was read before it: the position is behind that, and to assign anew drops it.
                Fault::Corrupt | Fault::Denied if self.is_holding(slot) => self.parts.buffers.lock().fault(slot, fault),
                // The client stands still behind bytes that fail their checksum until it is assigned anew.
                Fault::Corrupt => self.read_on(slot, &key),
                Fault::Unknown => self.ask_topics(),
                Fault::Denied if self.until == Until::CaughtUp && !key.topic.is_consumer_offsets() => {
                    return Err(Error::Denied { topic: key.topic });
                }
                // Nothing more comes of it; the next look at the cluster assigns it again, in case it is allowed then.
                Fault::Denied => self.close(slot, &key),
                Fault::Other => {}
            }
        }
        if !out_of_range.is_empty() {
            self.resolve(out_of_range).await;
        }
        Ok(())
    }

    /// Says in the log what is wrong, once until the partition brings something again.
    fn tell(&mut self, key: &PartitionKey, position: Offset, fault: Fault) {
        if self.told_faults.insert(key.clone(), fault) == Some(fault) {
            tracing::debug!(partition = %key, %position, fault = fault.as_str(), "partition still cannot be read");
        } else {
            tracing::warn!(partition = %key, %position, fault = fault.as_str(), "partition cannot be read");
        }
    }

    async fn resolve(&mut self, slots: Vec<(u32, PartitionKey)>) {
        // Everything read so far goes into a cut first: the decision is about the position behind it.
        if slots.iter().any(|(slot, _)| self.is_holding(*slot)) {
            return self.put_back(&slots);
        }
        let topics = topics_of(slots.iter().map(|(_, key)| key));
        let described = tokio::time::timeout(PATIENCE, self.parts.broker.describe(&topics)).await;
        let Ok(Ok(described)) = described else { return self.put_back(&slots) };
        let keys: Vec<PartitionKey> = slots.iter().map(|(_, key)| key.clone()).collect();
        let Some(log_starts) = self.log_starts(&keys).await else { return self.put_back(&slots) };
        let partitions: Vec<TopicPartition> = keys.iter().map(|key| (key.topic.clone(), key.partition)).collect();
        let ends = tokio::time::timeout(PATIENCE, self.parts.broker.high_watermarks(&partitions)).await;
        let Ok(Ok(ends)) = ends else { return self.put_back(&slots) };
        let mut recreated = BTreeSet::new();
        for (slot, key) in slots {
            match described.get(&key.topic) {
                Some(Ok(seen)) if self.catalog.id(&key.topic) == Some(&seen.id) => {}
                Some(Ok(_)) => {
                    recreated.insert(key.topic.clone());
                    continue;
                }
                // The client tells it only once, and the topic may turn out to be the same.
                _ => {
                    self.put_back(&[(slot, key)]);
                    continue;
                }
            }
            let partition = (key.topic.clone(), key.partition);
            let bounds = log_starts.get(&partition).copied().zip(ends.get(&partition).copied().and_then(Result::ok));
            match bounds {
                Some((log_start, end)) => self.carry_out(slot, &key, log_start, end),
                None => self.put_back(&[(slot, key)]),
            }
        }
        if !recreated.is_empty() {
            self.ask_topics();
        }
    }

    /// Whether a partition has something buffered, or on its way to be settled.
    fn is_holding(&self, slot: u32) -> bool {
        self.unsettled.is_some() || self.parts.buffers.lock().holds_records(slot)
    }

    /// The broker does not tell: the fault stands, and is looked into at the next tick.
    fn put_back(&mut self, slots: &[(u32, PartitionKey)]) {
        let mut buffers = self.parts.buffers.lock();
        for (slot, _) in slots {
            buffers.fault(*slot, Fault::OutOfRange);
        }
    }

    fn carry_out(&mut self, slot: u32, key: &PartitionKey, log_start: Offset, end: Offset) {
        let Some(start) = self.ledger.get_mut(key) else { return };
        let position = start.offset;
        // The log starts behind the last record, so its epoch proves nothing any more: go on from the position alone.
        if position >= log_start && start.last_record.is_some_and(|last| last.offset.next() < log_start) {
            start.last_record = None;
            return self.read_on(slot, key);
        }
        let came_back = !self.suspects.insert(key.clone());
        match decide(position, log_start, end, came_back) {
            Decision::Lost { log_start } => {
                let excluded = self.returning.remove(key);
                let reason = loss_reason(self.catalog.description(&key.topic), excluded);
                self.lose(key, log_start, reason);
                self.suspects.remove(key);
                self.read_on(slot, key);
            }
            Decision::Truncated => {
                tracing::error!(
                    partition = %key, %position, %end,
                    "the log was truncated (TruncationDetected): what was captured stays, and the partition is read anew"
                );
                self.suspects.remove(key);
                self.close(slot, key);
                let until = self.ledger.get(key).and_then(|start| start.until);
                let next_life = self.catalog.truncated(key);
                self.inherited.extend(next_life.zip(until));
                self.ask_topics();
            }
            Decision::ReadOn => self.read_on(slot, key),
        }
    }

    /// Assigns the partition anew at its position.
    fn read_on(&mut self, slot: u32, key: &PartitionKey) {
        self.close(slot, key);
        if let Some(start) = self.ledger.get(key).cloned() {
            self.open(vec![start]);
        }
    }

    fn close(&mut self, slot: u32, key: &PartitionKey) {
        if let Err(error) = self.parts.broker.unassign(&[(key.topic.clone(), key.partition)]) {
            tracing::warn!(error = crate::error::chain(&error), "stop fetching");
        }
        let freed = self.parts.buffers.lock().close(slot).map_or(0, |closed| closed.charged);
        self.parts.budget.release(freed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn offset(value: i64) -> Offset {
        Offset::new(value)
    }

    #[test]
    fn a39_below_the_log_start_is_a_loss_and_a44_beyond_its_end_a_truncation() {
        let lost = Decision::Lost { log_start: offset(10) };
        assert_eq!(decide(offset(5), offset(10), offset(20), false), lost);
        assert_eq!(decide(offset(21), offset(10), offset(20), false), Decision::Truncated);
        assert_eq!(decide(offset(20), offset(10), offset(20), false), Decision::ReadOn);
        assert_eq!(decide(offset(15), offset(10), offset(20), true), Decision::Truncated);
    }

    #[test]
    fn a40_a_topic_that_keeps_for_ever_lost_records_by_hand() {
        let topic = |config: &[(&str, &str)]| TopicDescription {
            partitions: 1,
            replication_factor: 1,
            config: config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>(),
            inherited: BTreeMap::new(),
        };
        let reason = |config: &[(&str, &str)], excluded| loss_reason(Some(&topic(config)), excluded);
        assert_eq!(reason(&[("retention.ms", "-1")], false), GapReason::DeletedByUser);
        assert_eq!(reason(&[("cleanup.policy", "compact")], false), GapReason::DeletedByUser);
        assert_eq!(reason(&[("retention.ms", "-1"), ("retention.bytes", "5")], false), GapReason::RetentionOverrun);
        assert_eq!(reason(&[("retention.ms", "1000")], false), GapReason::RetentionOverrun);
        assert_eq!(reason(&[("retention.ms", "-1")], true), GapReason::Excluded);
        assert_eq!(loss_reason(None, false), GapReason::RetentionOverrun);
    }
}
