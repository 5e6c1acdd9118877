//! What is refined and what is retired, against the state that it changes.
//!
//! That refined segments hold exactly the records that they replace, no state can tell: it knows no segment. The writer
//! checks it before it commits, and `verify` afterwards, against the runs of both.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use crate::ids::PartitionKey;
use crate::layout::SegmentPlace;
use crate::manifest::{Manifest, Refined, Retired};
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

/// A retirement goes forward only, and moves starts of partitions up, never beyond what is held.
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
        if start.first_offset <= held.first_offset || start.first_offset > held.next_offset || start.rows > held.rows {
            return refuse(format!("{key} cannot begin at {} without {} records", start.first_offset, start.rows));
        }
        if !seen.insert(key.clone()) {
            return refuse(format!("{key} is named twice"));
        }
    }
    match retired.group_images_before {
        Some(first) if state.group_images.iter().all(|image| image.sequence != first) => {
            refuse(format!("manifest {first} has no image of consumer groups"))
        }
        _ => Ok(()),
    }
}
