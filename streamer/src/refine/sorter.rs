//! Records by topic and bucket, as far as memory allows: as rows, as row groups, as files. Row groups that are one file's already,
//! and large enough, are not taken apart.
//!
//! Owns: what is encoded, and which file is closed, when memory runs out: the largest, so that small topics stay together
//! for as long as it is possible. Does no I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::ids::{LeaderEpoch, PartitionKey, TopicName};
use strimzi_backup_format::layout::ObjectKey;
use strimzi_backup_format::manifest::Run;
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::record::{HeaderRef, Record, RecordRef};
use strimzi_backup_format::segment::batch::{Batch, BatchBuilder};
use strimzi_backup_format::segment::encode::{
    EncodeOptions, EncodedRowGroup, EncodedSegment, RunInput, SegmentWriter, encode_row_group,
};
use strimzi_backup_format::segment::slice::{GroupPages, GroupRows};

use super::files::Names;
use super::{Error, Limits};
use crate::base::Dropped;
use crate::pipeline::plan::{ROW_GROUP_BYTES, ROW_GROUP_VALUES};

/// A file, ready to be uploaded.
#[derive(Debug)]
pub(super) struct Finished {
    /// The key that it is sealed under, if it is: no other may be its own.
    pub(super) object: ObjectKey,
    pub(super) encoded: EncodedSegment,
}

/// While a topic has this much waiting, memory is made by a row group of it alone. Below, everything is encoded: many small topics
/// would else leave the busy ones no room for row groups worth having. A row group of one file is copied if it has this much stored,
/// or is full.
const ALONE_BYTES: usize = 2 << 20;

/// A row group is copied if its records have this much for each of its runs. Smaller ones are joined with what follows, which takes
/// decoding: every plan over the hour reads the list of runs.
const RUN_BYTES: u64 = 64 << 10;

/// A file is closed at this size, if there is enough for another one: larger ones save no request worth having.
const FILE_BYTES: usize = 36 << 20;

/// So much must be left for another file.
const REST_BYTES: u64 = 40 << 20;

/// What is still to come for each file, about, in bytes as they are stored.
pub(crate) type Rest = BTreeMap<(TopicName, Bucket), u64>;

/// Which rows are taken.
#[derive(Clone, Debug)]
pub(crate) enum Keep {
    /// All.
    All,
    /// Those that are not dropped, of rows that are counted on from a number.
    But(Arc<Dropped>, usize),
}

impl Keep {
    /// Whether the next row is taken.
    fn next(&mut self) -> bool {
        let Self::But(dropped, number) = self else { return true };
        *number += 1;
        !dropped.holds(*number - 1)
    }
}

/// Sorts records.
#[derive(Debug)]
pub(super) struct Sorter {
    options: EncodeOptions,
    names: Names,
    limits: Limits,
    rest: Rest,
    files: BTreeMap<(TopicName, Bucket), File>,
    /// Bytes held by records that wait, and by row groups.
    held: usize,
    encoded: usize,
    /// Bytes of row groups that were copied so far.
    copied: u64,
}

/// The next file of a topic and a bucket.
#[derive(Debug, Default)]
struct File {
    waiting: BTreeMap<PartitionKey, Waiting>,
    held: usize,
    values: usize,
    writer: Option<(ObjectKey, SegmentWriter)>,
    encoded: usize,
}

/// The records of a partition that wait for their row group.
#[derive(Debug)]
struct Waiting {
    /// Its runs, in order; the last one goes on.
    runs: Vec<RunInput>,
    /// What the last run holds beside its batches.
    builder: BatchBuilder,
}

impl Sorter {
    pub(super) fn new(options: EncodeOptions, names: Names, limits: Limits, rest: Rest) -> Self {
        Self { options, names, limits, rest, files: BTreeMap::new(), held: 0, encoded: 0, copied: 0 }
    }

    /// Stored bytes of the row groups that went into files as they were.
    pub(super) fn copied(&self) -> u64 {
        self.copied
    }

