//! The cut policy: which records of a cut go into which segment and row group. Pure.
//!
//! A topic with enough records of one time bucket gets a topic segment of its own; everything else of the cut goes
//! together into one intake segment. So a busy topic is encoded once, and a thousand quiet ones cost one request.

use std::collections::BTreeMap;

use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::groups::GroupRun;
use strimzi_backup_format::ids::{LeaderEpoch, Offset, PartitionKey, TopicName};
use strimzi_backup_format::layout::{SegmentPlace, TopicDir};
use strimzi_backup_format::manifest::{Hole, PartitionPosition};
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::segment::batch::Batch;
use strimzi_backup_format::segment::encode::RunInput;

use crate::source::buffers::PartitionCut;

/// A row group is closed at this many raw bytes: between 8 and 64 MiB encodes best, and smaller ones spread over the
/// encoders sooner.
pub(crate) const ROW_GROUP_BYTES: usize = 8 << 20;

/// And at this many records and headers, far below what a reader accepts, however few bytes they have.
pub(crate) const ROW_GROUP_VALUES: usize = 1 << 22;

/// A topic with this much in an intake segment gets row groups of its own there, and no row group is left smaller than
/// this if it can be helped: below it, Parquet's fixed costs show.
const SMALL_BYTES: usize = 1 << 20;

/// Sizes that the job decides.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// No segment holds more raw bytes than this.
    pub segment_bytes: usize,
    /// A topic with this much in one bucket of a cut gets its own segment.
    pub topic_segment_bytes: usize,
}

/// A segment to be made.
#[derive(Debug)]
pub struct PlannedSegment {
    /// Where it is filed.
    pub place: SegmentPlace,
    /// Its row groups, and in each the runs in order.
    pub row_groups: Vec<Vec<RunInput>>,
}

/// What a cut comes to.
#[derive(Debug, Default)]
pub struct CutPlan {
    /// The segments, topic segments first.
    pub segments: Vec<PlannedSegment>,
    /// What consumer groups have committed.
    pub offsets: Vec<GroupRun>,
    /// Offsets skipped by partitions that brought no record.
    pub holes: Vec<Hole>,
    /// Where each partition stands afterwards.
    pub positions: Vec<PartitionPosition>,
}

/// One batch with the offsets it accounts for.
#[derive(Debug)]
struct Unit {
    key: PartitionKey,
    bucket: Bucket,
    range: OffsetRange,
    batch: Batch,
}

/// Plans a cut made at `cut_bucket`. `parts` are sorted by partition; `dir` says where segments of a topic lie.
pub fn plan(
    parts: Vec<PartitionCut>,
    policy: Policy,
    cut_bucket: Bucket,
    dir: impl Fn(&TopicName) -> TopicDir,
) -> CutPlan {
    let mut plan = CutPlan::default();
    let mut weights: BTreeMap<(TopicName, Bucket), usize> = BTreeMap::new();
    let mut units = Vec::new();
    for mut part in parts {
        plan.positions.push(position(&part));
        if part.batches.is_empty() && part.offsets.is_empty() {
            plan.holes.extend(hole(&part));
        }
        plan.offsets.extend(group_run(&mut part));
        for unit in split(part) {
            *weights.entry((unit.key.topic.clone(), unit.bucket)).or_default() += unit.batch.raw_bytes();
            units.push(unit);
        }
    }
    let mut own: BTreeMap<(TopicName, Bucket), Vec<Unit>> = BTreeMap::new();
    let mut shared = Vec::new();
    for unit in units {
        let group = (unit.key.topic.clone(), unit.bucket);
        if weights.get(&group).is_some_and(|weight| *weight >= policy.topic_segment_bytes) {
            own.entry(group).or_default().push(unit);
        } else {
            shared.push(unit);
        }
    }
    for ((topic, bucket), units) in own {
        plan.segments.extend(segments(&SegmentPlace::Topic(dir(&topic), bucket), units, policy.segment_bytes));
    }
    plan.segments.extend(segments(&SegmentPlace::Intake(cut_bucket), shared, policy.segment_bytes));
    plan
}

fn position(part: &PartitionCut) -> PartitionPosition {
    PartitionPosition {
        topic: part.key.topic.clone(),
        lineage: part.key.lineage,
        partition: part.key.partition,
        next_offset: part.next,
        last_record: part.last_record,
        highest_timestamp: part.highest_timestamp,
        filed: part.filed,
    }
}

fn hole(part: &PartitionCut) -> Option<Hole> {
    let PartitionKey { topic, lineage, partition } = part.key.clone();
    let range = OffsetRange::new(part.base, part.next).ok().filter(|range| !range.is_empty())?;
    Some(Hole { topic, lineage, partition, range })
}

