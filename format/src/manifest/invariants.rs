//! The pure checks that each manifest passes before it is created and after it is read.
//!
//! They keep, per partition: what a manifest adds begins exactly at the committed position and tiles the offsets up to
//! the new position with runs, gaps and holes, without overlap (P5); per log: gapless sequence, unbroken hash chain,
//! epochs that never go down and change only with a claim (P4).

mod upkeep;

use std::collections::BTreeMap;

use super::{Manifest, Run, Segment, TopicEventKind};
use crate::checksum::Sha256;
use crate::ids::{BackupId, Epoch, Lineage, Offset, PartitionKey, Sequence, Shard, TimestampMs, TopicName};
use crate::layout::{ObjectKey, SegmentPlace, TopicDir};
use crate::offset_range::OffsetRange;
use crate::state::{State, Totals};

/// The most partitions that a log may know, those of all topics together: each becomes an entry in memory, and a few bytes
/// of a hostile document could ask for two thousand million. Kafka clusters have some hundred thousand.
pub const MAX_PARTITIONS: u64 = 1 << 22;

/// How a manifest contradicts the log before it, or itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Of another backup or shard.
    #[error("it belongs to backup {found} shard {shard}, not to {wanted}")]
    Foreign {
        /// The backup it names.
        found: BackupId,
        /// The shard it names.
        shard: Shard,
        /// The backup whose log this is.
        wanted: BackupId,
    },
    /// Not the next one.
    #[error("it says it is number {found}, where number {wanted} belongs")]
    Sequence {
        /// Its own number.
        found: Sequence,
        /// The number of its slot.
        wanted: Sequence,
    },
    /// The chain is broken.
    #[error("it follows a manifest with digest {found}, but the one before has {wanted}")]
    Chain {
        /// What it names.
        found: Sha256,
        /// What stands before it.
        wanted: Sha256,
    },
    /// An epoch went down, or changed without a claim.
    #[error("its epoch {found} may not follow epoch {before} {how}")]
    Epoch {
        /// Its epoch.
        found: Epoch,
        /// The epoch before.
        before: Epoch,
        /// With or without a claim.
        how: &'static str,
    },
    /// A partition's offsets do not follow on.
    #[error("{key}: {range} does not follow the position {wanted}")]
    NotContiguous {
        /// The partition.
        key: PartitionKey,
        /// The range that does not fit.
        range: OffsetRange,
        /// Where it had to begin.
        wanted: Offset,
    },
    /// The new position is not where the ranges end.
    #[error("{key}: the position {found} is not where its ranges end ({wanted})")]
    Position {
        /// The partition.
        key: PartitionKey,
        /// The position given.
        found: Offset,
        /// Where the ranges end.
        wanted: Offset,
    },
    /// Ranges without a position.
    #[error("{key}: ranges are added, but no position is given")]
    NoPosition {
        /// The partition.
        key: PartitionKey,
    },
    /// A run whose rows are more than its offsets, or whose timestamps are inside out.
    #[error("{key}: the run {range} with {rows} rows contradicts itself")]
    Run {
        /// The partition.
        key: PartitionKey,
        /// The run's offsets.
        range: OffsetRange,
        /// Its rows.
        rows: u64,
    },
    /// A topic event that does not fit the topic's history.
    #[error("topic {topic}: the event {event:?} of lineage {lineage} does not fit its history")]
    Topic {
        /// The topic.
        topic: TopicName,
        /// The event.
        event: TopicEventKind,
        /// The lineage it names.
        lineage: Lineage,
    },
    /// More partitions than any cluster has.
    #[error("topic {topic}: its {partitions} partitions make {total} in all, and a log may know {MAX_PARTITIONS}")]
    Partitions {
        /// The topic.
        topic: TopicName,
        /// What its event says.
        partitions: u32,
        /// Of all topics together.
        total: u64,
    },
    /// A segment whose sums are not those of its runs, or whose key is of another writer.
    #[error("segment {object} contradicts its runs or its name")]
    Segment {
        /// Its key.
        object: String,
    },
    /// What is refined is not what the log holds.
    #[error("what it refines through manifest {through} cannot be: {why}")]
    Refined {
        /// The manifest that it refines through.
        through: Sequence,
        /// Why.
        why: String,
    },
    /// What is retired is not what the log holds.
    #[error("what it retires before {before} cannot be: {why}", before = before.to_rfc3339())]
    Retired {
        /// The instant.
        before: TimestampMs,
        /// Why.
        why: String,
    },
}

