//! `salvage`: what the segments alone prove, where the log is lost.
//!
//! Every segment says in its footer which backup it is of, and which offsets of which partitions it accounts for. So without a
//! single manifest it can be told what is there. What cannot be told is marked: whether offsets between two runs held records,
//! and which of two segments with the same offsets the log had counted.
//!
//! Reads the end of every segment, and changes nothing. Memory: the runs of all segments.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::{ObjectMeta, ObjectStore as _, ObjectStoreExt as _};
use serde::Serialize;
use strimzi_backup_format::ids::{BackupId, Lineage, PartitionId, PartitionKey, TimestampMs, TopicName};
use strimzi_backup_format::layout::{self, ObjectKey};
use strimzi_backup_format::manifest::Run;
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::segment;
use strimzi_backup_format::segment::footer::SegmentFooter;
use strimzi_backup_format::store::{Store, StoreError};

use crate::error::{Error, chain};

/// Bytes from the end of a segment that are read first: most footers are no larger.
const TAIL_BYTES: u64 = 64 << 10;

/// Footers read at once.
const AT_ONCE: usize = 16;

/// How many unreadable segments are kept with what is wrong with them.
const KEPT: usize = 1000;

/// What the segments prove.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Salvage {
    /// The store, for people.
    pub storage: String,
    /// The backups that the segments are of, with how many each has; more than one where prefixes were mixed up.
    pub backups: BTreeMap<String, u64>,
    /// Segments whose footer is whole.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Partitions, of all lives of their topics.
    pub partitions: Vec<Proven>,
    /// Segments that prove nothing.
    pub unreadable_count: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
}

/// What is proven of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proven {
    /// The topic.
    pub topic: TopicName,
    /// Which life of the topic.
    pub lineage: Lineage,
    /// The partition.
    pub partition: PartitionId,
    /// The offsets that are accounted for.
    pub offsets: Vec<OffsetRange>,
    /// Records in them.
    pub records: u64,
    /// The lowest timestamp among them.
    pub min_timestamp: TimestampMs,
    /// The highest.
    pub max_timestamp: TimestampMs,
    /// Unproven: offsets between those. They never held a record for a reader, were lost, or their segment is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub between: Vec<OffsetRange>,
    /// Unproven: offsets that several segments account for, which the log would tell apart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repeated: Vec<OffsetRange>,
}

/// A segment that proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// The object, below the storage prefix.
    pub object: String,
    /// Why.
    pub problem: String,
}

/// Reads the footers of all segments in `store`.
///
/// # Errors
/// [`Error::NoBackup`] where there is no segment, [`Error::NoListing`] where the store does not list them. A segment that cannot
/// be read is part of what is found.
pub async fn run(store: &Store) -> Result<Salvage, Error> {
    let mut found = Salvage {
        storage: store.description.clone(),
        backups: BTreeMap::new(),
        segments: 0,
        bytes: 0,
        partitions: Vec::new(),
        unreadable_count: 0,
        unreadable: Vec::new(),
    };
    let mut runs: BTreeMap<PartitionKey, Vec<Run>> = BTreeMap::new();
    for folder in [layout::intake(), layout::topics(), layout::base()] {
        let prefix = folder.below(&store.prefix);
        let failed = |error| Error::NoListing(StoreError::new("list", &prefix, error));
        let footers = store
            .inner
            .list(Some(&prefix))
            .map_err(failed)
            .try_filter_map(|meta| async move { Ok(key_of(store, &meta).map(|key| (key, meta))) })
            .map_ok(|(key, meta)| async move {
                let footer = footer(store, &key, &meta).await;
                Ok((key, meta.size, footer))
            })
            .try_buffered(AT_ONCE);
        let mut footers = std::pin::pin!(footers);
        while let Some((key, size, footer)) = footers.try_next().await? {
            match footer {
                Ok((backup, of_segment)) => {
                    found.segments += 1;
                    found.bytes += size;
                    *found.backups.entry(backup.to_string()).or_default() += 1;
                    of_segment.into_iter().for_each(|run| runs.entry(run.key()).or_default().push(run));
                }
                Err(problem) => found.unread(&key, problem),
            }
        }
    }
    if found.segments == 0 && found.unreadable_count == 0 {
        return Err(Error::NoBackup(store.description.clone()));
    }
    found.partitions = runs.into_iter().filter_map(|(key, runs)| proven(key, runs)).collect();
    Ok(found)
}

/// The key of a segment; `None` where it is no object of ours.
fn key_of(store: &Store, meta: &ObjectMeta) -> Option<ObjectKey> {
    ObjectKey::try_from(layout::key_at(&meta.location, &store.prefix)?.to_owned()).ok()
}

/// What a segment says of itself, or why it says nothing.
async fn footer(store: &Store, key: &ObjectKey, meta: &ObjectMeta) -> Result<(BackupId, Vec<Run>), String> {
    let opener = store.opener(key);
    let mut wanted = TAIL_BYTES;
    loop {
        let tail = tail(store, meta, wanted).await.map_err(|error| chain(&error))?;
        match SegmentFooter::parse(&tail, meta.size, opener.as_ref()) {
            Ok(footer) => return Ok((footer.backup(), footer.runs().to_vec())),
            Err(segment::Error::TailTooShort { needed }) if wanted < needed.min(meta.size) => wanted = needed,
            Err(error) => return Err(chain(&error)),
        }
    }
}

async fn tail(store: &Store, meta: &ObjectMeta, bytes: u64) -> object_store::Result<Bytes> {
    store.inner.get_range(&meta.location, meta.size.saturating_sub(bytes)..meta.size).await
}

