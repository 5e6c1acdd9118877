//! Records as lines of JSON: text where bytes are UTF-8, and else `{"base64": …}`. Null is `null`, and not empty.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use strimzi_backup_format::ids::{Lineage, Offset, PartitionId, TimestampMs, TopicName};
use strimzi_backup_format::record::Header;
use strimzi_backup_format::segment::decode::Row;

use super::Form;
use super::sink::{Sink, failed};
use crate::error::Error;

/// A record, as a line has it. Timestamps are milliseconds since 1970-01-01T00:00:00Z, whatever the producer wrote.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    topic: &'a TopicName,
    lineage: Lineage,
    partition: PartitionId,
    offset: Offset,
    timestamp: TimestampMs,
    timestamp_type: &'static str,
    key: Option<Text<'a>>,
    value: Option<Text<'a>>,
    headers: Vec<HeaderText<'a>>,
}

#[derive(Serialize)]
struct HeaderText<'a> {
    key: Text<'a>,
    value: Option<Text<'a>>,
}

/// Bytes, as JSON can have them.
struct Text<'a>(&'a [u8]);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = std::str::from_utf8(self.0) {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("base64", &BASE64.encode(self.0))?;
        map.end()
    }
}

impl<'a> HeaderText<'a> {
    fn of(header: &'a Header) -> Self {
        Self { key: Text(&header.key), value: header.value.as_deref().map(Text) }
    }
}

impl<'a> Line<'a> {
    fn of((key, record): &'a Row) -> Self {
        Self {
            topic: &key.topic,
            lineage: key.lineage,
            partition: key.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            timestamp_type: record.timestamp_type.as_str(),
            key: record.key.as_deref().map(Text),
            value: record.value.as_deref().map(Text),
            headers: record.headers.iter().map(HeaderText::of).collect(),
        }
    }
}

/// A copy as lines.
#[derive(Debug)]
pub(super) struct Lines {
    sink: Sink,
}

impl Lines {
    pub(super) fn new(sink: Sink) -> Self {
        Self { sink }
    }
}

impl Form for Lines {
    fn take(&mut self, rows: Vec<Row>) -> Result<(), Error> {
        rows.iter().try_for_each(|row| write_line(&mut self.sink, row)).map_err(failed)
    }

    fn finish(self) -> Result<(), Error> {
        self.sink.keep()
    }
}

fn write_line(sink: &mut impl Write, row: &Row) -> io::Result<()> {
    serde_json::to_writer(&mut *sink, &Line::of(row))?;
    sink.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use strimzi_backup_format::record::{Record, TimestampType};
    use strimzi_backup_format::sample::key;

    use super::*;

    #[test]
    fn a_line_tells_text_from_bytes_and_null_from_empty() {
        let bytes = |bytes: &'static [u8]| Some(Bytes::from_static(bytes));
        let header = |key: &'static [u8], value| Header { key: Bytes::from_static(key), value };
        let record = Record {
            offset: Offset::new(7),
            timestamp: TimestampMs::new(-1),
            timestamp_type: TimestampType::CreateTime,
            key: bytes(b"caf\xc3\xa9 \"1\""),
            value: bytes(b"\xff\x00"),
            headers: vec![header(b"trace", None), header(b"trace", bytes(b"")), header(b"\xfe", bytes(b"x"))],
        };
        let mut lines = Vec::new();
        let tombstone = Record { key: None, value: None, headers: Vec::new(), ..record.clone() };
        for record in [record, tombstone] {
            write_line(&mut lines, &(key("orders", 0, 3), record)).expect("memory");
        }
        insta::assert_snapshot!(String::from_utf8(lines).expect("text"), @r#"
        {"topic":"orders","lineage":0,"partition":3,"offset":7,"timestamp":-1,"timestampType":"CreateTime","key":"café \"1\"","value":{"base64":"/wA="},"headers":[{"key":"trace","value":null},{"key":"trace","value":""},{"key":{"base64":"/g=="},"value":"x"}]}
        {"topic":"orders","lineage":0,"partition":3,"offset":7,"timestamp":-1,"timestampType":"CreateTime","key":null,"value":null,"headers":[]}
        "#);
    }
}