    /// Takes one row group in, whose live runs are `runs`: as it is where it belongs into one file and is large enough, else its
    /// rows, as [`Self::take`].
    pub(super) fn take_group(&mut self, runs: Vec<(Run, u64)>, pages: GroupPages) -> Result<Vec<Finished>, Error> {
        let Some((place, group)) = self.as_it_is(&runs, &pages) else {
            return self.take(runs, pages.rows()?, Keep::All);
        };
        // What waits comes before it in the log, and so it must in the file.
        self.encode(&place)?;
        self.copied += group.bytes();
        self.append(&place, group)?;
        let rest = self.rest.entry(place.clone()).or_default();
        *rest = rest.saturating_sub(runs.iter().map(|(_, bytes)| bytes).sum());
        let mut finished: Vec<Finished> = self.encode_or_close(&place)?.into_iter().collect();
        finished.extend(self.make_room()?);
        Ok(finished)
    }

    /// The row group and where it belongs, if it is to be copied.
    fn as_it_is(&self, runs: &[(Run, u64)], pages: &GroupPages) -> Option<((TopicName, Bucket), EncodedRowGroup)> {
        let (first, _) = runs.first()?;
        if runs.iter().any(|(run, _)| run.topic != first.topic || run.bucket != first.bucket) {
            return None;
        }
        // Whatever it is that speaks against it, and be it damage: decoding tells.
        let group = pages.copy(&self.options).ok()?;
        let is_large = group.bytes() >= ALONE_BYTES as u64 || group.raw_bytes() >= ROW_GROUP_BYTES as u64;
        let is_copied = is_large && group.raw_bytes() >= runs.len() as u64 * RUN_BYTES;
        is_copied.then(|| ((first.topic.clone(), first.bucket), group))
    }

    /// Takes the rows of one row group in, which belong to `runs`, in their order, each with about how many bytes it has. Gives
    /// the files that are full, and those that memory has no room for.
    pub(super) fn take(
        &mut self,
        runs: Vec<(Run, u64)>,
        rows: GroupRows,
        mut keep: Keep,
    ) -> Result<Vec<Finished>, Error> {
        let mut rows = rows.peekable();
        let mut finished = Vec::new();
        for (run, bytes) in runs {
            let key = run.key();
            let place = (run.topic.clone(), run.bucket);
            let file = self.files.entry(place.clone()).or_default();
            let waiting = file.waiting.entry(key.clone()).or_insert_with(Waiting::new);
            let before = waiting.builder.memory();
            let (mut has_begun, mut sealed) = (waiting.go_on(&run), 0);
            while let Some(row) = rows.next_if(|row| is_of(row, &key, run.range)) {
                let (_, record) = row?;
                if !keep.next() {
                    continue;
                }
                if !std::mem::replace(&mut has_begun, true) {
                    sealed += waiting.begin(&run);
                }
                file.values += 1 + record.headers.len();
                sealed += waiting.append(&record, run.leader_epoch);
            }
            let more = (waiting.builder.memory() + sealed).saturating_sub(before);
            file.held += more;
            self.held += more;
            let rest = self.rest.entry(place.clone()).or_default();
            *rest = rest.saturating_sub(bytes);
            if file.held >= ROW_GROUP_BYTES || file.values >= ROW_GROUP_VALUES {
                finished.extend(self.encode_or_close(&place)?);
            }
        }
        finished.extend(self.make_room()?);
        Ok(finished)
    }

    /// Makes a row group of what waits for a file, and closes the file where it is full.
    fn encode_or_close(&mut self, place: &(TopicName, Bucket)) -> Result<Option<Finished>, Error> {
        self.encode(place)?;
        if self.is_full(place) { self.close(place) } else { Ok(None) }
    }

    fn is_full(&self, place: &(TopicName, Bucket)) -> bool {
        let rest = self.rest.get(place).copied().unwrap_or(0);
        self.files.get(place).is_some_and(|file| file.encoded >= FILE_BYTES) && rest >= REST_BYTES
    }

    /// Makes a row group of what waits for a file.
    fn encode(&mut self, place: &(TopicName, Bucket)) -> Result<(), Error> {
        let Some(file) = self.files.get_mut(place) else { return Ok(()) };
        let waiting = std::mem::take(&mut file.waiting);
        let runs: Vec<RunInput> = waiting.into_values().flat_map(Waiting::finish).collect();
        self.held -= std::mem::take(&mut file.held);
        file.values = 0;
        if runs.is_empty() {
            return Ok(());
        }
        let group = encode_row_group(&self.options, runs)?;
        self.append(place, group)
    }

