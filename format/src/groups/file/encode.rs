//! From rows to the bytes of a file.
//!
//! Owns: which rows share a row group, the runs, the digests. Does not own: the columns ([`super`]). The Parquet crate writes all of
//! the file, and so it seals all of it too.
//!
//! Invariants: runs are sorted and do not overlap; each row lies in its run and after the row before it; no run is in two
//! row groups.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::{COLUMNS, CONTENT, KEY_CONTENT, MAX_RAW_BYTES, MAX_ROWS, STORED, check_row, contradiction};
use crate::bucket::Bucket;
use crate::checksum::Sha256;
use crate::crypt::FileSeal;
use crate::groups::row::{OffsetRow, RowKind};
use crate::ids::{GroupId, LeaderEpoch, PartitionKey, TimestampMs, TopicName};
use crate::manifest::Run;
use crate::offset_range::OffsetRange;
use crate::schema::SCHEMA_VERSION;
use crate::segment::Error;
use crate::segment::encode::{Codec, EncodedSegment};
use crate::segment::footer::{KEY_SCHEMA_VERSION, MAX_FOOTER_BYTES, check_limit};
use crate::segment::options::encryption;

/// The most rows of a row group.
pub(super) const MAX_GROUP_ROWS: usize = 1 << 20;

/// Rows handed to the Parquet writer at a time.
const BATCH_ROWS: usize = 16 << 10;

/// The file is handed out in blocks of this size.
const PART_BYTES: usize = 1 << 20;

/// What a range of one partition of `__consumer_offsets` says of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRun {
    /// The partition of `__consumer_offsets`.
    pub key: PartitionKey,
    /// All offsets it accounts for; those without a row say nothing of offsets, or are legal holes.
    pub range: OffsetRange,
    /// The leader epoch of its last record.
    pub leader_epoch: LeaderEpoch,
    /// Its rows by log offset; at least one.
    pub rows: Vec<OffsetRow>,
}

/// The most rows of a file that [`in_files`] makes: with the largest metadata and topic names far below what a reader accepts.
const FILE_ROWS: usize = 1 << 17;

/// Cuts runs into as many files as they take: [`encode`] refuses none of them for its size.
///
/// # Errors
/// As [`encode`], where the runs are not what a file may hold.
pub fn in_files(runs: Vec<GroupRun>) -> Result<Vec<Vec<GroupRun>>, Error> {
    in_files_of(runs, FILE_ROWS)
}

/// The same with files of at most `limit` rows.
pub(super) fn in_files_of(runs: Vec<GroupRun>, limit: usize) -> Result<Vec<Vec<GroupRun>>, Error> {
    let (mut files, mut open, mut rows) = (Vec::new(), Vec::new(), 0);
    for run in runs {
        for run in split(run, limit)? {
            if rows > 0 && rows + run.rows.len() > limit {
                files.push(std::mem::take(&mut open));
                rows = 0;
            }
            rows += run.rows.len();
            open.push(run);
        }
    }
    if !open.is_empty() {
        files.push(open);
    }
    Ok(files)
}

/// Encodes runs, all of which are filed under `bucket`. Takes CPU time in proportion to the rows: call it on a blocking
/// pool. A run of more than 1 Mi rows becomes several, whose ranges follow each other. The file of an encrypted backup has a `seal`,
/// which is of the key that it will be stored under.
///
/// # Errors
/// [`Error::Unsorted`], [`Error::EmptyRun`] or [`Error::MisplacedOffset`] where the runs are not what a file may hold,
/// [`Error::Damaged`] where a row contradicts itself, [`Error::TooLarge`] beyond what a reader accepts, [`Error::Encode`]
/// where the Parquet writer fails.
pub fn encode(runs: Vec<GroupRun>, bucket: Bucket, seal: Option<FileSeal>) -> Result<EncodedSegment, Error> {
    encode_limited(runs, bucket, seal, MAX_GROUP_ROWS)
}

/// The same with row groups of at most `limit` rows.
pub(super) fn encode_limited(
    runs: Vec<GroupRun>,
    bucket: Bucket,
    seal: Option<FileSeal>,
    limit: usize,
) -> Result<EncodedSegment, Error> {
    for pair in runs.windows(2) {
        check_order(&pair[0], &pair[1])?;
    }
    let mut file = File::new(seal.as_ref())?;
    let (mut described, mut row_group, mut first_row) = (Vec::new(), 0_u32, 0);
    for run in runs {
        check_run(&run)?;
        for run in split(run, limit)? {
            if first_row > 0 && first_row + run.rows.len() > limit {
                file.end_row_group()?;
                (row_group, first_row) = (row_group + 1, 0);
            }
            described.push(describe(&run, bucket, row_group, first_row));
            first_row += run.rows.len();
            file.write(&run.rows.iter().collect::<Vec<_>>())?;
        }
    }
    file.finish(described)
}

