//! Records as one Parquet file with the columns of a segment, in the clear, row group after row group.

use std::collections::BTreeMap;

use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::ids::{LeaderEpoch, Offset, PartitionKey};
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::record::{HeaderRef, Record, RecordRef};
use strimzi_backup_format::segment;
use strimzi_backup_format::segment::batch::{Batch, BatchBuilder};
use strimzi_backup_format::segment::decode::Row;
use strimzi_backup_format::segment::encode::{EncodeOptions, RunInput, encode_row_group};
use strimzi_backup_format::segment::plain_file::PlainFile;

use super::Form;
use super::sink::Sink;
use crate::error::Error;
use crate::pipeline::plan::{ROW_GROUP_BYTES, ROW_GROUP_VALUES};

/// A copy as a Parquet file.
#[derive(Debug)]
pub(super) struct Table {
    options: EncodeOptions,
    file: PlainFile<Sink>,
    /// The next row group, which must be sorted by partition.
    waiting: BTreeMap<PartitionKey, Waiting>,
    bytes: usize,
    values: usize,
}

/// The records of a partition that wait for their row group.
#[derive(Debug)]
struct Waiting {
    first: Offset,
    last: Offset,
    bucket: Bucket,
    batches: Vec<Batch>,
    builder: BatchBuilder,
}

impl Table {
    /// An empty copy.
    ///
    /// # Errors
    /// [`Error::Encode`].
    pub(super) fn new(sink: Sink, options: EncodeOptions) -> Result<Self, Error> {
        let file = PlainFile::new(sink, &options)?;
        Ok(Self { options, file, waiting: BTreeMap::new(), bytes: 0, values: 0 })
    }

    fn is_full(&self) -> bool {
        self.bytes >= ROW_GROUP_BYTES || self.values >= ROW_GROUP_VALUES
    }

    /// Makes a row group of what waits.
    fn encode(&mut self) -> Result<(), Error> {
        let waiting = std::mem::take(&mut self.waiting);
        (self.bytes, self.values) = (0, 0);
        let runs = waiting.into_iter().map(|(key, waiting)| waiting.finish(key));
        let runs: Vec<RunInput> = runs.collect::<Result<_, segment::Error>>()?;
        if runs.is_empty() {
            return Ok(());
        }
        let group = encode_row_group(&self.options, runs)?;
        Ok(self.file.append(group)?)
    }
}

impl Form for Table {
    fn take(&mut self, rows: Vec<Row>) -> Result<(), Error> {
        for (key, record) in rows {
            self.bytes += record.raw_bytes();
            self.values += 1 + record.headers.len();
            self.waiting.entry(key).or_insert_with(|| Waiting::from(&record)).append(&record);
            if self.is_full() {
                self.encode()?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Error> {
        self.encode()?;
        self.file.finish()?.keep()
    }
}

impl Waiting {
    fn from(record: &Record) -> Self {
        let (offset, bucket) = (record.offset, Bucket::of(record.timestamp));
        Self { first: offset, last: offset, bucket, batches: Vec::new(), builder: BatchBuilder::new(false) }
    }

    fn append(&mut self, record: &Record) {
        let headers = record.headers.iter();
        let headers: Vec<HeaderRef<'_>> =
            headers.map(|header| HeaderRef { key: &header.key, value: header.value.as_deref() }).collect();
        self.last = record.offset;
        self.builder.append(&RecordRef {
            offset: record.offset,
            timestamp: record.timestamp,
            timestamp_type: record.timestamp_type,
            // No column has it.
            leader_epoch: LeaderEpoch::UNKNOWN,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        });
        if self.builder.is_full() {
            self.batches.push(self.builder.finish());
        }
    }

    fn finish(mut self, key: PartitionKey) -> Result<RunInput, segment::Error> {
        if !self.builder.is_empty() {
            self.batches.push(self.builder.finish());
        }
        let range = OffsetRange::new(self.first, self.last.next());
        let range = range.map_err(|error| segment::Error::Damaged(format!("{key}: {error}")))?;
        Ok(RunInput { key, range, bucket: self.bucket, batches: self.batches })
    }
}
