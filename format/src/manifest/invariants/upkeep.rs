//! What is refined and what is retired, against the state that it changes.
//!
//! That refined segments hold exactly the records that they replace, no state can tell: it knows no segment. The writer
//! checks it before it commits, and `verify` afterwards, against the runs of both.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use crate::ids::{Offset, PartitionKey};
use crate::layout::SegmentPlace;
use crate::manifest::{Manifest, PartitionStart, Refined, Retired, Run, Segment};
use crate::offset_range::OffsetRange;
use crate::state::{State, Totals};

pub(super) fn not_refined(refined: &Refined, why: impl Into<String>) -> Violation {
    Violation::Refined { through: refined.through, why: why.into() }
}

pub(super) fn not_retired(retired: &Retired, why: impl Into<String>) -> Violation {
    Violation::Retired { before: retired.before, why: why.into() }
}

/// A refinement goes on where the last one ended, ends before its own manifest, and keeps every record that it replaces,
/// each under an offset that its partition accounts for, once.
pub(super) fn check_refined(state: &State, manifest: &Manifest) -> Result<(), Violation> {
    let Some(refined) = &manifest.refined else { return Ok(()) };
    let refuse = |why: String| Err(not_refined(refined, why));
    let before = state.refined.map(|before| before.through);
    if Some(refined.through) <= before || refined.through >= manifest.sequence {
        return refuse(format!("it is not between {before:?} and its own number"));
    }
    for segment in &refined.segments {
        if !matches!(segment.object.segment(), Some(SegmentPlace::Topic(..))) {
            return refuse(format!("{} is not the segment of one topic", segment.object));
        }
    }
    let sum = refined.segments.iter().try_fold(Totals::default(), |sum, segment| sum.plus(segment));
    // Fewer, where some were retired meanwhile.
    let fits = |sum: Totals| sum.rows <= refined.replaced.rows && sum.raw_bytes <= refined.replaced.raw_bytes;
    if !sum.is_some_and(fits) {
        return refuse("the records that it adds are more than those that it replaces".to_owned());
    }
    check_ranges(state, refined)
}

fn check_ranges(state: &State, refined: &Refined) -> Result<(), Violation> {
    let mut ranges: BTreeMap<PartitionKey, Vec<OffsetRange>> = BTreeMap::new();
    for run in refined.segments.iter().flat_map(|segment| &segment.runs) {
        ranges.entry(run.key()).or_default().push(run.range);
    }
    for (key, mut ranges) in ranges {
        ranges.sort_unstable();
        let Some(held) = state.position(&key) else {
            return Err(not_refined(refined, format!("{key} was never captured")));
        };
        let end = ranges.last().map(|last| last.next_offset());
        let within = held.first_offset < ranges[0].next_offset() && end <= Some(held.next_offset);
        if !within || ranges.windows(2).any(|pair| pair[1].base() < pair[0].next_offset()) {
            return Err(not_refined(refined, format!("the runs of {key} overlap, or lie outside of what is held")));
        }
    }
    Ok(())
}

/// A retirement goes forward only, and moves starts of partitions up, never beyond what is held. Where it leaves the start of a
/// partition, it makes its base anew.
pub(super) fn check_retired(state: &State, manifest: &Manifest) -> Result<(), Violation> {
    let Some(retired) = &manifest.retired else { return Ok(()) };
    let refuse = |why: String| Err(not_retired(retired, why));
    if let Some(before) = state.retired.map(|before| before.before).filter(|before| retired.before <= *before) {
        return refuse(format!("nothing before {} is kept already", before.to_rfc3339()));
    }
    let mut seen = BTreeSet::new();
    for start in &retired.starts {
        let key = start.key();
        let Some(held) = state.position(&key) else { return refuse(format!("{key} was never captured")) };
        let goes_back = start.first_offset < held.first_offset;
        let stays = start.first_offset == held.first_offset && held.base.is_none();
        if goes_back || stays || start.first_offset > held.next_offset || start.rows > held.rows {
            return refuse(format!("{key} cannot begin at {} without {} records", start.first_offset, start.rows));
        }
        if !seen.insert(key.clone()) {
            return refuse(format!("{key} is named twice"));
        }
    }
    check_base(state, manifest, retired)?;
    match retired.group_images_before {
        Some(first) if state.group_images.iter().all(|image| image.sequence != first) => {
            refuse(format!("manifest {first} has no image of consumer groups"))
        }
        _ => Ok(()),
    }
}

/// A base holds, of partitions whose start is told, offsets below it, once, and no more records than go. It is newer than the
/// one before.
fn check_base(state: &State, manifest: &Manifest, retired: &Retired) -> Result<(), Violation> {
    let refuse = |why: String| Err(not_retired(retired, why));
    let made = retired.base.first().and_then(Segment::base);
    if let Some(other) = retired.base.iter().find(|segment| segment.base().is_none() || segment.base() != made) {
        return refuse(format!("{} is not of one base with the others", other.object));
    }
    if made >= Some(manifest.sequence) {
        return refuse("its base was begun after it".to_owned());
    }
    let starts: BTreeMap<PartitionKey, &PartitionStart> =
        retired.starts.iter().map(|start| (start.key(), start)).collect();
    let mut runs: Vec<&Run> = retired.base.iter().flat_map(|segment| &segment.runs).collect();
    runs.sort_unstable_by_key(|run| (run.key(), run.range));
    for (run, next) in runs.iter().zip(runs.iter().skip(1)) {
        if run.key() == next.key() && next.range.base() < run.range.next_offset() {
            return refuse(format!("its base holds offsets of {} twice", run.key()));
        }
    }
    let ends: BTreeMap<PartitionKey, Offset> = runs.iter().map(|run| (run.key(), run.range.next_offset())).collect();
    for (key, (made, rows)) in retired.bases() {
        let before = state.position(&key).and_then(|held| held.base).map(|base| base.sequence);
        let end = ends.get(&key).copied();
        match starts.get(&key) {
            Some(start) if end <= Some(start.first_offset) && rows <= start.rows && before < Some(made) => {}
            _ => return refuse(format!("its base of {key} is not of what goes")),
        }
    }
    Ok(())
}