/// Encodes what stood at one moment ([`crate::groups::Table::image`]), sorted by group, topic and partition, without
/// runs: its rows repeat what runs of other files say. A `seal` is as that of [`encode`].
///
/// # Errors
/// [`Error::Damaged`] where a row is no [`RowKind::Image`] or contradicts itself, else [`Error::TooLarge`] or
/// [`Error::Encode`].
pub fn encode_image(rows: &[OffsetRow], seal: Option<FileSeal>) -> Result<EncodedSegment, Error> {
    let mut sorted: Vec<&OffsetRow> = rows.iter().collect();
    sorted.sort_by(|a, b| (&a.group, &a.topic, a.partition).cmp(&(&b.group, &b.topic, b.partition)));
    if let Some(other) = sorted.iter().find(|row| row.kind != RowKind::Image) {
        return Err(contradiction(other, "has no place in an image"));
    }
    let mut file = File::new(seal.as_ref())?;
    for group in sorted.chunks(MAX_GROUP_ROWS) {
        file.write(group)?;
        file.end_row_group()?;
    }
    file.finish(Vec::new())
}

fn check_order(before: &GroupRun, run: &GroupRun) -> Result<(), Error> {
    let after = before.key < run.key || (before.key == run.key && before.range.next_offset() <= run.range.base());
    if after {
        return Ok(());
    }
    let (previous, partition) = (before.key.clone(), run.key.clone());
    Err(Error::Unsorted { previous, previous_range: before.range, partition, range: run.range })
}

fn check_run(run: &GroupRun) -> Result<(), Error> {
    if run.rows.is_empty() {
        return Err(Error::EmptyRun { partition: run.key.clone(), range: run.range });
    }
    let mut next = run.range.base();
    for row in &run.rows {
        let offset = row.log_offset;
        if !run.range.contains(offset) || offset < next {
            return Err(Error::MisplacedOffset { partition: run.key.clone(), range: run.range, offset });
        }
        if (row.lineage, row.log_partition) != (run.key.lineage, run.key.partition) || row.kind == RowKind::Image {
            return Err(contradiction(row, &format!("has no place in a run of {}", run.key)));
        }
        next = offset.next();
    }
    Ok(())
}

/// Cuts a run into runs of at most `limit` rows; each but the last ends where the first row of the next begins.
fn split(run: GroupRun, limit: usize) -> Result<Vec<GroupRun>, Error> {
    let GroupRun { key, range, leader_epoch, rows } = run;
    let (mut rest, mut base, mut runs) = (rows, range.base(), Vec::new());
    while rest.len() > limit {
        let after = rest.split_off(limit);
        let next = after.first().map_or(range.next_offset(), |row| row.log_offset);
        let range = OffsetRange::new(base, next).map_err(Error::damaged)?;
        runs.push(GroupRun { key: key.clone(), range, leader_epoch, rows: rest });
        (rest, base) = (after, next);
    }
    let range = OffsetRange::new(base, range.next_offset()).map_err(Error::damaged)?;
    runs.push(GroupRun { key, range, leader_epoch, rows: rest });
    Ok(runs)
}

fn describe(run: &GroupRun, bucket: Bucket, row_group: u32, first_row: usize) -> Run {
    let timestamps = || run.rows.iter().map(|row| row.timestamp);
    let zero = TimestampMs::new(0);
    Run {
        topic: run.key.topic.clone(),
        lineage: run.key.lineage,
        partition: run.key.partition,
        range: run.range,
        row_group,
        first_row: first_row as u64,
        rows: run.rows.len() as u64,
        min_timestamp: timestamps().min().unwrap_or(zero),
        max_timestamp: timestamps().max().unwrap_or(zero),
        leader_epoch: run.leader_epoch,
        // Nobody writes them into a topic.
        largest_record: 0,
        bucket,
    }
}

/// A file that is being written, in memory: it holds some megabytes.
struct File {
    writer: ArrowWriter<Vec<u8>>,
    rows: u64,
    raw_bytes: u64,
}

