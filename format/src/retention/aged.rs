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
    /// long it is kept. Or whether something must go that only a new base lets go.
    pub(super) fn is_due(&self, state: &State) -> bool {
        let added = self.bytes(false);
        let worth_it = added > 0 && added >= self.bytes(true) / 2;
        worth_it || !self.bound_to_base(state).is_empty()
    }

    /// The partitions with a base of which something goes and something else ages: where a start moves, a base that is not made
    /// anew is lost.
    pub(super) fn bound_to_base(&self, state: &State) -> BTreeSet<PartitionKey> {
        let has_base = |key: &PartitionKey| state.position(key).is_some_and(|held| held.base.is_some());
        let keys = |runs: fn(&AgedSegment) -> &[Run]| -> BTreeSet<PartitionKey> {
            self.segments.iter().flat_map(runs).map(Run::key).collect()
        };
        let (aging, going) = (keys(|aged| &aged.aging), keys(|aged| &aged.going));
        aging.intersection(&going).filter(|key| has_base(key)).cloned().collect()
    }

    fn bytes(&self, of_base: bool) -> u64 {
        let of_kind = self.segments.iter().filter(|aged| aged.segment.base().is_some() == of_base);
        of_kind.map(AgedSegment::bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, Sequence, Shard};
    use crate::layout::{self, Origin, SegmentName, SegmentPlace, TopicDir};
    use crate::sample::{at, empty_state, key, run, segment, topic};

    const GIB: u64 = 1 << 30;

    /// A segment of that size, of one record of `accounts-0` that is filed under an hour.
    fn of_hour(place: fn(TopicDir, Bucket) -> SegmentPlace, hour: i64, number: usize, bytes: u64) -> AgedSegment {
        let bucket = Bucket::of(at(hour * 3600));
        let run = Run { bucket, ..run(&key("accounts", 0, 0), hour..hour + 1, 1) };
        let (epoch, sequence) = (Epoch::new(1), Sequence::new(2));
        let name = SegmentName { shard: Shard::ONLY, epoch, sequence, number, origin: Origin::Refined };
        let object = layout::segment(&place(topic("accounts").into(), bucket), name);
        let segment = Segment { object, bytes, ..segment(vec![run.clone()]) };
        AgedSegment { segment, aging: vec![run], going: Vec::new(), stays: false }
    }

    fn base(bytes: u64) -> AgedSegment {
        of_hour(SegmentPlace::Base, 9, 0, bytes)
    }

    fn hours(hours: &[i64], bytes: u64) -> Vec<AgedSegment> {
        hours.iter().enumerate().map(|(number, hour)| of_hour(SegmentPlace::Topic, *hour, number, bytes)).collect()
    }

    /// Which hours are taken at once, a base as `None`, and which are left.
    fn shortened(segments: Vec<AgedSegment>) -> (Vec<Option<i64>>, Vec<i64>) {
        let mut aged = Aged { segments };
        let left = aged.shorten().iter().map(|run| run.range.base().get()).collect();
        let hour = |aged: &AgedSegment| aged.segment.base().is_none().then(|| aged.aging[0].range.base().get());
        (aged.segments.iter().map(hour).collect(), left)
    }

    #[test]
    fn a78_a_base_is_due_once_half_of_it_has_come() {
        let is_due = |segments: Vec<AgedSegment>| Aged { segments }.is_due(&empty_state());
        let with_base = |of_base, added| is_due([vec![base(of_base)], hours(&[10], added)].concat());
        assert_eq!([499, 500, 2000].map(|added| with_base(1000, added)), [false, true, true]);
        assert!(is_due(hours(&[10], 1)), "the first one, however little there is");
        assert!(!is_due(vec![base(1000)]) && !is_due(vec![base(0)]) && !is_due(Vec::new()), "nothing has come");
    }

    #[test]
    fn of_a_segment_that_stays_in_part_the_share_of_its_old_runs_counts() {
        let old = of_hour(SegmentPlace::Topic, 10, 0, 1000);
        let young = Run { rows: 3, ..old.aging[0].clone() };
        let shared = Segment { rows: 4, runs: vec![old.aging[0].clone(), young], ..old.segment.clone() };
        let shared = AgedSegment { segment: shared, stays: true, ..old };
        let is_due = |of_base| Aged { segments: vec![base(of_base), shared.clone()] }.is_due(&empty_state());
        assert_eq!([500, 502].map(is_due), [true, false], "a quarter of 1,000 bytes");
    }

    #[test]
    fn whole_hours_are_taken_from_the_oldest_on_until_they_are_four_gib() {
        let two = 2 * GIB;
        assert_eq!(shortened(hours(&[3, 1, 2, 0], two)), (vec![Some(0), Some(1)], vec![2, 3]));
        assert_eq!(shortened(hours(&[1, 0], two)), (vec![Some(0), Some(1)], Vec::new()));
        let taken = [0, 0, 0].map(Some).to_vec();
        assert_eq!(shortened(hours(&[1, 0, 0, 0], two)), (taken, vec![1]), "an hour is not divided");
        assert_eq!(shortened(hours(&[0, 1], 9 * GIB)), (vec![Some(0)], vec![1]), "one at least");
        assert_eq!(shortened(Vec::new()), (Vec::new(), Vec::new()));
    }

    #[test]
    fn of_a_large_base_half_of_it_is_taken_at_once_and_all_of_the_base() {
        let added = hours(&[10, 11, 12, 13, 14], 2 * GIB);
        let with_base = |bytes| shortened([added.clone(), vec![base(bytes)]].concat());
        let first = |count: i64| [None].into_iter().chain((10..10 + count).map(Some)).collect::<Vec<_>>();
        assert_eq!(with_base(12 * GIB), (first(3), vec![13, 14]));
        assert_eq!(with_base(1), (first(2), vec![12, 13, 14]), "four GiB, be the base as small as it may");
        assert_eq!(with_base(40 * GIB), (first(5), Vec::new()));
    }

    #[test]
    fn it_is_filed_under_the_newest_of_its_hours() {
        let aged = Aged { segments: [vec![base(1)], hours(&[12, 10], 1)].concat() };
        assert_eq!((aged.topic(), aged.bucket()), (Some(&topic("accounts")), Some(Bucket::of(at(12 * 3600)))));
        assert_eq!((Aged::default().topic(), Aged::default().bucket()), (None, None));
    }
}
