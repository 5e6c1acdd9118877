//! Records of one partition, column by column, as they arrive: the hot path of the poll thread.
//!
//! Owns: taking borrowed records in (one copy of each byte) and the immutable arrays they become. Does not own: whose
//! records they are, or any compression.
//!
//! Invariants: a batch holds exactly the bytes that were appended; what is absent costs nothing (no null mask without
//! a null, no header arrays without a header). Rising offsets are checked where batches become a run ([`super::encode`]).

use std::sync::Arc;

use arrow_array::{ArrayRef, LargeBinaryArray, LargeListArray, StructArray};
use arrow_buffer::{Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;

use super::headers;
use super::plain::packed::FilledPage;
pub use super::plain::packed::Packer;
use super::plain::page::PlainColumn;
use super::run_lengths::RunLengths;
use crate::ids::{LeaderEpoch, Offset, TimestampMs};
use crate::record::{HeaderRef, RecordRef, TimestampType};
use crate::schema;

/// A batch is full at this size: big enough for the encoder, small enough that a half-full one wastes little.
const BATCH_BYTES: usize = 1 << 20;

/// Values after which a batch is full, however small: a reader's limit on a row group counts them.
const BATCH_VALUES: usize = 1 << 18;

/// A growing column of byte strings.
struct BytesColumn {
    data: Vec<u8>,
    /// Where each value ends, after a leading 0.
    ends: Vec<i64>,
    /// Allocates only once a null comes.
    nulls: NullBufferBuilder,
}

impl BytesColumn {
    fn new() -> Self {
        Self { data: Vec::new(), ends: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }

    fn rows(&self) -> usize {
        self.ends.len().saturating_sub(1)
    }

    fn push(&mut self, value: Option<&[u8]>) {
        if self.ends.is_empty() {
            self.ends.push(0);
        }
        match value {
            Some(bytes) => {
                self.data.extend_from_slice(bytes);
                self.nulls.append_non_null();
            }
            None => self.nulls.append_null(),
        }
        self.ends.push(index(self.data.len()));
    }

    fn push_nulls(&mut self, rows: usize) {
        (0..rows).for_each(|_| self.push(None));
    }

    fn memory(&self) -> usize {
        self.data.capacity() + self.ends.capacity() * size_of::<i64>() + self.nulls.allocated_size()
    }

    fn finish(mut self) -> LargeBinaryArray {
        if self.ends.is_empty() {
            self.ends.push(0);
        }
        let ends = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        LargeBinaryArray::new(ends, Buffer::from_vec(self.data), self.nulls.finish())
    }
}

fn index(len: usize) -> i64 {
    i64::try_from(len).expect("no allocation is larger than i64::MAX bytes")
}

/// The headers of all rows, made when the first header comes.
struct HeaderColumns {
    /// Where each row's headers end, after a leading 0.
    ends: Vec<i64>,
    keys: BytesColumn,
    values: BytesColumn,
    /// Exact headers of the rare rows whose keys are not UTF-8; rows after the last of them are not in it yet.
    raw: BytesColumn,
    scratch: Vec<u8>,
}

impl HeaderColumns {
    fn after(rows: usize) -> Self {
        let (keys, values, raw) = (BytesColumn::new(), BytesColumn::new(), BytesColumn::new());
        Self { ends: vec![0; rows + 1], keys, values, raw, scratch: Vec::new() }
    }

    fn push(&mut self, headers: &[HeaderRef<'_>]) {
        let row = self.ends.len() - 1;
        let mut text = true;
        for header in headers {
            match str::from_utf8(header.key) {
                Ok(_) => self.keys.push(Some(header.key)),
                Err(_) => {
                    text = false;
                    self.keys.push(Some(String::from_utf8_lossy(header.key).as_bytes()));
                }
            }
            self.values.push(header.value);
        }
        self.ends.push(index(self.keys.rows()));
        if !text {
            self.raw.push_nulls(row - self.raw.rows());
            self.scratch.clear();
            headers::encode(headers, &mut self.scratch);
            self.raw.push(Some(&self.scratch));
        }
    }

    fn memory(&self) -> usize {
        let arrays = self.keys.memory() + self.values.memory() + self.raw.memory();
        arrays + self.ends.capacity() * size_of::<i64>() + self.scratch.capacity()
    }

    fn finish(mut self, rows: usize) -> (LargeListArray, Option<LargeBinaryArray>) {
        let raw = (self.raw.rows() > 0).then(|| {
            self.raw.push_nulls(rows - self.raw.rows());
            self.raw.finish()
        });
        let element = schema::written_header();
        let DataType::Struct(fields) = element.data_type() else {
            unreachable!("the constant schema holds a struct here")
        };
        let columns: Vec<ArrayRef> = vec![Arc::new(self.keys.finish()), Arc::new(self.values.finish())];
        let structs = StructArray::new(fields.clone(), columns, None);
        let ends = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        (LargeListArray::new(element, ends, Arc::new(structs), None), raw)
    }
}

/// Takes records in, one by one.
pub struct BatchBuilder {
    /// Rows that the next batch is expected to hold, so that its columns need not grow step by step; 0: few.
    expected_rows: usize,
    raw_bytes: usize,
    largest_record: usize,
    header_count: usize,
    offsets: Vec<i64>,
    timestamps: Vec<i64>,
    types: RunLengths<TimestampType>,
    epochs: RunLengths<LeaderEpoch>,
    key: PlainColumn,
    value: PlainColumn,
    headers: Option<Box<HeaderColumns>>,
}

impl std::fmt::Debug for BatchBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BatchBuilder({} rows, {} bytes)", self.rows(), self.raw_bytes)
    }
}

impl BatchBuilder {
    /// An empty builder. One that is expected to fill batches allocates at once what they take; another grows from nothing,
    /// which suits partitions with little traffic.
    pub fn new(fills_batches: bool) -> Self {
        Self::expecting(usize::from(fills_batches))
    }

    fn expecting(expected_rows: usize) -> Self {
        Self {
            expected_rows,
            raw_bytes: 0,
            largest_record: 0,
            header_count: 0,
            offsets: Vec::with_capacity(expected_rows),
            timestamps: Vec::with_capacity(expected_rows),
            types: RunLengths::default(),
            epochs: RunLengths::default(),
            // Keys are small beside values: a batch of them seldom fills a page.
            key: PlainColumn::new(false),
            value: PlainColumn::new(expected_rows > 0),
            headers: None,
        }
    }

    /// Copies one record in.
    pub fn append(&mut self, record: &RecordRef<'_>) {
        self.append_and_pack(record, None);
    }

    /// Copies one record in. A page of values that it fills is compressed at once where there is a packer; then the batch can only be
    /// encoded with that packer's codec.
    pub fn append_and_pack(&mut self, record: &RecordRef<'_>, packer: Option<&mut Packer>) {
        let rows = self.offsets.len();
        self.offsets.push(record.offset.get());
        self.timestamps.push(record.timestamp.get());
        self.types.push(record.timestamp_type);
        self.epochs.push(record.leader_epoch);
        self.key.push(record.key, None);
        self.value.push(record.value, packer);
        if self.headers.is_some() || !record.headers.is_empty() {
            self.headers.get_or_insert_with(|| Box::new(HeaderColumns::after(rows))).push(record.headers);
        }
        self.header_count += record.headers.len();
        self.raw_bytes += record_bytes(record);
        self.largest_record = self.largest_record.max(record.batch_bytes());
    }

    /// Bytes of keys, values and headers taken in.
    pub fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    /// Bytes allocated, used or not: what the byte budget counts.
    pub fn memory(&self) -> usize {
        let fixed = (self.offsets.capacity() + self.timestamps.capacity()) * size_of::<i64>();
        let headers = self.headers.as_ref().map_or(0, |headers| headers.memory());
        fixed + self.key.memory() + self.value.memory() + headers
    }

    /// Records taken in.
    pub fn rows(&self) -> usize {
        self.offsets.len()
    }

    /// Whether nothing was taken in.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Whether the batch should end here: it is large enough, and no page of values is split.
    pub fn is_full(&self) -> bool {
        let enough =
            self.raw_bytes >= BATCH_BYTES && (self.value.is_at_page_end() || self.raw_bytes >= 2 * BATCH_BYTES);
        enough || self.rows() + self.header_count >= BATCH_VALUES
    }

    /// What was taken in; the builder is empty afterwards and expects as much again.
    pub fn finish(&mut self) -> Batch {
        let memory = self.memory();
        let (key, value) = (self.key.finish(), self.value.finish());
        let memory = memory - self.value.memory();
        // A little more than last time, since a column that just overflows is copied whole.
        let expected_rows = if self.expected_rows == 0 { 0 } else { self.rows() + self.rows() / 8 };
        // What the last page was filled in serves the next one, where it is not given away.
        let next = Self { value: std::mem::take(&mut self.value), ..Self::expecting(expected_rows) };
        let done = std::mem::replace(self, next);
        let rows = done.rows();
        let (headers, headers_raw) = done.headers.map(|headers| headers.finish(rows)).unzip();
        Batch {
            raw_bytes: done.raw_bytes,
            largest_record: done.largest_record,
            memory,
            offsets: done.offsets.into(),
            timestamps: done.timestamps.into(),
            types: done.types,
            epochs: done.epochs,
            key,
            value,
            headers,
            headers_raw: headers_raw.flatten(),
        }
    }
}

fn record_bytes(record: &RecordRef<'_>) -> usize {
    let len = |value: Option<&[u8]>| value.map_or(0, <[u8]>::len);
    let headers: usize = record.headers.iter().map(|header| header.key.len() + len(header.value)).sum();
    len(record.key) + len(record.value) + headers
}

/// Records of one partition, immutable.
#[derive(Clone, Debug)]
pub struct Batch {
    raw_bytes: usize,
    largest_record: usize,
    memory: usize,
    pub(crate) offsets: ScalarBuffer<i64>,
    pub(crate) timestamps: ScalarBuffer<i64>,
    pub(crate) types: RunLengths<TimestampType>,
    epochs: RunLengths<LeaderEpoch>,
    pub(crate) key: Vec<FilledPage>,
    pub(crate) value: Vec<FilledPage>,
    pub(crate) headers: Option<LargeListArray>,
    pub(crate) headers_raw: Option<LargeBinaryArray>,
}

impl Batch {
    /// Its records.
    pub fn rows(&self) -> usize {
        self.offsets.len()
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Bytes of keys, values and headers.
    pub fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    /// The most bytes that one record of it takes in a batch of its own ([`crate::record::Record::batch_bytes`]); 0 where
    /// there is none.
    pub fn largest_record(&self) -> usize {
        self.largest_record
    }

    /// Bytes allocated.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// The offset of the first record.
    pub fn first_offset(&self) -> Option<Offset> {
        self.offsets.first().copied().map(Offset::new)
    }

    /// The offset of the last record.
    pub fn last_offset(&self) -> Option<Offset> {
        self.offsets.last().copied().map(Offset::new)
    }

    /// The lowest exact timestamp.
    pub fn min_timestamp(&self) -> Option<TimestampMs> {
        self.timestamps.iter().min().copied().map(TimestampMs::new)
    }

    /// The highest exact timestamp.
    pub fn max_timestamp(&self) -> Option<TimestampMs> {
        self.timestamps.iter().max().copied().map(TimestampMs::new)
    }

    /// The exact timestamps, in the order of the records.
    pub fn timestamps(&self) -> &[i64] {
        &self.timestamps
    }

    /// The offsets, in the order of the records.
    pub fn offsets(&self) -> &[i64] {
        &self.offsets
    }

    /// The leader epoch of the last record; unknown where there is none.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.epochs.last().unwrap_or(LeaderEpoch::UNKNOWN)
    }

    /// What a reader's limit on a row group counts: its records and their headers.
    pub fn values(&self) -> usize {
        self.rows() + self.headers.as_ref().map_or(0, |headers| span(headers.value_offsets()))
    }
}

/// How much lies between the first and the last of some offsets.
fn span(offsets: &[i64]) -> usize {
    let ends = offsets.first().zip(offsets.last());
    ends.and_then(|(first, last)| usize::try_from(last - first).ok()).unwrap_or(0)
}
