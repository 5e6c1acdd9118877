//! What is older than the first kept instant, of a compacted topic: which of it a new base is made of, and when that is worth it.

use std::collections::BTreeSet;

use crate::bucket::Bucket;
use crate::ids::{PartitionKey, TopicName};
use crate::manifest::{Run, Segment};
use crate::segment::slice::estimated_bytes;
use crate::state::State;

/// So much is taken at once, or half of what the base has: what a base costs to write anew stays in proportion to what has come.
const BYTES_AT_ONCE: u64 = 4 << 30;

/// The old records of a compacted topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aged {
    /// The segments that hold them.
    pub segments: Vec<AgedSegment>,
}

/// A segment with old records of a compacted topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgedSegment {
    /// The segment.
    pub segment: Segment,
    /// Its runs of whose records the newest of each key stay.
    pub aging: Vec<Run>,
    /// Its runs that are too old even for that: Kafka deletes old records of this topic, too.
    pub going: Vec<Run>,
    /// Whether something else of it stays.
    pub stays: bool,
}

impl AgedSegment {
    /// The hour that all of it is filed under.
    fn bucket(&self) -> Option<Bucket> {
        self.aging.first().map(|run| run.bucket)
    }

    fn bytes(&self) -> u64 {
        self.aging.iter().map(|run| estimated_bytes(&self.segment, run)).sum()
    }
}

impl Aged {
    /// The topic.
    pub fn topic(&self) -> Option<&TopicName> {
        self.segments.first().and_then(|segment| segment.segment.runs.first()).map(|run| &run.topic)
    }

    /// The newest hour that something of it is filed under.
    pub fn bucket(&self) -> Option<Bucket> {
        self.segments.iter().filter_map(AgedSegment::bucket).max()
    }

    /// Leaves as many hours as are taken at once, from the oldest on, and gives what stays then.
    pub(super) fn shorten(&mut self) -> Vec<Run> {
        self.segments.sort_by_key(|aged| (aged.segment.base().is_none(), aged.bucket()));
        let most = BYTES_AT_ONCE.max(self.bytes(true) / 2);
        let (mut bytes, mut hour) = (0, None);
        let end = self.segments.iter().position(|aged| {
            let is_full = bytes >= most && aged.bucket() != hour;
            bytes += if aged.segment.base().is_none() { aged.bytes() } else { 0 };
            hour = aged.bucket();
            is_full
        });
        let rest = end.map(|end| self.segments.split_off(end)).unwrap_or_default();
        rest.into_iter().flat_map(|aged| aged.aging).collect()
    }

    /// Whether what has come since the base was made is half of it or more: so each record is written anew a few times, however
    /// long it is kept. Or whether the start of a partition moves anyway: with it, a base that is not made anew would go.
    pub(super) fn is_due(&self, state: &State) -> bool {
        let added = self.bytes(false);
        let worth_it = added > 0 && added >= self.bytes(true) / 2;
        worth_it || self.loses_base(state)
    }

    fn loses_base(&self, state: &State) -> bool {
        let has_base = |key: &PartitionKey| state.position(key).is_some_and(|held| held.base.is_some());
        let going = self.segments.iter().flat_map(|aged| &aged.going).map(Run::key);
        let going: BTreeSet<PartitionKey> = going.filter(has_base).collect();
        self.segments.iter().flat_map(|aged| &aged.aging).any(|run| going.contains(&run.key()))
    }

    fn bytes(&self, of_base: bool) -> u64 {
        let of_kind = self.segments.iter().filter(|aged| aged.segment.base().is_some() == of_base);
        of_kind.map(AgedSegment::bytes).sum()
    }
}