/// Checks `manifest` as the next after `state`.
///
/// # Errors
/// The first [`Violation`] found.
pub fn check(state: &State, manifest: &Manifest) -> Result<(), Violation> {
    check_link(state, manifest)?;
    check_topics(state, manifest)?;
    check_segments(manifest)?;
    upkeep::check_refined(state, manifest)?;
    upkeep::check_retired(state, manifest)?;
    totals(state, manifest)?;
    check_tiles(state, manifest)
}

/// What is stored after `manifest`.
///
/// # Errors
/// [`Violation`] where a sum is beyond all numbers, or more goes than there is.
pub fn totals(state: &State, manifest: &Manifest) -> Result<Totals, Violation> {
    let mut totals = state.totals;
    if let Some(image) = &manifest.group_image {
        totals = totals.plus_object(image.bytes).ok_or_else(|| contradiction(&image.object))?;
    }
    for segment in manifest.named_segments() {
        totals = totals.plus(segment).ok_or_else(|| contradiction(&segment.object))?;
    }
    if let Some(refined) = &manifest.refined {
        let too_much = || upkeep::not_refined(refined, "it replaces more than is stored");
        totals = totals.minus(refined.replaced).ok_or_else(too_much)?;
    }
    if let Some(retired) = &manifest.retired {
        let too_much = || upkeep::not_retired(retired, "it frees more than is stored");
        totals = totals.minus(retired.freed).ok_or_else(too_much)?;
    }
    Ok(totals)
}

fn contradiction(object: &ObjectKey) -> Violation {
    Violation::Segment { object: object.to_string() }
}

/// The first offset that `manifest` accounts for in each partition it touches.
pub fn bases(manifest: &Manifest) -> BTreeMap<PartitionKey, Offset> {
    let mut bases = BTreeMap::new();
    for (key, range) in tiles(manifest) {
        let base = bases.entry(key).or_insert(range.base());
        *base = range.base().min(*base);
    }
    bases
}

fn check_link(state: &State, manifest: &Manifest) -> Result<(), Violation> {
    if manifest.backup != state.backup || manifest.shard != state.shard {
        let Manifest { backup: found, shard, .. } = *manifest;
        return Err(Violation::Foreign { found, shard, wanted: state.backup });
    }
    let wanted = state.next_sequence();
    if manifest.sequence != wanted {
        return Err(Violation::Sequence { found: manifest.sequence, wanted });
    }
    let wanted = state.next_previous();
    if manifest.previous != wanted {
        return Err(Violation::Chain { found: manifest.previous, wanted });
    }
    let (found, before) = (manifest.epoch, state.epoch());
    match manifest.claim {
        Some(_) if found <= before => Err(Violation::Epoch { found, before, how: "by a claim" }),
        None if found != before => Err(Violation::Epoch { found, before, how: "without a claim" }),
        _ => Ok(()),
    }
}

fn check_topics(state: &State, manifest: &Manifest) -> Result<(), Violation> {
    let mut lives: BTreeMap<&TopicName, usize> = BTreeMap::new();
    for event in &manifest.topics {
        let known = *lives
            .entry(&event.topic)
            .or_insert_with(|| state.topics.get(&event.topic).map_or(0, |topic| topic.lives.len()));
        let lineage = usize::try_from(event.lineage.get()).unwrap_or(usize::MAX);
        let fits = match event.event {
            TopicEventKind::Added => known == 0 && lineage == 0 && event.description.is_some(),
            TopicEventKind::Recreated => known > 0 && lineage == known && event.description.is_some(),
            TopicEventKind::Truncated => known > 0 && lineage == known && event.partition.is_some(),
            TopicEventKind::Changed => lineage < known && event.description.is_some(),
            TopicEventKind::Deleted | TopicEventKind::Excluded | TopicEventKind::Included => lineage < known,
        };
        if !fits {
            let (topic, event, lineage) = (event.topic.clone(), event.event, event.lineage);
            return Err(Violation::Topic { topic, event, lineage });
        }
        lives.insert(&event.topic, known.max(lineage + 1));
    }
    check_partitions(state, manifest)
}