/// What the runs of a partition prove; `None` without any.
fn proven(key: PartitionKey, mut runs: Vec<Run>) -> Option<Proven> {
    runs.sort_by_key(|run| (run.range, run.rows));
    let (min_timestamp, max_timestamp) =
        (runs.iter().map(|run| run.min_timestamp).min()?, runs.iter().map(|run| run.max_timestamp).max()?);
    let (mut offsets, mut between, mut repeated): (Vec<OffsetRange>, _, Vec<OffsetRange>) =
        (Vec::new(), Vec::new(), Vec::new());
    let mut records = 0_u64;
    for run in runs {
        let Some(last) = offsets.last_mut() else {
            offsets.push(run.range);
            records = run.rows;
            continue;
        };
        let (end, range) = (last.next_offset(), run.range);
        if range.base() > end {
            between.extend(OffsetRange::new(end, range.base()));
            offsets.push(range);
            records = records.saturating_add(run.rows);
            continue;
        }
        if range.base() < end {
            repeated.extend(OffsetRange::new(range.base(), end.min(range.next_offset())));
        }
        if end < range.next_offset() {
            // Of a run that repeats in part, how many of its records do is not known.
            records = records.saturating_add(if range.base() < end { 0 } else { run.rows });
            *last = OffsetRange::new(last.base(), range.next_offset()).unwrap_or(*last);
        }
    }
    let PartitionKey { topic, lineage, partition } = key;
    Some(Proven { topic, lineage, partition, offsets, records, min_timestamp, max_timestamp, between, repeated })
}

impl Salvage {
    fn unread(&mut self, key: &ObjectKey, problem: String) {
        self.unreadable_count += 1;
        if self.unreadable.len() < KEPT {
            self.unreadable.push(Unreadable { object: key.to_string(), problem });
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        // Text keys and finite numbers only, which is all that serde_json asks for.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

impl fmt::Display for Salvage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "segments    {} in {}, {}", self.segments, self.storage, bytesize::ByteSize(self.bytes))?;
        for (backup, segments) in &self.backups {
            writeln!(f, "of backup   {backup}: {segments} segments")?;
        }
        for proven in &self.partitions {
            let Proven { topic, lineage, partition, records, min_timestamp, max_timestamp, .. } = proven;
            let key = PartitionKey { topic: topic.clone(), lineage: *lineage, partition: *partition };
            let (min, max) = (min_timestamp.to_rfc3339(), max_timestamp.to_rfc3339());
            writeln!(f, "proven      {key} {}: {records} records, {min} to {max}", list(&proven.offsets))?;
            if !proven.between.is_empty() {
                writeln!(f, "unproven    {key} {}: no segment accounts for them", list(&proven.between))?;
            }
            if !proven.repeated.is_empty() {
                writeln!(f, "unproven    {key} {}: several segments account for them", list(&proven.repeated))?;
            }
        }
        for Unreadable { object, problem } in &self.unreadable {
            writeln!(f, "unreadable  {object}: {problem}")?;
        }
        Ok(())
    }
}

/// Some offset ranges, the first of many.
fn list(ranges: &[OffsetRange]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = ranges.iter().take(SHOWN).map(ToString::to_string).collect();
    match ranges.len().saturating_sub(SHOWN) {
        0 => shown.join(" "),
        more => format!("{} and {more} more", shown.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use strimzi_backup_format::bucket::Bucket;
    use strimzi_backup_format::ids::{LeaderEpoch, Offset};

    use super::*;

    fn key() -> PartitionKey {
        let topic = TopicName::new("orders").expect("a name");
        PartitionKey { topic, lineage: Lineage::FIRST, partition: PartitionId::new(3) }
    }

    fn range(offsets: std::ops::Range<i64>) -> OffsetRange {
        OffsetRange::new(Offset::new(offsets.start), Offset::new(offsets.end)).expect("a range")
    }

    fn run(offsets: std::ops::Range<i64>) -> Run {
        let PartitionKey { topic, lineage, partition } = key();
        let (first, rows) = (offsets.start, u64::try_from(offsets.end - offsets.start).expect("legal"));
        Run {
            topic,
            lineage,
            partition,
            range: range(offsets),
            row_group: 0,
            first_row: 0,
            rows,
            largest_record: 100,
            min_timestamp: TimestampMs::new(first),
            max_timestamp: TimestampMs::new(first + 5),
            leader_epoch: LeaderEpoch::UNKNOWN,
            bucket: Bucket::of(TimestampMs::new(0)),
        }
    }

    #[test]
    fn a61_runs_prove_their_offsets_and_what_lies_between_or_is_there_twice_is_marked() {
        let found = proven(key(), vec![run(30..40), run(0..10), run(10..20), run(15..25)]).expect("runs");
        assert_eq!(found.offsets, [range(0..25), range(30..40)]);
        assert_eq!((found.between, found.repeated), (vec![range(25..30)], vec![range(15..20)]));
        assert_eq!(found.records, 30, "of those that repeat in part, none is counted");
        assert_eq!((found.min_timestamp, found.max_timestamp), (TimestampMs::new(0), TimestampMs::new(35)));
    }

    #[test]
    fn a61_a_run_that_is_there_twice_counts_once() {
        let found = proven(key(), vec![run(0..10), run(0..10), run(2..5)]).expect("runs");
        assert_eq!((found.offsets, found.records), (vec![range(0..10)], 10));
        assert_eq!(found.repeated, [range(0..10), range(2..5)]);
        assert_eq!(proven(key(), Vec::new()), None);
    }
}
