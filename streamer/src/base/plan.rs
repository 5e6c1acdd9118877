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