/// A topic whose number changes counts with both: its map may hold the old ones still.
fn check_partitions(state: &State, manifest: &Manifest) -> Result<(), Violation> {
    let described = || manifest.topics.iter().filter_map(|event| Some((event, event.description.as_ref()?.partitions)));
    if described().next().is_none() {
        return Ok(());
    }
    let mut total: u64 = state.topics.values().map(|topic| topic.current.len() as u64).sum();
    for (event, partitions) in described() {
        total = total.saturating_add(u64::from(partitions));
        if total > MAX_PARTITIONS {
            return Err(Violation::Partitions { topic: event.topic.clone(), partitions, total });
        }
    }
    Ok(())
}

fn check_segments(manifest: &Manifest) -> Result<(), Violation> {
    if let Some(image) = &manifest.group_image
        && !matches!(image.object.segment(), Some(SegmentPlace::Groups(_)))
    {
        return Err(contradiction(&image.object));
    }
    let misnamed =
        |segment: &&Segment| segment.is_intake() && segment.object.segment_sequence() != Some(manifest.sequence);
    if let Some(segment) = manifest.segments.iter().find(misnamed) {
        // Whether it is refined, its name tells.
        return Err(contradiction(&segment.object));
    }
    if let Some(segment) = manifest.segments.iter().find(|segment| segment.base().is_some()) {
        // Only what retires something may leave a base for it.
        return Err(contradiction(&segment.object));
    }
    manifest.named_segments().try_for_each(check_segment)
}

fn check_segment(segment: &Segment) -> Result<(), Violation> {
    let rows = segment.runs.iter().try_fold(0_u64, |sum, run| sum.checked_add(run.rows));
    let place = segment.object.segment().ok_or_else(|| contradiction(&segment.object))?;
    let first = segment.runs.first();
    let filed = segment.runs.iter().all(|run| match &place {
        SegmentPlace::Intake(_) => !run.topic.is_consumer_offsets(),
        SegmentPlace::Topic(dir, bucket) | SegmentPlace::Base(dir, bucket) => {
            is_of(dir, run, first) && run.bucket == *bucket && !run.topic.is_consumer_offsets()
        }
        SegmentPlace::Groups(bucket) => run.topic.is_consumer_offsets() && run.bucket == *bucket,
    });
    if rows != Some(segment.rows) || !filed {
        return Err(contradiction(&segment.object));
    }
    for run in &segment.runs {
        if run.rows > run.range.span() || run.rows == 0 || run.min_timestamp > run.max_timestamp {
            return Err(Violation::Run { key: run.key(), range: run.range, rows: run.rows });
        }
    }
    Ok(())
}

/// Whether a run is of the topic whose directory that is. What a digest stands for only the keys tell; all runs are of one topic,
/// whatever it is.
fn is_of(dir: &TopicDir, run: &Run, first: Option<&Run>) -> bool {
    match dir {
        TopicDir::Named(topic) => run.topic == *topic,
        TopicDir::Digest(_) => first.is_some_and(|first| run.topic == first.topic),
    }
}

fn tiles(manifest: &Manifest) -> impl Iterator<Item = (PartitionKey, OffsetRange)> {
    let runs = manifest.segments.iter().flat_map(|segment| &segment.runs).map(|run| (run.key(), run.range));
    let gaps = manifest.gaps.iter().map(|gap| (gap.key(), gap.range));
    let holes = manifest.holes.iter().map(|hole| (hole.key(), hole.range));
    runs.chain(gaps).chain(holes)
}

fn check_tiles(state: &State, manifest: &Manifest) -> Result<(), Violation> {
    let mut ranges: BTreeMap<PartitionKey, Vec<OffsetRange>> = BTreeMap::new();
    for (key, range) in tiles(manifest) {
        ranges.entry(key).or_default().push(range);
    }
    for position in &manifest.positions {
        let key = position.key();
        let mut tiles = ranges.remove(&key).unwrap_or_default();
        tiles.sort_unstable();
        let held = state.position(&key).map(|position| position.next_offset);
        let mut next = held.or(tiles.first().map(|range| range.base())).unwrap_or(position.next_offset);
        for range in tiles {
            if range.base() != next {
                return Err(Violation::NotContiguous { key, range, wanted: next });
            }
            next = range.next_offset();
        }
        if position.next_offset != next {
            return Err(Violation::Position { key, found: position.next_offset, wanted: next });
        }
    }
    match ranges.into_keys().next() {
        Some(key) => Err(Violation::NoPosition { key }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
