//! Decoded columns, and the records in their rows.
//!
//! Owns: the way back from columns to a record, without copying keys and values. Does not own: where columns come from.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{
    Array as _, ArrayRef, BinaryViewArray, Int32Array, Int64Array, ListArray, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use arrow_buffer::Buffer;
use bytes::Bytes;

use super::{Error, headers};
use crate::ids::{Offset, PartitionKey, TimestampMs};
use crate::offset_range::OffsetRange;
use crate::record::{Header, Record, TimestampType};
use crate::schema::{MAX_TIMESTAMP, MIN_TIMESTAMP};

/// A column of bytes whose values share the memory of their pages.
struct BytesView {
    array: BinaryViewArray,
    pages: Vec<Bytes>,
}

struct Page(Buffer);

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl BytesView {
    fn new(array: &BinaryViewArray) -> Self {
        let pages = array.data_buffers().iter().map(|page| Bytes::from_owner(Page(page.clone()))).collect();
        Self { array: array.clone(), pages }
    }

    fn get(&self, row: usize) -> Option<Bytes> {
        if self.array.is_null(row) {
            return None;
        }
        let view = arrow_data_view(self.array.views()[row]);
        let page = view.and_then(|(page, at, len)| Some(self.pages.get(page)?.slice(at..at.checked_add(len)?)));
        Some(page.unwrap_or_else(|| Bytes::copy_from_slice(self.array.value(row))))
    }
}

/// Page, start and length of a value that is not held in the view itself.
fn arrow_data_view(view: u128) -> Option<(usize, usize, usize)> {
    let word = |shift: u32| usize::try_from((view >> shift) & 0xffff_ffff).ok();
    let len = word(0)?;
    if len <= 12 { None } else { Some((word(64)?, word(96)?, len)) }
}

/// The columns of some rows.
pub(crate) struct Columns {
    topic: StringViewArray,
    lineage: Int32Array,
    partition: Int32Array,
    offset: Int64Array,
    timestamp: TimestampMillisecondArray,
    timestamp_type: StringViewArray,
    key: BytesView,
    value: BytesView,
    headers: ListArray,
    header_key: StringViewArray,
    header_value: BytesView,
    headers_raw: BytesView,
    timestamp_raw: Int64Array,
}

impl Columns {
    pub(crate) fn new(batch: &RecordBatch) -> Result<Self, Error> {
        let foreign = || Error::damaged("a column is not of its type");
        let [topic, lineage, partition, offset, timestamp, timestamp_type, key, value, headers, headers_raw, raw] =
            batch.columns()
        else {
            return Err(foreign());
        };
        let bytes = |array: &ArrayRef| array.as_binary_view_opt().map(BytesView::new).ok_or_else(foreign);
        let headers = headers.as_list_opt::<i32>().ok_or_else(foreign)?.clone();
        let entries = headers.values().as_struct_opt().ok_or_else(foreign)?;
        let [header_key, header_value] = entries.columns() else {
            return Err(foreign());
        };
        Ok(Self {
            topic: topic.as_string_view_opt().ok_or_else(foreign)?.clone(),
            lineage: lineage.as_primitive_opt::<Int32Type>().ok_or_else(foreign)?.clone(),
            partition: partition.as_primitive_opt::<Int32Type>().ok_or_else(foreign)?.clone(),
            offset: offset.as_primitive_opt::<Int64Type>().ok_or_else(foreign)?.clone(),
            timestamp: timestamp.as_primitive_opt::<TimestampMillisecondType>().ok_or_else(foreign)?.clone(),
            timestamp_type: timestamp_type.as_string_view_opt().ok_or_else(foreign)?.clone(),
            key: bytes(key)?,
            value: bytes(value)?,
            header_key: header_key.as_string_view_opt().ok_or_else(foreign)?.clone(),
            header_value: bytes(header_value)?,
            headers,
            headers_raw: bytes(headers_raw)?,
            timestamp_raw: raw.as_primitive_opt::<Int64Type>().ok_or_else(foreign)?.clone(),
        })
    }

    pub(crate) fn rows(&self) -> usize {
        self.offset.len()
    }

    /// Whether the row is one that its run may hold.
    pub(crate) fn check(&self, row: usize, key: &PartitionKey, range: OffsetRange, next: Offset) -> Result<(), Error> {
        let offset = self.offset(row);
        let same = self.topic.value(row) == key.topic.as_str()
            && self.lineage.value(row) == key.lineage.get()
            && self.partition.value(row) == key.partition.get();
        if same && next <= offset && range.contains(offset) {
            return Ok(());
        }
        Err(Error::Damaged(format!("the row of offset {offset} does not belong to run {} of {key}", range)))
    }

    pub(crate) fn offset(&self, row: usize) -> Offset {
        Offset::new(self.offset.value(row))
    }

    pub(crate) fn record(&self, row: usize) -> Result<Record, Error> {
        let kind = self.timestamp_type.value(row);
        Ok(Record {
            offset: self.offset(row),
            timestamp: self.timestamp(row)?,
            timestamp_type: TimestampType::parse(kind)
                .ok_or_else(|| Error::Damaged(format!("there is no timestamp type {kind:?}")))?,
            key: self.key.get(row),
            value: self.value.get(row),
            headers: self.headers(row)?,
        })
    }

    /// The exact timestamp.
    pub(crate) fn timestamp(&self, row: usize) -> Result<TimestampMs, Error> {
        let shown = self.timestamp.value(row);
        if self.timestamp_raw.is_null(row) {
            return Ok(TimestampMs::new(shown));
        }
        let exact = self.timestamp_raw.value(row);
        if exact.clamp(MIN_TIMESTAMP, MAX_TIMESTAMP) == shown {
            return Ok(TimestampMs::new(exact));
        }
        let offset = self.offset.value(row);
        Err(Error::Damaged(format!("the two timestamps of the record at offset {offset} contradict each other")))
    }

    fn headers(&self, row: usize) -> Result<Vec<Header>, Error> {
        if let Some(raw) = self.headers_raw.get(row) {
            return headers::decode(raw);
        }
        let range = self.headers.value_offsets();
        let end = |row: usize| range.get(row).and_then(|end| usize::try_from(*end).ok()).unwrap_or(0);
        let entries = end(row)..end(row + 1);
        Ok(entries.map(|at| Header { key: self.header_key_at(at), value: self.header_value.get(at) }).collect())
    }

    fn header_key_at(&self, at: usize) -> Bytes {
        Bytes::copy_from_slice(self.header_key.value(at).as_bytes())
    }
}
