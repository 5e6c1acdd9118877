//! From batches to the bytes of a segment.
//!
//! Owns: the settings of each column, whole row groups as independent jobs, their order in the file, the footer's facts
//! and the digest. Does not own: how rows become arrays ([`super::columns`]) or which rows share a row group.
//!
//! Invariants: runs are sorted and do not overlap, over the whole segment; each record lies in its run and after the
//! record before it; what is written stays below the limits that a reader insists on ([`super::footer`]).

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use std::ops::Range;
use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, ArrayRef};
use arrow_schema::Field;
use bytes::Bytes;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::batch::Batch;
use super::plain::{PlainChunk, PlainWriter};
use super::columns::{INDEXED_PAGE_ROWS, PAGE_BYTES, PAGE_ROWS, PageCutter, Pending};
use super::{Error, footer};
use crate::bucket::Bucket;
use crate::checksum::{Sha256, Sha256Hasher};
use crate::ids::{BackupId, LeaderEpoch, Offset, PartitionKey, TimestampMs};
use crate::manifest::Run;
use crate::offset_range::OffsetRange;
use crate::schema::{STORED, WRITTEN, column};

/// Encoded bytes are handed out in blocks of this size.
const PART_BYTES: usize = 4 << 20;

/// How pages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    None,
    /// Gzip, level 0 to 9.
    Gzip(u32),
    /// Snappy.
    Snappy,
    /// LZ4 blocks without a frame (`LZ4_RAW`).
    Lz4,
    /// Zstandard, level 1 to 22 (negative ones trade size for speed).
    Zstd(i32),
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Gzip(level) => write!(f, "gzip level {level}"),
            Self::Snappy => f.write_str("snappy"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd(level) => write!(f, "zstd level {level}"),
        }
    }
}

impl Codec {
    fn compression(self) -> Result<Compression, Error> {
        let illegal = |_| Error::IllegalCompression(self);
        Ok(match self {
            Self::None => Compression::UNCOMPRESSED,
            Self::Gzip(level) => Compression::GZIP(GzipLevel::try_new(level).map_err(illegal)?),
            Self::Snappy => Compression::SNAPPY,
            Self::Lz4 => Compression::LZ4_RAW,
            Self::Zstd(level) => Compression::ZSTD(ZstdLevel::try_new(level).map_err(illegal)?),
        })
    }
}

/// How segments of a backup are written. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EncodeOptions {
    properties: WriterPropertiesPtr,
    codec: Codec,
    backup: BackupId,
}

impl EncodeOptions {
    /// The settings of every segment of `backup`, compressed by `codec`.
    ///
    /// # Errors
    /// [`Error::IllegalCompression`] where the codec does not have that level.
    pub fn new(backup: BackupId, codec: Codec) -> Result<Self, Error> {
        let path = |parts: &[&str]| ColumnPath::new(parts.iter().map(|&part| part.to_owned()).collect());
        let mut properties = WriterProperties::builder()
            .set_created_by(format!("strimzi-backup {}", env!("CARGO_PKG_VERSION")))
            .set_compression(codec.compression()?)
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            // Bounds are exact: a truncated one would no longer tell long topic names apart.
            .set_statistics_truncate_length(None)
            .set_column_index_truncate_length(None)
            .set_data_page_size_limit(PAGE_BYTES)
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_sorting_columns(Some(sorting_columns()));
        for repeated in [path(&["topic"]), path(&["timestamp_type"]), path(&["headers", "list", "element", "key"])] {
            properties = properties.set_column_dictionary_enabled(repeated, true);
        }
        for bounded in ["topic", "partition", "offset", "timestamp"] {
            properties = properties.set_column_statistics_enabled(path(&[bounded]), EnabledStatistics::Page);
        }
        for packed in ["lineage", "partition", "offset", "timestamp"] {
            properties = properties.set_column_encoding(path(&[packed]), Encoding::DELTA_BINARY_PACKED);
        }
        for indexed in ["offset", "timestamp"] {
            properties = properties.set_column_data_page_row_count_limit(path(&[indexed]), INDEXED_PAGE_ROWS);
        }
        Ok(Self { properties: Arc::new(properties.build()), codec, backup })
    }
}

/// Topic, lineage, partition and offset, which are the first four columns.
fn sorting_columns() -> Vec<SortingColumn> {
    (0..4).map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false }).collect()
}

