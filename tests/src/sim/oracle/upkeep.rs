//! What refining and retiring may do, held against what Kafka held.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use strimzi_backup_format::ids::{Lineage, PartitionKey, TimestampMs};
use strimzi_backup_format::manifest::{PartitionStart, Refined, Run, Segment, TopicEventKind};
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::record::Record;
use strimzi_backup_format::state::{Life, State};

use super::super::broker::{compacts, keeps};
use super::super::cluster::Cluster;
use super::{Tile, Tiles, lives};

/// What retiring left of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing that a kept instant needs.
    Nothing,
    /// The newest record of each key.
    Newest,
}

/// Whether what is retired of a partition was not to be seen in Kafka any more at any instant that is kept; of a compacted one,
/// what must be left of it.
pub(super) fn check_retired(
    state: &State,
    cluster: &Cluster,
    start: &PartitionStart,
    before: TimestampMs,
    held: Option<&BTreeMap<i64, Record>>,
) -> Result<Left> {
    let key = start.key();
    let (_, life) = lives(&key, state, cluster)?;
    let number = usize::try_from(key.partition.get()).unwrap_or(usize::MAX);
    let partition = life.partitions.get(number).context("Kafka never had this partition")?;
    let over = |at: Option<TimestampMs>| at.is_some_and(|at| at <= before);
    // A partition that is taken for truncated is read anew from its start: the life after holds what Kafka still has.
    let topic = state.topics.get(&key.topic).context("no such topic in the log")?;
    let is_after = |(lineage, life): (i32, &Life)| {
        let began = lineage > key.lineage.get() && life.began == TopicEventKind::Truncated && life.since <= before;
        began && state.position(&PartitionKey { lineage: Lineage::new(lineage), ..key.clone() }).is_some()
    };
    if (0..).zip(&topic.lives).any(is_after) {
        return Ok(Left::Nothing);
    }
    if over(life.deleted_at) || partition.branches.iter().any(|branch| over(branch.gone_at)) {
        return Ok(Left::Nothing);
    }
    if compacts(&key.topic) {
        return Ok(Left::Newest);
    }
    let keeps = keeps(&key.topic).context("Kafka keeps its records for ever")?;
    for (offset, record) in held.into_iter().flatten().take_while(|(offset, _)| **offset < start.first_offset.get()) {
        let appended_at = partition.log.at(*offset).context("no such offset")?.appended_at;
        // What a producer dates into the future counts from when it was written.
        let age = record.timestamp.min(appended_at);
        ensure!(age.plus_millis(keeps) < before, "{offset} of {age} is retired, and kept is all since {before}");
    }
    Ok(Left::Nothing)
}

/// Whether the records of a partition are filed under hours that never go back as offsets go up, which retention goes by. In a base
/// all are filed under one.
pub(super) fn check_filing(segments: &[Segment], key: &PartitionKey) -> Result<()> {
    let of_records = segments.iter().filter(|segment| segment.base().is_none() && !segment.holds_groups());
    let mut runs: Vec<&Run> = of_records.flat_map(|segment| &segment.runs).filter(|run| run.key() == *key).collect();
    runs.sort_unstable_by_key(|run| run.range);
    for (run, next) in runs.iter().zip(runs.iter().skip(1)) {
        let (before, after) = (run.bucket, next.bucket);
        ensure!(before <= after, "{} is filed under {before}, and {} behind it under {after}", run.range, next.range);
    }
    Ok(())
}

/// Puts what was refined in the place of what it replaces.
pub(super) fn refine(segments: &mut Vec<Segment>, tiles: &mut Tiles, refined: &Refined) -> Result<()> {
    let is_replaced = |segment: &Segment| {
        segment.object.as_str().starts_with("intake/") && segment.object.segment_sequence() <= Some(refined.through)
    };
    let gone: Vec<Segment> = segments.extract_if(.., |segment| is_replaced(segment)).collect();
    let (count, bytes) = (gone.len() as u64, gone.iter().map(|segment| segment.bytes).sum());
    let Refined { replaced, .. } = refined;
    let rows = gone.iter().map(|segment| segment.rows).sum::<u64>();
    ensure!(
        (replaced.segments, replaced.bytes, replaced.rows) == (count, bytes, rows),
        "{replaced:?} is not what it replaces: {count} of {bytes} bytes"
    );
    for run in gone.iter().flat_map(|segment| &segment.runs) {
        let tiles = tiles.entry(run.key()).or_default();
        tiles.retain(|tile| *tile != (run.range, Tile::Run));
    }
    for run in refined.segments.iter().flat_map(|segment| &segment.runs) {
        tiles.entry(run.key()).or_default().push((run.range, Tile::Run));
    }
    segments.extend(refined.segments.iter().cloned());
    Ok(())
}

/// Takes the last run out of what was refined; says which it was.
pub(super) fn drop_one(tiles: &mut Tiles, refined: &Refined) -> Option<(PartitionKey, OffsetRange)> {
    let run = refined.segments.iter().flat_map(|segment| &segment.runs).next_back()?;
    tiles.get_mut(&run.key())?.retain(|tile| *tile != (run.range, Tile::Run));
    Some((run.key(), run.range))
}

/// Whether what is held of a compacted partition makes, at each kept instant, the table that everything makes that was captured.
pub(super) fn check_base(
    captured: &BTreeMap<i64, Record>,
    held: &BTreeMap<i64, Record>,
    before: TimestampMs,
) -> Result<()> {
    for (offset, record) in held {
        ensure!(captured.get(offset) == Some(record), "{offset} in the base differs from what was captured");
    }
    let later = captured.values().map(|record| record.timestamp).filter(|timestamp| *timestamp > before);
    let instants: BTreeSet<TimestampMs> = later.chain([before]).collect();
    for instant in instants {
        let (of_all, of_held) = (table(captured, instant), table(held, instant));
        ensure!(of_held == of_all, "at {instant} the table is {of_held:?}, and was {of_all:?}");
    }
    Ok(())
}

/// Where the value of each key stands that a consumer knows once it has read all of `until` or before.
pub(super) fn table(records: &BTreeMap<i64, Record>, until: TimestampMs) -> BTreeMap<&[u8], i64> {
    let mut table = BTreeMap::new();
    for (offset, record) in records.iter().filter(|(_, record)| record.timestamp <= until) {
        let Some(key) = &record.key else { continue };
        match &record.value {
            Some(_) => table.insert(key.as_ref(), *offset),
            None => table.remove(key.as_ref()),
        };
    }
    table
}

/// Takes a record out of a base that is the newest of its key at `before`; says whether there was one.
pub(super) fn take_one(base: &mut BTreeMap<i64, Record>, before: TimestampMs) -> bool {
    let is_in_table = |record: &Record| record.key.is_some() && record.value.is_some() && record.timestamp <= before;
    let offset = base.iter().find(|(_, record)| is_in_table(record)).map(|(offset, _)| *offset);
    offset.is_some_and(|offset| base.remove(&offset).is_some())
}