/// What a part says of consumer groups, with all the offsets that it accounts for.
fn group_run(part: &mut PartitionCut) -> Option<GroupRun> {
    let rows = std::mem::take(&mut part.offsets);
    let range = OffsetRange::new(part.base, part.next).ok().filter(|_| !rows.is_empty())?;
    let leader_epoch = part.last_record.map_or(LeaderEpoch::UNKNOWN, |last| last.leader_epoch);
    Some(GroupRun { key: part.key.clone(), range, leader_epoch, rows })
}

/// The batches of a part with ranges that tile `[base, next)`: each begins where the one before ends.
fn split(part: PartitionCut) -> Vec<Unit> {
    let PartitionCut { key, base, next, batches, .. } = part;
    let ends: Vec<Offset> =
        batches.iter().skip(1).filter_map(|(_, batch)| batch.first_offset()).chain(std::iter::once(next)).collect();
    let mut begin = base;
    let mut units = Vec::with_capacity(batches.len());
    for ((bucket, batch), end) in batches.into_iter().zip(ends) {
        if let Ok(range) = OffsetRange::new(begin, end) {
            units.push(Unit { key: key.clone(), bucket, range, batch });
        }
        begin = end;
    }
    units
}

/// Puts units, sorted, into segments of at most `segment_bytes`.
fn segments(place: &SegmentPlace, units: Vec<Unit>, segment_bytes: usize) -> Vec<PlannedSegment> {
    let mut segments = Vec::new();
    let mut waiting = Vec::new();
    let mut bytes = 0;
    for unit in units {
        let more = unit.batch.raw_bytes();
        if bytes > 0 && bytes + more > segment_bytes {
            segments.push(std::mem::take(&mut waiting));
            bytes = 0;
        }
        bytes += more;
        waiting.push(unit);
    }
    if !waiting.is_empty() {
        segments.push(waiting);
    }
    let planned =
        segments.into_iter().map(|units| PlannedSegment { place: place.clone(), row_groups: row_groups(units) });
    planned.collect()
}