/// Records of one partition that go into one row group.
#[derive(Debug)]
pub struct RunInput {
    /// Whose they are.
    pub key: PartitionKey,
    /// All offsets they account for; those without a record are legal holes.
    pub range: OffsetRange,
    /// The bucket they are filed under.
    pub bucket: Bucket,
    /// The records, in order.
    pub batches: Vec<Batch>,
}

/// A row group, compressed, ready to be appended to any segment of the same options.
pub struct EncodedRowGroup {
    chunks: Vec<Chunk>,
    runs: Vec<Run>,
    rows: u64,
    raw_bytes: u64,
    bytes: u64,
}

impl fmt::Debug for EncodedRowGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodedRowGroup({} runs, {} rows, {} bytes)", self.runs.len(), self.rows, self.bytes)
    }
}

impl EncodedRowGroup {
    /// Its compressed bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its records.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of keys, values and headers before encoding.
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }
}

/// Encodes one row group. Takes CPU time in proportion to its bytes: call it on a blocking pool, any number at a time.
/// Each input batch is dropped as soon as it is encoded.
///
/// # Errors
/// [`Error::Unsorted`], [`Error::EmptyRun`] or [`Error::MisplacedOffset`] where the input is not what a segment may hold,
/// [`Error::TooLarge`] where no reader would accept it, [`Error::Encode`] where the Parquet writer fails.
pub fn encode_row_group(options: &EncodeOptions, runs: Vec<RunInput>) -> Result<EncodedRowGroup, Error> {
    check_size(&runs)?;
    let mut encoder = RowGroupEncoder::new(options)?;
    let mut done: Vec<Run> = Vec::with_capacity(runs.len());
    let mut rows = 0;
    for input in runs {
        if let Some(previous) = done.last() {
            check_order(previous, &input.key, input.range)?;
        }
        let run = describe(&input, rows)?;
        rows += run.rows;
        done.push(run);
        let key = Arc::new(input.key);
        for batch in input.batches {
            encoder.push(&key, batch)?;
        }
    }
    let raw_bytes = encoder.raw_bytes;
    let chunks = encoder.finish()?;
    let bytes = chunks.iter().map(Chunk::bytes).sum();
    Ok(EncodedRowGroup { chunks, runs: done, rows, raw_bytes, bytes })
}

/// A reader refuses row groups beyond its limits, so none may be written: rather an error now than a backup that
/// cannot be restored.
fn check_size(runs: &[RunInput]) -> Result<(), Error> {
    let batches = || runs.iter().flat_map(|run| &run.batches);
    let raw_bytes: usize = batches().map(Batch::raw_bytes).sum();
    let values: usize = batches().map(|batch| batch.rows() + batch.header_count()).sum();
    footer::check_limit("raw row group bytes", raw_bytes as u64, footer::MAX_RAW_ROW_GROUP_BYTES)?;
    footer::check_limit("row group values", values as u64, footer::MAX_ROW_GROUP_VALUES)
}

fn check_order(previous: &Run, key: &PartitionKey, range: OffsetRange) -> Result<(), Error> {
    let before = previous.key();
    if before < *key || (before == *key && previous.range.next_offset() <= range.base()) {
        return Ok(());
    }
    Err(Error::Unsorted { previous: before, previous_range: previous.range, partition: key.clone(), range })
}

/// The run that `input` becomes, after checking each of its offsets.
fn describe(input: &RunInput, first_row: u64) -> Result<Run, Error> {
    let (mut rows, mut previous) = (0, None);
    for batch in &input.batches {
        for &offset in batch.offsets() {
            let offset = Offset::new(offset);
            if !input.range.contains(offset) || previous.is_some_and(|previous| previous >= offset) {
                let partition = input.key.clone();
                return Err(Error::MisplacedOffset { partition, range: input.range, offset });
            }
            previous = Some(offset);
        }
        rows += batch.rows() as u64;
    }
    let timestamps = || input.batches.iter().flat_map(|batch| batch.timestamps().iter().copied());
    let (Some(min), Some(max)) = (timestamps().min(), timestamps().max()) else {
        return Err(Error::EmptyRun { partition: input.key.clone(), range: input.range });
    };
    let last = input.batches.iter().rev().find(|batch| !batch.is_empty());
    Ok(Run {
        topic: input.key.topic.clone(),
        lineage: input.key.lineage,
        partition: input.key.partition,
        range: input.range,
        row_group: 0,
        first_row,
        rows,
        min_timestamp: TimestampMs::new(min),
        max_timestamp: TimestampMs::new(max),
        leader_epoch: last.map_or(LeaderEpoch::UNKNOWN, Batch::leader_epoch),
        bucket: input.bucket,
    })
}

