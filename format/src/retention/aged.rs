//! What is older than the first kept instant, of a compacted topic: which of it a new base is made of, and when that is worth it.

use crate::bucket::Bucket;
use crate::ids::TopicName;
use crate::manifest::{Run, Segment};
use crate::segment::slice::estimated_bytes;

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
    /// Its runs with such records.
    pub runs: Vec<Run>,
    /// Whether something else of it stays.
    pub stays: bool,
}

impl AgedSegment {
    /// The hour that all of it is filed under.
    fn bucket(&self) -> Option<Bucket> {
        self.runs.first().map(|run| run.bucket)
    }

    fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| estimated_bytes(&self.segment, run)).sum()
    }
}

impl Aged {
    /// The topic.
    pub fn topic(&self) -> Option<&TopicName> {
        self.segments.first().and_then(|segment| segment.runs.first()).map(|run| &run.topic)
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
        rest.into_iter().flat_map(|aged| aged.runs).collect()
    }

    /// Whether what has come since the base was made is half of it or more: so each record is written anew a few times, however
    /// long it is kept.
    pub(super) fn is_due(&self) -> bool {
        let added = self.bytes(false);
        added > 0 && added >= self.bytes(true) / 2
    }

    fn bytes(&self, of_base: bool) -> u64 {
        let of_kind = self.segments.iter().filter(|aged| aged.segment.base().is_some() == of_base);
        of_kind.map(AgedSegment::bytes).sum()
    }
}
