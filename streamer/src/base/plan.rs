//! In which order old segments are read for a base. Pure.

use std::collections::BTreeMap;

use strimzi_backup_format::ids::{Offset, PartitionKey};
use strimzi_backup_format::manifest::{Run, Segment};
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::retention::Aged;

/// Runs of one segment, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) segment: Segment,
    /// Each with the offsets that it stands for in the base: up to where the next run of its partition begins.
    pub(super) runs: Vec<(Run, OffsetRange)>,
}

/// The records that are looked at together: all of a topic, or those of one partition.
pub(super) type Pass = Vec<Input>;

/// How many records the runs of a pass hold.
pub(super) fn records(pass: &Pass) -> u64 {
    pass.iter().flat_map(|input| &input.runs).map(|(run, _)| run.rows).sum()
}

/// Segment after segment where the offsets of each partition go up that way and the records are no more than `most`, else
/// partition after partition. `None` where one of these has more.
pub(super) fn passes(aged: &Aged, most: u64) -> Option<Vec<Pass>> {
    let spans = spans(aged);
    let mut segments: Vec<_> = aged.segments.iter().filter(|aged| !aged.aging.is_empty()).collect();
    segments.sort_by_key(|aged| {
        let hour = aged.aging.first().map(|run| run.bucket);
        (aged.segment.base().is_none(), hour, aged.segment.object.segment_sequence(), &aged.segment.object)
    });
    let input = |segment: &Segment, runs: &[Run]| {
        let with_span = |run: &Run| spans.get(&(run.key(), run.range.base())).map(|span| (run.clone(), *span));
        Input { segment: segment.clone(), runs: runs.iter().filter_map(with_span).collect() }
    };
    let whole: Pass = segments.iter().map(|aged| input(&aged.segment, &aged.aging)).collect();
    if ascends(&whole) && records(&whole) <= most {
        return Some(vec![whole]);
    }
    let mut partitions: BTreeMap<PartitionKey, Vec<(OffsetRange, Input)>> = BTreeMap::new();
    for aged in segments {
        for run in &aged.aging {
            let of_one = (run.range, input(&aged.segment, std::slice::from_ref(run)));
            partitions.entry(run.key()).or_default().push(of_one);
        }
    }
    let in_order = |mut inputs: Vec<(OffsetRange, Input)>| {
        inputs.sort_by_key(|(range, _)| *range);
        inputs.into_iter().map(|(_, input)| input).collect()
    };
    let passes: Vec<Pass> = partitions.into_values().map(in_order).collect();
    passes.iter().all(|pass| records(pass) <= most).then_some(passes)
}

/// What each run, by partition and first offset, stands for: so that a base has few runs, however little of it is left.
fn spans(aged: &Aged) -> BTreeMap<(PartitionKey, Offset), OffsetRange> {
    let mut ranges: BTreeMap<PartitionKey, Vec<OffsetRange>> = BTreeMap::new();
    for run in aged.segments.iter().flat_map(|aged| &aged.aging) {
        ranges.entry(run.key()).or_default().push(run.range);
    }
    let mut spans = BTreeMap::new();
    for (key, mut ranges) in ranges {
        ranges.sort_unstable();
        let ends = ranges.iter().skip(1).map(|next| Some(next.base())).chain([None]);
        for (range, end) in ranges.iter().zip(ends) {
            let end = end.unwrap_or(range.next_offset());
            let span = OffsetRange::new(range.base(), end).unwrap_or(*range);
            spans.insert((key.clone(), range.base()), span);
        }
    }
    spans
}