impl File {
    fn new(seal: Option<&FileSeal>) -> Result<Self, Error> {
        let options = ArrowWriterOptions::new()
            .with_properties(properties(seal)?)
            .with_skip_arrow_metadata(true)
            .with_parquet_schema(STORED.clone());
        let writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&COLUMNS), options);
        Ok(Self { writer: writer.map_err(Error::Encode)?, rows: 0, raw_bytes: 0 })
    }

    fn write(&mut self, rows: &[&OffsetRow]) -> Result<(), Error> {
        rows.iter().try_for_each(|row| check_row(row))?;
        self.rows += rows.len() as u64;
        self.raw_bytes += rows.iter().map(|row| row.raw_bytes() as u64).sum::<u64>();
        check_limit("rows of consumer groups", self.rows, MAX_ROWS)?;
        check_limit("bytes of consumer groups", self.raw_bytes, MAX_RAW_BYTES)?;
        for rows in rows.chunks(BATCH_ROWS) {
            let batch = RecordBatch::try_new(Arc::clone(&COLUMNS), columns(rows));
            let batch = batch.map_err(|error| Error::Encode(error.into()))?;
            self.writer.write(&batch).map_err(Error::Encode)?;
        }
        Ok(())
    }

    fn end_row_group(&mut self) -> Result<(), Error> {
        self.writer.flush().map_err(Error::Encode)
    }

    fn finish(mut self, runs: Vec<Run>) -> Result<EncodedSegment, Error> {
        self.end_row_group()?;
        let index_at = self.writer.bytes_written();
        for (key, value) in [(KEY_SCHEMA_VERSION, SCHEMA_VERSION.to_string()), (KEY_CONTENT, CONTENT.to_owned())] {
            self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        // Writes the footer.
        let file = Bytes::from(self.writer.into_inner().map_err(Error::Encode)?);
        let footer = file.get(index_at..).unwrap_or_default();
        check_limit("footer bytes", footer.len() as u64, MAX_FOOTER_BYTES)?;
        let starts = (0..file.len()).step_by(PART_BYTES);
        Ok(EncodedSegment {
            bytes: file.len() as u64,
            sha256: Sha256::of(&file),
            footer_bytes: footer.len() as u64,
            footer_sha256: Sha256::of(footer),
            parts: starts.map(|start| file.slice(start..file.len().min(start + PART_BYTES))).collect(),
            rows: self.rows,
            raw_bytes: self.raw_bytes,
            runs,
        })
    }
}

fn properties(seal: Option<&FileSeal>) -> Result<WriterProperties, Error> {
    let Compression::ZSTD(level) = Codec::Zstd(1).compression()? else {
        return Err(Error::IllegalCompression(Codec::Zstd(1)));
    };
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("strimzi-backup {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_dictionary_enabled(false)
        // Row groups end between runs, where this module says, and nowhere else.
        .set_max_row_group_row_count(None);
    for repeated in ["kind", "group_id", "topic", "topic_id"] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(repeated), true);
    }
    for unbounded in ["metadata", "raw_key", "raw_value"] {
        properties = properties.set_column_statistics_enabled(ColumnPath::from(unbounded), EnabledStatistics::None);
    }
    if let Some(seal) = seal {
        properties = properties.with_file_encryption_properties(encryption(seal)?);
    }
    Ok(properties.build())
}

/// One array per column of [`COLUMNS`].
pub(super) fn columns(rows: &[&OffsetRow]) -> Vec<ArrayRef> {
    let committed = || rows.iter().map(|row| row.committed.as_ref());
    let texts =
        |texts: &mut dyn Iterator<Item = Option<&str>>| -> ArrayRef { Arc::new(texts.collect::<StringArray>()) };
    let times = |times: &mut dyn Iterator<Item = Option<i64>>| -> ArrayRef {
        Arc::new(times.collect::<TimestampMillisecondArray>().with_timezone("UTC"))
    };
    let shorts =
        |numbers: &mut dyn Iterator<Item = Option<i32>>| -> ArrayRef { Arc::new(numbers.collect::<Int32Array>()) };
    let longs =
        |numbers: &mut dyn Iterator<Item = Option<i64>>| -> ArrayRef { Arc::new(numbers.collect::<Int64Array>()) };
    let bytes =
        |bytes: &mut dyn Iterator<Item = Option<&[u8]>>| -> ArrayRef { Arc::new(bytes.collect::<BinaryArray>()) };
    vec![
        texts(&mut rows.iter().map(|row| Some(row.kind.as_str()))),
        texts(&mut rows.iter().map(|row| row.group.as_ref().map(GroupId::as_str))),
        texts(&mut rows.iter().map(|row| row.topic.as_ref().map(TopicName::as_str))),
        shorts(&mut rows.iter().map(|row| row.partition.map(|partition| partition.get()))),
        longs(&mut committed().map(|at| at.map(|at| at.offset.get()))),
        shorts(&mut committed().map(|at| at.map(|at| at.leader_epoch.get()))),
        texts(&mut committed().map(|at| at.map(|at| at.metadata.as_str()))),
        times(&mut committed().map(|at| at.map(|at| at.committed_at.get()))),
        texts(&mut committed().map(|at| at.and_then(|at| at.topic_id.as_ref()).map(|id| id.as_str()))),
        times(&mut rows.iter().map(|row| Some(row.timestamp.get()))),
        shorts(&mut rows.iter().map(|row| Some(row.lineage.get()))),
        shorts(&mut rows.iter().map(|row| Some(row.log_partition.get()))),
        longs(&mut rows.iter().map(|row| Some(row.log_offset.get()))),
        bytes(&mut rows.iter().map(|row| row.raw_key.as_deref())),
        bytes(&mut rows.iter().map(|row| row.raw_value.as_deref())),
    ]
}
