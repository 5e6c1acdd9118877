//! From batches to the bytes of a segment.
//!
//! Owns: whole row groups as independent jobs, their order in the file, the footer's facts and the digests. Does not own:
//! how columns are encoded ([`super::row_group`]) and sealed ([`super::sealing`]), or which rows share a row group.
//!
//! Invariants: runs are in their order ([`super::run_order`]) and do not overlap; each record lies in its run and after the
//! record before it; what is written stays below the limits that a reader insists on ([`super::footer`]).

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;

use super::batch::Batch;
use super::checksums::PageDigests;
use super::options::new_file;
pub use super::options::{Codec, EncodeOptions};
use super::pieces::Blocks;
use super::row_group::{Chunk, RowGroupEncoder};
use super::run_order::RunOrder;
use super::sealing::Sealing;
use super::{Error, footer};
use crate::bucket::Bucket;
use crate::checksum::{Sha256, Sha256Hasher};
use crate::crypt::FileSeal;
use crate::ids::{BackupId, LeaderEpoch, Offset, PartitionKey, TimestampMs};
use crate::manifest::Run;
use crate::offset_range::OffsetRange;

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

/// A row group, compressed and in the clear, ready to be appended to any segment of the same options.
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
    /// The row group of these column chunks and runs.
    pub(super) fn of(chunks: Vec<Chunk>, runs: Vec<Run>, raw_bytes: u64) -> Self {
        let (rows, bytes) = (runs.iter().map(|run| run.rows).sum(), chunks.iter().map(Chunk::bytes).sum());
        Self { chunks, runs, rows, raw_bytes, bytes }
    }

    /// Its columns, in the order of the file.
    pub(super) fn into_chunks(self) -> Vec<Chunk> {
        self.chunks
    }

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
    Ok(EncodedRowGroup::of(encoder.finish()?, done, raw_bytes))
}

/// A reader refuses row groups beyond its limits, so none may be written: rather an error now than a backup that
/// cannot be restored.
fn check_size(runs: &[RunInput]) -> Result<(), Error> {
    let batches = || runs.iter().flat_map(|run| &run.batches);
    let raw_bytes: usize = batches().map(Batch::raw_bytes).sum();
    let values: usize = batches().map(Batch::values).sum();
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
        largest_record: input.batches.iter().map(Batch::largest_record).max().unwrap_or(0) as u64,
        min_timestamp: TimestampMs::new(min),
        max_timestamp: TimestampMs::new(max),
        leader_epoch: last.map_or(LeaderEpoch::UNKNOWN, Batch::leader_epoch),
        bucket: input.bucket,
    })
}

/// Puts row groups together to a segment, in order.
pub struct SegmentWriter {
    file: SerializedFileWriter<Parts>,
    /// Of an encrypted backup.
    sealing: Option<Sealing>,
    backup: BackupId,
    runs: Vec<Run>,
    order: RunOrder,
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
    /// An empty segment. That of an encrypted backup has a `seal`, which is of the key that it will be stored under.
    ///
    /// # Errors
    /// [`Error::Encode`] where the Parquet writer refuses its settings, [`Error::Key`] where a seal needs random bytes and there are none.
    pub fn new(options: &EncodeOptions, seal: Option<FileSeal>) -> Result<Self, Error> {
        let mut file = new_file(Parts::default(), options, seal.as_ref())?;
        // What the file begins with is no page.
        file.flush().map_err(|error| Error::Encode(error.into()))?;
        let sealing = seal.map(|seal| Sealing::new(options, seal)).transpose()?;
        let (backup, order, runs) = (options.backup, RunOrder::default(), Vec::new());
        Ok(Self { file, sealing, backup, runs, order, rows: 0, raw_bytes: 0, row_groups: 0 })
    }

