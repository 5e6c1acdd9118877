//! In which order segments are read, so that the records of each partition come in the order of their offsets. Pure.
//!
//! A commit files what it has by topic and hour, so its segments do not follow the offsets of a partition, and one segment may
//! hold what comes before another one and what comes after it. Such a segment is read in parts.

use std::collections::{BTreeMap, VecDeque};

use strimzi_backup_format::ids::{Offset, PartitionKey};
use strimzi_backup_format::segment::slice::Wanted;
use strimzi_backup_format::slice::Touched;

/// Where the runs of each partition begin that are not read yet, in order.
type Unread = BTreeMap<PartitionKey, VecDeque<Offset>>;

/// What is to be read one after the other: each segment in its place, but for what must wait for another one.
pub(super) fn in_order(touched: Vec<Touched>) -> Vec<Touched> {
    let mut unread = unread(&touched);
    let (mut ordered, mut waiting) = (Vec::with_capacity(touched.len()), Vec::new());
    for one in touched {
        waiting.push(one);
        let mut before = usize::MAX;
        while before != ordered.len() {
            before = ordered.len();
            for one in std::mem::take(&mut waiting) {
                let (ready, rest) = split(one, &mut unread);
                ordered.extend(ready);
                waiting.extend(rest);
            }
        }
    }
    ordered
}

fn unread(touched: &[Touched]) -> Unread {
    let mut unread = Unread::new();
    for part in touched.iter().flat_map(|one| &one.wanted) {
        unread.entry(part.run.key()).or_default().push_back(part.run.range.base());
    }
    unread.values_mut().for_each(|bases| bases.make_contiguous().sort_unstable());
    unread
}

/// The runs of a segment that are next in their partitions, and the others.
fn split(one: Touched, unread: &mut Unread) -> (Option<Touched>, Option<Touched>) {
    let Touched { segment, wanted } = one;
    let is_next = |part: &Wanted| {
        let bases = unread.get_mut(&part.run.key());
        bases.is_some_and(|bases| bases.pop_front_if(|base| *base == part.run.range.base()).is_some())
    };
    let (next, later): (Vec<Wanted>, Vec<Wanted>) = wanted.into_iter().partition(is_next);
    match (next.is_empty(), later.is_empty()) {
        (false, true) => (Some(Touched { segment, wanted: next }), None),
        (true, _) => (None, Some(Touched { segment, wanted: later })),
        (false, false) => {
            (Some(Touched { segment: segment.clone(), wanted: next }), Some(Touched { segment, wanted: later }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::sample::{self, key, run};

    /// A segment with these runs, all wanted, and one record at each offset.
    fn touched(runs: &[(&str, std::ops::Range<i64>)]) -> Touched {
        let run = |(topic, offsets): &(&str, std::ops::Range<i64>)| run(&key(topic, 0, 0), offsets.clone(), 0..0);
        sample::touched(runs.iter().map(run).collect())
    }

    fn read(touched: Vec<Touched>) -> Vec<Vec<(String, i64)>> {
        let base = |part: &Wanted| (part.run.topic.to_string(), part.run.range.base().get());
        in_order(touched).iter().map(|one| one.wanted.iter().map(base).collect()).collect()
    }

    fn named(read: &[&[(&str, i64)]]) -> Vec<Vec<(String, i64)>> {
        read.iter().map(|one| one.iter().map(|(topic, base)| ((*topic).to_owned(), *base)).collect()).collect()
    }

    #[test]
    fn segments_that_follow_the_offsets_are_read_as_they_come() {
        let segments = vec![touched(&[("a", 0..5), ("b", 7..9)]), touched(&[("b", 9..10)]), touched(&[("a", 5..6)])];
        assert_eq!(in_order(segments.clone()), segments);
        assert!(in_order(Vec::new()).is_empty());
    }

    #[test]
    fn a_busy_hour_that_is_named_before_the_quiet_one_before_it_is_read_after_it() {
        let segments = vec![
            touched(&[("busy", 5..90)]),
            touched(&[("busy", 0..5), ("quiet", 0..2)]),
            touched(&[("busy", 90..91)]),
        ];
        assert_eq!(read(segments), named(&[&[("busy", 0), ("quiet", 0)], &[("busy", 5)], &[("busy", 90)]]));
    }

    #[test]
    fn a_segment_with_what_comes_before_and_after_another_one_is_read_in_parts() {
        let segments = vec![touched(&[("a", 5..9)]), touched(&[("a", 0..5), ("a", 9..12), ("b", 0..3)])];
        assert_eq!(read(segments), named(&[&[("a", 0), ("b", 0)], &[("a", 5)], &[("a", 9)]]));
    }

    #[test]
    fn a_partition_that_is_read_in_part_begins_where_it_does() {
        let segments = vec![touched(&[("a", 50..90)]), touched(&[("a", 40..50)])];
        assert_eq!(read(segments), named(&[&[("a", 40)], &[("a", 50)]]));
    }
}
