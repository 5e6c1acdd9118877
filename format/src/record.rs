//! The record we keep, independent of any Kafka client: borrowed as it arrives, owned as it is read back.
//!
//! Fidelity is typed (P6): key, value and header value may each be null, and null is not empty; headers keep order
//! and repeats; a header key is bytes, since brokers do not insist on UTF-8; the timestamp keeps its type.

use bytes::Bytes;

use crate::ids::{LeaderEpoch, Offset, TimestampMs};

/// Who set a record's timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimestampType {
    /// The producer, when it made the record.
    CreateTime,
    /// The broker, when it appended the record.
    LogAppendTime,
    /// Nobody: the record's format has no timestamp (then it reads −1).
    None,
}

impl TimestampType {
    /// The name in the `timestamp_type` column.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreateTime => "CreateTime",
            Self::LogAppendTime => "LogAppendTime",
            Self::None => "None",
        }
    }

    /// The type of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::CreateTime, Self::LogAppendTime, Self::None].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A header, borrowed from the client's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderRef<'a> {
    /// The key; any bytes.
    pub key: &'a [u8],
    /// The value; null is not empty.
    pub value: Option<&'a [u8]>,
}

/// A record, borrowed from the client's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp, whatever the producer wrote.
    pub timestamp: TimestampMs,
    /// Who set the timestamp.
    pub timestamp_type: TimestampType,
    /// The leader epoch of its batch.
    pub leader_epoch: LeaderEpoch,
    /// The key; null is not empty.
    pub key: Option<&'a [u8]>,
    /// The value; null (a tombstone) is not empty.
    pub value: Option<&'a [u8]>,
    /// The headers in their order.
    pub headers: &'a [HeaderRef<'a>],
}

impl RecordRef<'_> {
    /// As [`Record::batch_bytes`].
    pub fn batch_bytes(&self) -> usize {
        let headers = self.headers.iter().map(|header| (header.key.len(), header.value.map(<[u8]>::len)));
        batch_bytes(self.key.map(<[u8]>::len), self.value.map(<[u8]>::len), headers)
    }
}

/// The header of a record batch, which counts towards `max.message.bytes` as its records do.
const BATCH_HEADER_BYTES: usize = 61;

/// Attributes, and the distances of timestamp and offset to those of the batch: 0 for its first record.
const RECORD_FIXED_BYTES: usize = 3;

/// The bytes of a record batch (magic 2) that holds one record of these lengths alone, and is not compressed.
fn batch_bytes(
    key: Option<usize>,
    value: Option<usize>,
    headers: impl ExactSizeIterator<Item = (usize, Option<usize>)>,
) -> usize {
    let nullable = |len: Option<usize>| len.map_or(1, |len| varint_bytes(len) + len);
    let count = varint_bytes(headers.len());
    let headers: usize = headers.map(|(key, value)| varint_bytes(key) + key + nullable(value)).sum();
    let record = RECORD_FIXED_BYTES + nullable(key) + nullable(value) + count + headers;
    BATCH_HEADER_BYTES + varint_bytes(record) + record
}

/// Bytes of a length as a zig-zag varint: seven bits in each, of which the lowest is the sign.
fn varint_bytes(len: usize) -> usize {
    let bits = usize::BITS - ((len << 1) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// A header, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The key; any bytes.
    pub key: Bytes,
    /// The value; null is not empty.
    pub value: Option<Bytes>,
}

/// A record, owned, as a segment gives it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its offset.
    pub offset: Offset,
    /// Its exact timestamp.
    pub timestamp: TimestampMs,
    /// Who set the timestamp.
    pub timestamp_type: TimestampType,
    /// The key; null is not empty.
    pub key: Option<Bytes>,
    /// The value; null is not empty.
    pub value: Option<Bytes>,
    /// The headers in their order.
    pub headers: Vec<Header>,
}

impl Record {
    /// Bytes of its key, value and headers.
    pub fn raw_bytes(&self) -> usize {
        let size = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|header| header.key.len() + size(&header.value)).sum();
        size(&self.key) + size(&self.value) + headers
    }

    /// Bytes of the record batch (magic 2) that holds it alone and uncompressed: what a broker compares with
    /// `max.message.bytes`. A producer that compresses needs less, and never more.
    pub fn batch_bytes(&self) -> usize {
        let size = |bytes: &Option<Bytes>| bytes.as_ref().map(Bytes::len);
        let headers = self.headers.iter().map(|header| (header.key.len(), size(&header.value)));
        batch_bytes(size(&self.key), size(&self.value), headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>, headers: &'a [HeaderRef<'a>]) -> RecordRef<'a> {
        let (offset, timestamp, leader_epoch) = (Offset::new(7), TimestampMs::new(-1), LeaderEpoch::new(1));
        RecordRef { offset, timestamp, timestamp_type: TimestampType::CreateTime, leader_epoch, key, value, headers }
    }

    #[test]
    fn a48_a_batch_of_one_record_has_the_size_that_brokers_count() {
        assert_eq!(record(None, None, &[]).batch_bytes(), 68);
        assert_eq!(record(Some(b""), Some(b""), &[]).batch_bytes(), 68, "a null takes as much as nothing");
        assert_eq!(record(Some(b"key"), Some(b"value"), &[]).batch_bytes(), 76);
        let headers = [HeaderRef { key: b"h", value: None }, HeaderRef { key: b"h", value: Some(b"xy") }];
        assert_eq!(record(Some(b"key"), Some(b"value"), &headers).batch_bytes(), 76 + 3 + 5);
        // Where lengths take another byte: 63 is the last of one byte.
        assert_eq!(record(None, Some(&[0; 56]), &[]).batch_bytes(), 61 + 1 + 62);
        assert_eq!(record(None, Some(&[0; 58]), &[]).batch_bytes(), 61 + 2 + 64);
        assert_eq!(record(None, Some(&[0; 1 << 20]), &[]).batch_bytes(), 61 + 4 + 3 + 1 + 4 + (1 << 20) + 1);
    }

    #[test]
    fn a_borrowed_record_counts_as_an_owned_one() {
        let headers = [HeaderRef { key: b"h", value: Some(b"") }];
        let borrowed = record(None, Some(b"value"), &headers);
        let owned = Record {
            offset: borrowed.offset,
            timestamp: borrowed.timestamp,
            timestamp_type: borrowed.timestamp_type,
            key: None,
            value: Some(Bytes::from_static(b"value")),
            headers: vec![Header { key: Bytes::from_static(b"h"), value: Some(Bytes::new()) }],
        };
        assert_eq!(borrowed.batch_bytes(), owned.batch_bytes());
    }
}