    /// Adds a row group, whose offsets must come after those of their partitions that are in already.
    ///
    /// # Errors
    /// [`Error::Unsorted`] where they do not, [`Error::TooLarge`] where there are more than can be sealed, else [`Error::Encode`]; of
    /// the segment nothing can be made then.
    pub fn append(&mut self, group: EncodedRowGroup) -> Result<(), Error> {
        group.runs.iter().try_for_each(|run| self.order.follow(self.row_groups, run))?;
        let chunks = match &mut self.sealing {
            Some(sealing) => sealing.row_group(self.row_groups, group.chunks, group.bytes)?,
            None => group.chunks,
        };
        let parts = self.file.inner_mut();
        chunks.iter().try_for_each(|chunk| parts.expect(chunk)).map_err(Error::Encode)?;
        let mut writer = self.file.next_row_group().map_err(Error::Encode)?;
        for chunk in chunks {
            chunk.describe_to(&mut writer).map_err(Error::Encode)?;
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
        self.file.flush().map_err(|error| Error::Encode(error.into()))?;
        let checksums = self.file.inner_mut().begin_footer()?;
        for (key, value) in footer::facts(self.backup, &self.runs, &checksums)? {
            self.file.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        let metadata = self.file.finish().map_err(Error::Encode)?;
        let bytes = self.bytes();
        let mut parts = std::mem::take(self.file.inner_mut());
        if let Some(sealing) = &mut self.sealing {
            sealing.end(&mut parts.footer, indexes_at, &metadata)?;
        }
        let (parts, sha256, footer_sha256) = parts.finish();
        let footer_bytes = bytes - indexes_at;
        footer::check_limit("footer bytes", footer_bytes, footer::MAX_FOOTER_BYTES)?;
        let (rows, raw_bytes, runs) = (self.rows, self.raw_bytes, self.runs);
        Ok(EncodedSegment { parts, bytes, sha256, footer_bytes, footer_sha256, rows, raw_bytes, runs })
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
    /// The digest of these.
    pub footer_sha256: Sha256,
    /// Its records.
    pub rows: u64,
    /// Bytes of keys, values and headers before encoding.
    pub raw_bytes: u64,
    /// Its runs, as the footer holds them.
    pub runs: Vec<Run>,
}

impl EncodedSegment {
    /// Fails unless it is encrypted where its backup is, and not where it is not: the last look before it leaves.
    ///
    /// # Errors
    /// [`Error::NotEncrypted`] or [`Error::Encrypted`]: a fault of the program.
    pub fn check_encrypted(&self, is_wanted: bool) -> Result<(), Error> {
        let is_encrypted = self.parts.first().is_some_and(|part| part.starts_with(footer::SEALED_MAGIC));
        match (is_encrypted, is_wanted) {
            (false, true) => Err(Error::NotEncrypted),
            (true, false) => Err(Error::Encrypted),
            _ => Ok(()),
        }
    }
}

/// Collects the bytes of a segment and digests them on the way.
#[derive(Default)]
struct Parts {
    blocks: Blocks,
    digest: Sha256Hasher,
    pages: PageDigests,
    /// The column chunks that come next.
    coming: VecDeque<Coming>,
    /// What follows the pages, which may be sealed anew.
    footer: Vec<u8>,
    in_footer: bool,
}

/// A column chunk that will be written.
struct Coming {
    /// Bytes of it that were not written yet.
    left: u64,
    /// What it is where that is known before: then what is written only stands for it.
    stored: Option<Vec<Bytes>>,
}

impl Parts {
    /// Says that a column chunk comes next.
    fn expect(&mut self, chunk: &Chunk) -> Result<(), ParquetError> {
        self.pages.expect(chunk.page_sizes());
        self.coming.push_back(Coming { left: chunk.bytes(), stored: chunk.stored()? });
        Ok(())
    }

    /// Takes in what is written of column chunks, or before them.
    fn take(&mut self, mut bytes: &[u8]) {
        while let Some(mut chunk) = self.coming.pop_front() {
            let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(chunk.left).unwrap_or(usize::MAX)));
            chunk.left -= now.len() as u64;
            if chunk.stored.is_none() {
                self.append(now);
            }
            if chunk.left > 0 {
                self.coming.push_front(chunk);
                return;
            }
            for stored in chunk.stored.into_iter().flatten() {
                self.digest(&stored);
                self.blocks.keep(stored);
            }
            bytes = later;
        }
        self.append(bytes);
    }

    /// Says that all pages are written, and gives their checksums.
    fn begin_footer(&mut self) -> Result<Vec<u32>, Error> {
        self.in_footer = true;
        std::mem::take(&mut self.pages).finish()
    }

    /// The blocks, their digest, and that of the footer.
    fn finish(mut self) -> (Vec<Bytes>, Sha256, Sha256) {
        let footer = std::mem::take(&mut self.footer);
        self.append(&footer);
        (self.blocks.finish(), self.digest.finish(), Sha256::of(&footer))
    }

    fn append(&mut self, bytes: &[u8]) {
        self.digest(bytes);
        self.blocks.append(bytes);
    }

    fn digest(&mut self, bytes: &[u8]) {
        self.pages.update(bytes);
        self.digest.update(bytes);
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.in_footer {
            self.footer.extend_from_slice(bytes);
        } else {
            self.take(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
