//! From batches to the arrays of a row group's columns.
//!
//! Owns: joining small batches, so that many small partitions cost no more than one large one; columns that repeat over
//! whole runs; clamped timestamps; where pages end. Does not own: compression ([`super::encode`]).

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, DictionaryArray, Int32Array, Int64Array, LargeBinaryArray, LargeListArray,
    TimestampMillisecondArray, new_empty_array,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::ArrowError;
use arrow_select::concat::concat;

use super::batch::Batch;
use crate::ids::PartitionKey;
use crate::schema::{self, MAX_TIMESTAMP, MIN_TIMESTAMP, column};

/// Rows after which a page of offsets or timestamps ends: they pack so well that by bytes alone one page would hold the
/// whole row group, and the page index could skip nothing.
pub(crate) const INDEXED_PAGE_ROWS: usize = 1024;

/// Batches smaller than this are joined before they are encoded: each write to the encoder costs a few microseconds,
/// and a copy of this size costs less.
const JOIN_BYTES: usize = 128 << 10;

/// Rows after which batches are no longer joined, however small their records.
const JOIN_ROWS: usize = 16 << 10;

/// Batches that wait to be encoded together.
#[derive(Default)]
pub(crate) struct Pending {
    batches: Vec<(Arc<PartitionKey>, Batch)>,
    raw_bytes: usize,
    rows: usize,
}

impl Pending {
    pub(crate) fn push(&mut self, key: Arc<PartitionKey>, batch: Batch) {
        self.raw_bytes += batch.raw_bytes();
        self.rows += batch.rows();
        self.batches.push((key, batch));
    }

    pub(crate) fn is_full(&self) -> bool {
        self.raw_bytes >= JOIN_BYTES || self.rows >= JOIN_ROWS
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// One array per column of [`schema::WRITTEN`] but keys and values.
    pub(crate) fn columns(&self) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut columns = Vec::with_capacity(column::COUNT);
        columns.push(self.repeated(self.batches.iter().map(|(key, batch)| (key.topic.as_str(), batch.rows()))));
        columns.push(self.repeated_number(|key| key.lineage.get()));
        columns.push(self.repeated_number(|key| key.partition.get()));
        columns.push(Arc::new(Int64Array::new(self.numbers(|batch| &batch.offsets), None)));
        let exact = self.numbers(|batch| &batch.timestamps);
        let (timestamp, timestamp_raw) = timestamps(exact);
        columns.push(timestamp);
        let types = self.batches.iter().flat_map(|(_, batch)| batch.types.iter());
        columns.push(self.repeated(types.map(|(kind, rows)| (kind.as_str(), rows))));
        columns.push(self.headers()?);
        columns.push(self.headers_raw()?);
        columns.push(timestamp_raw);
        Ok(columns)
    }

    /// A dictionary of texts that each stand for some rows.
    fn repeated<'a>(&self, runs: impl Iterator<Item = (&'a str, usize)>) -> ArrayRef {
        let mut texts: Vec<&str> = Vec::new();
        let mut keys: Vec<i32> = Vec::with_capacity(self.rows);
        for (text, rows) in runs {
            if texts.last() != Some(&text) {
                texts.push(text);
            }
            let key = i32::try_from(texts.len() - 1).expect("a row group holds fewer than 2^31 runs");
            keys.resize(keys.len() + rows, key);
        }
        let values = BinaryArray::from_iter_values(texts);
        Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::from(keys), Arc::new(values)))
    }

    fn repeated_number(&self, number: impl Fn(&PartitionKey) -> i32) -> ArrayRef {
        let mut numbers: Vec<i32> = Vec::with_capacity(self.rows);
        for (key, batch) in &self.batches {
            numbers.resize(numbers.len() + batch.rows(), number(key));
        }
        Arc::new(Int32Array::from(numbers))
    }

    fn numbers(&self, of: impl Fn(&Batch) -> &ScalarBuffer<i64>) -> ScalarBuffer<i64> {
        match self.batches.as_slice() {
            [(_, batch)] => of(batch).clone(),
            batches => batches.iter().flat_map(|(_, batch)| of(batch).iter().copied()).collect(),
        }
    }

    fn joined(&self, of: impl Fn(&Batch) -> ArrayRef) -> Result<ArrayRef, ArrowError> {
        let arrays: Vec<ArrayRef> = self.batches.iter().map(|(_, batch)| of(batch)).collect();
        match arrays.as_slice() {
            [array] => Ok(Arc::clone(array)),
            arrays => concat(&arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
        }
    }

    fn headers(&self) -> Result<ArrayRef, ArrowError> {
        if self.batches.iter().all(|(_, batch)| batch.headers.is_none()) {
            return Ok(Arc::new(no_headers(self.rows)));
        }
        self.joined(|batch| match &batch.headers {
            Some(headers) => Arc::new(headers.clone()),
            None => Arc::new(no_headers(batch.rows())),
        })
    }

    fn headers_raw(&self) -> Result<ArrayRef, ArrowError> {
        if self.batches.iter().all(|(_, batch)| batch.headers_raw.is_none()) {
            return Ok(Arc::new(LargeBinaryArray::new_null(self.rows)));
        }
        self.joined(|batch| match &batch.headers_raw {
            Some(raw) => Arc::new(raw.clone()),
            None => Arc::new(LargeBinaryArray::new_null(batch.rows())),
        })
    }
}

/// Says where the pages of one column end. The Parquet writer looks at a page only after each write, so pages of offsets and
/// timestamps would grow beyond their limit unless no write goes beyond the row that reaches it.
pub(crate) struct PageCutter {
    limit: usize,
    rows: usize,
}

impl PageCutter {
    /// The cutter of a column.
    pub(crate) fn of(at: usize) -> Self {
        let indexed = matches!(at, column::OFFSET | column::TIMESTAMP);
        Self { limit: if indexed { INDEXED_PAGE_ROWS } else { usize::MAX }, rows: 0 }
    }

    /// How many of the rows that are left go to the writer at once.
    pub(crate) fn take(&mut self, left: usize) -> usize {
        let rows = left.min(self.limit - self.rows);
        self.rows = (self.rows + rows) % self.limit;
        rows
    }
}

fn no_headers(rows: usize) -> LargeListArray {
    let element = schema::written_header();
    let offsets = OffsetBuffer::new_zeroed(rows);
    let none = new_empty_array(element.data_type());
    LargeListArray::new(element, offsets, none, None)
}

/// The timestamps as query engines can hold them, and the exact ones of the rows where that is something else.
fn timestamps(exact: ScalarBuffer<i64>) -> (ArrayRef, ArrayRef) {
    let representable = MIN_TIMESTAMP..=MAX_TIMESTAMP;
    if exact.iter().all(|millis| representable.contains(millis)) {
        let none = Arc::new(Int64Array::new_null(exact.len()));
        return (Arc::new(TimestampMillisecondArray::new(exact, None).with_timezone("UTC")), none);
    }
    let raw: Int64Array = exact.iter().map(|millis| (!representable.contains(millis)).then_some(*millis)).collect();
    let clamped: ScalarBuffer<i64> = exact.iter().map(|millis| (*millis).clamp(MIN_TIMESTAMP, MAX_TIMESTAMP)).collect();
    (Arc::new(TimestampMillisecondArray::new(clamped, None).with_timezone("UTC")), Arc::new(raw))
}