/// A finished column chunk of either writer.
enum Chunk {
    Arrow(ArrowColumnChunk),
    Plain(PlainChunk),
}

impl Chunk {
    fn bytes(&self) -> u64 {
        match self {
            Self::Arrow(chunk) => chunk.close().bytes_written,
            Self::Plain(chunk) => chunk.close.bytes_written,
        }
    }
}

/// The writers of one column of ours.
enum Writer {
    /// One per Parquet column: headers have two.
    Arrow(Vec<ArrowColumnWriter>),
    Plain(Box<PlainWriter>),
}

impl Writer {
    fn write(&mut self, field: &Field, array: &ArrayRef, rows: Range<usize>, end: bool) -> Result<(), ParquetError> {
        match (self, array.as_binary_opt::<i64>()) {
            (Self::Plain(writer), Some(values)) => {
                writer.write(values, rows);
                if end { writer.end_page() } else { Ok(()) }
            }
            (Self::Plain(_), None) => Err(ParquetError::General("a column of bytes holds something else".to_owned())),
            (Self::Arrow(writers), _) => {
                let leaves = compute_leaves(field, &array.slice(rows.start, rows.len()))?;
                writers.iter_mut().zip(&leaves).try_for_each(|(writer, leaf)| writer.write(leaf))
            }
        }
    }

    fn finish(self) -> Result<Vec<Chunk>, ParquetError> {
        match self {
            Self::Plain(writer) => Ok(vec![Chunk::Plain(writer.finish()?)]),
            Self::Arrow(writers) => writers.into_iter().map(|writer| writer.close().map(Chunk::Arrow)).collect(),
        }
    }
}

struct RowGroupEncoder {
    columns: Vec<(Writer, PageCutter)>,
    pending: Pending,
    raw_bytes: u64,
}

impl RowGroupEncoder {
    fn new(options: &EncodeOptions) -> Result<Self, Error> {
        // The factory takes schema and settings from a file writer; which file the row group ends in is open still.
        let nowhere = new_file(io::sink(), options)?;
        let factory = ArrowRowGroupWriterFactory::new(&nowhere, Arc::clone(&WRITTEN));
        let mut writers = factory.create_column_writers(0).map_err(Error::Encode)?.into_iter();
        let columns = (0..column::COUNT).map(|at| {
            let leaves = if at == column::HEADERS { 2 } else { 1 };
            let arrow = writers.by_ref().take(leaves).collect();
            let writer = match (at, options.codec) {
                (column::KEY | column::VALUE, Codec::Zstd(level)) => {
                    let compression = options.codec.compression()?;
                    Writer::Plain(Box::new(PlainWriter::new(at, compression, level).map_err(Error::Encode)?))
                }
                _ => Writer::Arrow(arrow),
            };
            Ok((writer, PageCutter::default()))
        });
        let columns = columns.collect::<Result<_, Error>>()?;
        Ok(Self { columns, pending: Pending::default(), raw_bytes: 0 })
    }