fn ascends(pass: &Pass) -> bool {
    let mut next: BTreeMap<PartitionKey, Offset> = BTreeMap::new();
    pass.iter().flat_map(|input| &input.runs).all(|(run, span)| {
        let before = next.insert(run.key(), span.next_offset());
        before.is_none_or(|before| before <= span.base())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strimzi_backup_format::bucket::Bucket;
    use strimzi_backup_format::ids::{Epoch, Sequence, Shard};
    use strimzi_backup_format::layout::{self, Origin, SegmentName, SegmentPlace, TopicDir};
    use strimzi_backup_format::retention::AgedSegment;
    use strimzi_backup_format::sample::{at, key, range, run, segment, topic};

    use super::*;

    /// A run of `accounts` that is filed under an hour, with a record for each offset.
    fn of(lineage: i32, partition: i32, hour: i64, offsets: std::ops::Range<i64>) -> Run {
        let rows = offsets.end.abs_diff(offsets.start);
        let bucket = Bucket::of(at(hour * 3600));
        Run { bucket, ..run(&key("accounts", lineage, partition), offsets, rows) }
    }

    /// A segment of these runs, which was refined through that manifest.
    fn aged(sequence: u64, number: usize, runs: Vec<Run>) -> AgedSegment {
        filed(SegmentPlace::Topic, sequence, number, runs)
    }

    fn filed(place: fn(TopicDir, Bucket) -> SegmentPlace, sequence: u64, number: usize, runs: Vec<Run>) -> AgedSegment {
        let (epoch, sequence) = (Epoch::new(1), Sequence::new(sequence));
        let name = SegmentName { shard: Shard::ONLY, epoch, sequence, number, origin: Origin::Refined };
        let object = layout::segment(&place(topic("accounts").into(), runs[0].bucket), name);
        let segment = Segment { object, ..segment(runs.clone()) };
        AgedSegment { segment, aging: runs, going: Vec::new(), stays: false }
    }

    fn planned(segments: &[AgedSegment], most: u64) -> Option<Vec<Pass>> {
        passes(&Aged { segments: segments.to_vec() }, most)
    }

    /// What is read in a pass: of each segment its partitions, with the offsets that they stand for.
    fn read(pass: &Pass) -> Vec<Vec<(i32, OffsetRange)>> {
        let of_one = |input: &Input| input.runs.iter().map(|(run, span)| (run.partition.get(), *span)).collect();
        pass.iter().map(of_one).collect()
    }

    #[test]
    fn segments_are_read_once_each_by_hour_and_runs_stand_for_what_follows_them_too() {
        let later = aged(5, 0, vec![of(0, 0, 1, 15..20), of(0, 1, 1, 7..9)]);
        let first = aged(5, 1, vec![of(0, 0, 0, 2..10), of(0, 1, 0, 0..7)]);
        let passes = planned(&[later, first], 100).expect("there is room");
        assert_eq!(passes.iter().map(records).collect::<Vec<_>>(), [8 + 7 + 5 + 2]);
        let spans = [vec![(0, range(2..15)), (1, range(0..7))], vec![(0, range(15..20)), (1, range(7..9))]];
        assert_eq!(read(&passes[0]), spans);
    }

    #[test]
    fn a_base_is_read_first_whatever_hour_it_is_filed_under_and_then_what_was_refined_first() {
        let base = filed(SegmentPlace::Base, 9, 0, vec![of(0, 0, 7, 0..10)]);
        let (one, two) = (aged(4, 1, vec![of(0, 0, 3, 10..20)]), aged(12, 0, vec![of(0, 0, 3, 20..30)]));
        let passes = planned(&[two, base, one], 100).expect("there is room");
        assert_eq!(passes.len(), 1);
        assert_eq!(read(&passes[0]), [[(0, range(0..10))], [(0, range(10..20))], [(0, range(20..30))]]);
    }

    #[test]
    fn where_all_are_too_many_it_is_partition_after_partition_and_none_where_one_is() {
        let hours = [0, 1].map(|hour| {
            let runs = [0, 1].map(|partition| of(0, partition, hour, hour * 10..hour * 10 + 10));
            aged(5, usize::try_from(hour).expect("few"), runs.to_vec())
        });
        assert_eq!(planned(&hours, 40).expect("there is room").len(), 1);
        for most in [39, 20] {
            let passes = planned(&hours, most).expect("there is room for each");
            let of_one = |partition| [[(partition, range(0..10))], [(partition, range(10..20))]];
            assert_eq!(passes.iter().map(read).collect::<Vec<_>>(), [0, 1].map(of_one));
        }
        assert_eq!(planned(&hours, 19), None);
    }

    #[test]
    fn where_offsets_do_not_go_up_from_segment_to_segment_it_is_partition_after_partition() {
        // What was refined first has the later offsets of partition 0.
        let (one, two) = (aged(4, 0, vec![of(0, 0, 0, 10..20), of(0, 1, 0, 0..5)]), vec![of(0, 0, 0, 0..10)]);
        let passes = planned(&[one, aged(5, 0, two)], 100).expect("there is room");
        let of_zero = vec![vec![(0, range(0..10))], vec![(0, range(10..20))]];
        assert_eq!(passes.iter().map(read).collect::<Vec<_>>(), [of_zero, vec![vec![(1, range(0..5))]]]);
    }

    #[test]
    fn each_life_of_a_topic_has_offsets_of_its_own() {
        let lives = [0, 1].map(|life| aged(4, usize::try_from(life).expect("few"), vec![of(life, 0, 0, 0..10)]));
        let passes = planned(&lives, 20).expect("there is room");
        assert_eq!(passes.iter().map(read).collect::<Vec<_>>(), [[[(0, range(0..10))], [(0, range(0..10))]]]);
        assert_eq!(planned(&lives, 19).expect("there is room for each").len(), 2);
    }

    #[test]
    fn of_nothing_nothing_is_read() {
        let passes = planned(&[], 0).expect("there is room");
        assert_eq!(passes.iter().map(records).collect::<Vec<_>>(), [0]);
        assert_eq!(planned(&[aged(4, 0, vec![of(0, 0, 0, 0..1)])], 0), None);
    }

    proptest! {
        /// Each run is read once, in the order of the offsets of its partition, and no two stand for one offset.
        #[test]
        fn a78_every_run_is_read_once_in_order_and_within_memory(
            // Of each partition how many offsets a run has, and how many are between it and the next.
            partitions in prop::collection::vec(prop::collection::vec((1..9_i64, 0..3_i64), 1..6), 1..4),
            numbers in Just((0..18_usize).collect::<Vec<_>>()).prop_shuffle(),
            most in 1..120_u64,
        ) {
            let mut segments = Vec::new();
            for (partition, runs) in (0..).zip(&partitions) {
                let mut next = 0_i64;
                for (rows, between) in runs {
                    let number = numbers[segments.len() % numbers.len()];
                    segments.push(aged(4, number, vec![of(0, partition, 0, next..next + rows)]));
                    next += rows + between;
                }
            }
            let of_one = |runs: &Vec<(i64, i64)>| runs.iter().map(|(rows, _)| rows.unsigned_abs()).sum::<u64>();
            let fits = partitions.iter().all(|runs| of_one(runs) <= most);
            let Some(passes) = planned(&segments, most) else {
                prop_assert!(!fits);
                return Ok(());
            };
            let mut read = BTreeMap::<PartitionKey, Vec<OffsetRange>>::new();
            for pass in &passes {
                prop_assert!(records(pass) <= most && ascends(pass));
                for (run, span) in pass.iter().flat_map(|input| &input.runs) {
                    prop_assert_eq!(run.range.base(), span.base());
                    prop_assert!(run.range.next_offset() <= span.next_offset());
                    read.entry(run.key()).or_default().push(*span);
                }
            }
            for (partition, runs) in (0..).zip(&partitions) {
                let spans = &read[&key("accounts", 0, partition)];
                prop_assert_eq!(spans.len(), runs.len());
                prop_assert!(spans.windows(2).all(|pair| pair[0].next_offset() == pair[1].base()));
            }
        }
    }
}