    /// Adds a row group to a file.
    fn append(&mut self, place: &(TopicName, Bucket), group: EncodedRowGroup) -> Result<(), Error> {
        let file = self.files.entry(place.clone()).or_default();
        let bytes = usize::try_from(group.bytes()).unwrap_or(usize::MAX);
        let (object, mut writer) = match file.writer.take() {
            Some(begun) => begun,
            None => self.names.begin(&self.options, place)?,
        };
        writer.append(group)?;
        file.writer = Some((object, writer));
        file.encoded += bytes;
        self.encoded += bytes;
        Ok(())
    }

    /// Encodes, and then closes, the largest files until memory suffices.
    fn make_room(&mut self) -> Result<Vec<Finished>, Error> {
        let mut finished = Vec::new();
        while self.held > self.limits.raw_bytes {
            let alone = self.largest(|file| file.held).filter(|place| self.files[place].held >= ALONE_BYTES);
            let places = alone.map_or_else(|| self.files.keys().cloned().collect(), |place| vec![place]);
            for place in places {
                finished.extend(self.encode_or_close(&place)?);
            }
        }
        while self.encoded > self.limits.encoded_bytes {
            let Some(largest) = self.largest(|file| file.encoded) else { break };
            finished.extend(self.close(&largest)?);
        }
        Ok(finished)
    }

    fn largest(&self, size: impl Fn(&File) -> usize) -> Option<(TopicName, Bucket)> {
        let largest = self.files.iter().max_by_key(|(_, file)| size(file)).filter(|(_, file)| size(file) > 0);
        largest.map(|(place, _)| place.clone())
    }

    /// Closes one file that is left; nothing where none is.
    pub(super) fn finish_one(&mut self) -> Result<Vec<Finished>, Error> {
        let Some(place) = self.files.keys().next().cloned() else { return Ok(Vec::new()) };
        Ok(self.close(&place)?.into_iter().collect())
    }

    fn close(&mut self, place: &(TopicName, Bucket)) -> Result<Option<Finished>, Error> {
        self.encode(place)?;
        let Some(file) = self.files.remove(place) else { return Ok(None) };
        self.encoded -= file.encoded;
        let Some((object, writer)) = file.writer else { return Ok(None) };
        Ok(Some(Finished { object, encoded: writer.finish()? }))
    }
}

/// Whether a row belongs to a run; an error belongs to the run that was to come.
fn is_of<E>(row: &Result<(PartitionKey, Record), E>, key: &PartitionKey, range: OffsetRange) -> bool {
    match row {
        Ok((of, record)) => of == key && range.contains(record.offset),
        Err(_) => true,
    }
}

impl Waiting {
    fn new() -> Self {
        Self { runs: Vec::new(), builder: BatchBuilder::new(false) }
    }

    /// Goes on with a run as part of the one before, where it follows on; says whether it does.
    fn go_on(&mut self, run: &Run) -> bool {
        if let Some(last) = self.runs.last_mut()
            && last.range.next_offset() == run.range.base()
            && let Ok(joined) = OffsetRange::new(last.range.base(), run.range.next_offset())
        {
            last.range = joined;
            return true;
        }
        false
    }

    /// Begins a run of its own. Gives the bytes of the batch that it closed.
    fn begin(&mut self, run: &Run) -> usize {
        let sealed = self.seal();
        self.runs.push(RunInput { key: run.key(), range: run.range, bucket: run.bucket, batches: Vec::new() });
        sealed
    }

    /// Takes a record in; gives the bytes of the batch that it filled.
    fn append(&mut self, record: &Record, leader_epoch: LeaderEpoch) -> usize {
        append(&mut self.builder, record, leader_epoch);
        if self.builder.is_full() { self.seal() } else { 0 }
    }

    fn seal(&mut self) -> usize {
        let Some(last) = self.runs.last_mut().filter(|_| !self.builder.is_empty()) else { return 0 };
        let batch: Batch = self.builder.finish();
        let memory = batch.memory();
        last.batches.push(batch);
        memory
    }

    fn finish(mut self) -> Vec<RunInput> {
        self.seal();
        self.runs
    }
}

fn append(builder: &mut BatchBuilder, record: &Record, leader_epoch: LeaderEpoch) {
    let headers: Vec<HeaderRef<'_>> =
        record.headers.iter().map(|header| HeaderRef { key: &header.key, value: header.value.as_deref() }).collect();
    builder.append(&RecordRef {
        offset: record.offset,
        timestamp: record.timestamp,
        timestamp_type: record.timestamp_type,
        leader_epoch,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &headers,
    });
}
