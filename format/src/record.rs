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
}