fn row_groups(units: Vec<Unit>) -> Vec<Vec<RunInput>> {
    let mut per_topic: BTreeMap<TopicName, usize> = BTreeMap::new();
    for unit in &units {
        *per_topic.entry(unit.key.topic.clone()).or_default() += unit.batch.raw_bytes();
    }
    let is_big = |topic: &TopicName| per_topic.get(topic).is_some_and(|bytes| *bytes >= SMALL_BYTES);
    let mut remaining: usize = per_topic.values().sum();
    let mut groups: Vec<Vec<RunInput>> = vec![Vec::new()];
    let (mut bytes, mut values) = (0, 0);
    for unit in units {
        let previous = groups.last().and_then(|group| group.last()).map(|run| run.key.topic.clone());
        let boundary =
            previous.is_some_and(|topic| topic != unit.key.topic && (is_big(&topic) || is_big(&unit.key.topic)));
        if boundary || (bytes >= ROW_GROUP_BYTES && remaining >= SMALL_BYTES) || values >= ROW_GROUP_VALUES {
            groups.push(Vec::new());
            (bytes, values) = (0, 0);
        }
        let more = unit.batch.raw_bytes();
        bytes += more;
        values += unit.batch.values();
        remaining -= more;
        if let Some(group) = groups.last_mut() {
            add(group, unit);
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

/// Adds a unit to a row group: to the last run where it follows on, else as a run of its own.
fn add(group: &mut Vec<RunInput>, unit: Unit) {
    let Unit { key, bucket, range, batch } = unit;
    if let Some(last) = group.last_mut()
        && last.key == key
        && last.bucket == bucket
        && last.range.next_offset() == range.base()
        && let Ok(joined) = OffsetRange::new(last.range.base(), range.next_offset())
    {
        last.range = joined;
        last.batches.push(batch);
        return;
    }
    group.push(RunInput { key, range, bucket, batches: vec![batch] });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strimzi_backup_format::ids::{LeaderEpoch, Lineage, PartitionId, TimestampMs, TopicDigest};
    use strimzi_backup_format::record::{RecordRef, TimestampType};
    use strimzi_backup_format::segment::batch::BatchBuilder;

    use super::*;

    fn batch(first: i64, rows: i64, value: usize) -> Batch {
        let mut builder = BatchBuilder::new(false);
        let value = vec![b'x'; value];
        for offset in first..first + rows {
            builder.append(&RecordRef {
                offset: Offset::new(offset),
                timestamp: TimestampMs::new(offset),
                timestamp_type: TimestampType::CreateTime,
                leader_epoch: LeaderEpoch::new(0),
                key: None,
                value: Some(&value),
                headers: &[],
            });
        }
        builder.finish()
    }

    /// A partition with `batches` of (bucket, rows), a hole of one offset before each batch and after the last.
    fn part(topic: &str, partition: i32, value: usize, batches: &[(i64, i64)]) -> PartitionCut {
        let mut next = 10;
        let batches = batches
            .iter()
            .map(|(bucket, rows)| {
                let batch = batch(next + 1, *rows, value);
                next += 1 + rows;
                (Bucket::of(TimestampMs::new(bucket * 3_600_000)), batch)
            })
            .collect();
        PartitionCut {
            slot: 0,
            key: PartitionKey {
                topic: TopicName::new(topic).expect("legal"),
                lineage: Lineage::FIRST,
                partition: PartitionId::new(partition),
            },
            base: Offset::new(10),
            next: Offset::new(next + 1),
            last_record: None,
            highest_timestamp: None,
            filed: None,
            batches,
            offsets: Vec::new(),
            charged: 0,
        }
    }

    fn named(topic: &TopicName) -> TopicDir {
        topic.clone().into()
    }

    const POLICY: Policy = Policy { segment_bytes: 64 << 20, topic_segment_bytes: 1 << 20 };

    #[test]
    fn a_busy_topic_gets_its_own_segment_and_quiet_ones_share() {
        let parts = || {
            let (busy, quiet) = (part("busy", 0, 1 << 20, &[(1, 2)]), part("quiet-a", 0, 10, &[(1, 2)]));
            vec![busy, quiet, part("quiet-b", 0, 10, &[(1, 1), (2, 1)])]
        };
        let planned = |dir: fn(&TopicName) -> TopicDir| plan(parts(), POLICY, Bucket::of(TimestampMs::new(0)), dir);
        let plan = planned(named);
        let places = |plan: &CutPlan| plan.segments.iter().map(|segment| segment.place.clone()).collect::<Vec<_>>();
        let bucket = Bucket::of(TimestampMs::new(3_600_000));
        let busy = TopicName::new("busy").expect("legal");
        let cut = Bucket::of(TimestampMs::new(0));
        assert_eq!(places(&plan), [SegmentPlace::Topic(busy.into(), bucket), SegmentPlace::Intake(cut)]);
        let hidden = planned(|_| TopicDir::Digest(TopicDigest::new([7; 16])));
        let digest = SegmentPlace::Topic(TopicDir::Digest(TopicDigest::new([7; 16])), bucket);
        assert_eq!(places(&hidden), [digest, SegmentPlace::Intake(cut)]);
        assert_eq!(plan.segments[1].row_groups.len(), 1);
        assert_eq!(plan.segments[1].row_groups[0].len(), 3, "a run per partition and bucket");
    }

    #[test]
    fn a45_a_partition_that_only_skipped_markers_leaves_a_hole() {
        let mut skipped = part("t", 0, 1, &[]);
        skipped.next = Offset::new(13);
        let plan = plan(vec![skipped], POLICY, Bucket::of(TimestampMs::new(0)), named);
        assert!(plan.segments.is_empty());
        assert_eq!(plan.holes[0].range, OffsetRange::new(Offset::new(10), Offset::new(13)).expect("range"));
        assert_eq!(plan.positions[0].next_offset, Offset::new(13));
    }

    proptest! {
        #[test]
        fn every_offset_of_a_cut_is_planned_once(
            shape in prop::collection::vec((0..3usize, 1..400_000usize, prop::collection::vec((0..3i64, 1..5i64), 0..4)), 1..6)
        ) {
            let mut parts: Vec<PartitionCut> = shape.iter().enumerate().map(|(number, (topic, value, batches))| {
                part(["a", "b", "c"][*topic], i32::try_from(number).expect("few"), *value, batches)
            }).collect();
            parts.sort_by(|a, b| a.key.cmp(&b.key));
            let expected: Vec<_> = parts.iter().map(|p| (p.key.clone(), p.base, p.next)).collect();
            let policy = Policy { segment_bytes: 2 << 20, topic_segment_bytes: 600_000 };
            let plan = plan(parts, policy, Bucket::of(TimestampMs::new(0)), named);
            let mut tiles: BTreeMap<PartitionKey, Vec<OffsetRange>> = BTreeMap::new();
            for run in plan.segments.iter().flat_map(|segment| segment.row_groups.iter().flatten()) {
                tiles.entry(run.key.clone()).or_default().push(run.range);
            }
            for hole in &plan.holes {
                tiles.entry(hole.key()).or_default().push(hole.range);
            }
            for (key, base, next) in expected {
                let mut ranges = tiles.remove(&key).unwrap_or_default();
                ranges.sort();
                let mut at = base;
                for range in ranges {
                    prop_assert_eq!(range.base(), at);
                    at = range.next_offset();
                }
                prop_assert_eq!(at, next);
            }
        }
    }
}