    fn push(&mut self, key: &Arc<PartitionKey>, batch: Batch) -> Result<(), Error> {
        self.raw_bytes += batch.raw_bytes() as u64;
        self.pending.push(Arc::clone(key), batch);
        if self.pending.is_full() { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), Error> {
        let pending = std::mem::take(&mut self.pending);
        let arrays = pending.columns().map_err(|error| Error::Encode(error.into()))?;
        for (at, (field, array)) in WRITTEN.fields().iter().zip(&arrays).enumerate() {
            let (writer, cutter) = &mut self.columns[at];
            let mut first = 0;
            while first < array.len() {
                let next = first + cutter.take(at, array, first);
                writer.write(field, array, first..next, cutter.is_page_end()).map_err(Error::Encode)?;
                first = next;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Chunk>, Error> {
        if !self.pending.is_empty() {
            self.write()?;
        }
        let chunks = self.columns.into_iter().map(|(writer, _)| writer.finish());
        Ok(chunks.collect::<Result<Vec<_>, _>>().map_err(Error::Encode)?.into_iter().flatten().collect())
    }
}

fn new_file<W: Write + Send>(sink: W, options: &EncodeOptions) -> Result<SerializedFileWriter<W>, Error> {
    let properties = Arc::clone(&options.properties);
    SerializedFileWriter::new(sink, STORED.root_schema_ptr(), properties).map_err(Error::Encode)
}

/// Puts row groups together to a segment, in order.
pub struct SegmentWriter {
    file: SerializedFileWriter<Parts>,
    backup: BackupId,
    runs: Vec<Run>,
    rows: u64,
    raw_bytes: u64,
    row_groups: u32,
}

impl fmt::Debug for SegmentWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentWriter({} row groups, {} rows)", self.row_groups, self.rows)
    }
}

impl SegmentWriter {
    /// An empty segment.
    ///
    /// # Errors
    /// [`Error::Encode`] where the Parquet writer refuses its settings.
    pub fn new(options: &EncodeOptions) -> Result<Self, Error> {
        let file = new_file(Parts::default(), options)?;
        Ok(Self { file, backup: options.backup, runs: Vec::new(), rows: 0, raw_bytes: 0, row_groups: 0 })
    }

    /// Adds a row group, which must come after those already in.
    ///
    /// # Errors
    /// [`Error::Unsorted`] where it does not come after, else [`Error::Encode`].
    pub fn append(&mut self, group: EncodedRowGroup) -> Result<(), Error> {
        if let (Some(previous), Some(first)) = (self.runs.last(), group.runs.first()) {
            check_order(previous, &first.key(), first.range)?;
        }
        let mut writer = self.file.next_row_group().map_err(Error::Encode)?;
        for chunk in group.chunks {
            match chunk {
                Chunk::Arrow(chunk) => chunk.append_to_row_group(&mut writer),
                Chunk::Plain(chunk) => writer.append_column(&chunk.bytes, chunk.close),
            }
            .map_err(Error::Encode)?;
        }
        writer.close().map_err(Error::Encode)?;
        let row_group = self.row_groups;
        self.runs.extend(group.runs.into_iter().map(|run| Run { row_group, ..run }));
        self.row_groups += 1;
        self.rows += group.rows;
        self.raw_bytes += group.raw_bytes;
        Ok(())
    }

    /// Bytes encoded so far.
    pub fn bytes(&self) -> u64 {
        self.file.bytes_written() as u64
    }

    /// Writes the footer and hands the segment out.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where the footer exceeds what a reader accepts, else [`Error::Encode`].
    pub fn finish(mut self) -> Result<EncodedSegment, Error> {
        let indexes_at = self.bytes();
        for (key, value) in footer::facts(self.backup, &self.runs)? {
            self.file.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        self.file.finish().map_err(Error::Encode)?;
        let bytes = self.bytes();
        let (parts, sha256) = std::mem::take(self.file.inner_mut()).finish();
        let footer_bytes = bytes - indexes_at;
        footer::check_limit("footer bytes", footer_bytes, footer::MAX_FOOTER_BYTES)?;
        let (rows, raw_bytes, runs) = (self.rows, self.raw_bytes, self.runs);
        Ok(EncodedSegment { parts, bytes, sha256, footer_bytes, rows, raw_bytes, runs })
    }
}

/// A finished segment.
#[derive(Debug)]
pub struct EncodedSegment {
    /// Its bytes, in blocks.
    pub parts: Vec<Bytes>,
    /// How many bytes.
    pub bytes: u64,
    /// Their digest.
    pub sha256: Sha256,
    /// Bytes from the start of the page index to the end.
    pub footer_bytes: u64,
    /// Its records.
    pub rows: u64,
    /// Bytes of keys, values and headers before encoding.
    pub raw_bytes: u64,
    /// Its runs, as the footer holds them.
    pub runs: Vec<Run>,
}

/// Collects bytes in blocks, so that no large buffer is ever moved to a larger one, and digests them on the way.
#[derive(Default)]
struct Parts {
    full: Vec<Bytes>,
    current: Vec<u8>,
    digest: Sha256Hasher,
}

impl Parts {
    fn finish(mut self) -> (Vec<Bytes>, Sha256) {
        self.seal();
        (self.full, self.digest.finish())
    }

    fn seal(&mut self) {
        if !self.current.is_empty() {
            // A small segment must not hold on to a whole block.
            self.current.shrink_to_fit();
            self.full.push(std::mem::take(&mut self.current).into());
        }
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.current.len() + bytes.len() > PART_BYTES {
            self.seal();
        }
        if self.current.capacity() == 0 {
            self.current.reserve(bytes.len().max(PART_BYTES));
        }
        self.digest.update(bytes);
        self.current.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
