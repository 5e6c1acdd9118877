//! Rows of consumer groups as a Parquet file, below `groups/`.
//!
//! Owns: the columns, the settings they are written with, and what a row of each kind must hold. Does not own: where a
//! file is stored, or which manifest names it.
//!
//! Invariants: what comes back is what was put in; timestamps are exact, and not clamped as those of segments, since
//! the broker's clock set them and no producer could; hostile bytes end in an error (P9).

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowSchemaConverter;
use parquet::schema::types::SchemaDescriptor;

pub use self::decode::decode;
pub use self::encode::{GroupRun, encode, encode_image, in_files};
use super::row::{OffsetRow, RowKind};
use crate::segment::Error;

/// The most rows of a file.
pub const MAX_ROWS: u64 = 4 << 20;

/// The most bytes of texts and raw records in a file.
pub const MAX_RAW_BYTES: u64 = 1 << 30;

/// Says in the footer what the file holds, which segments do not have.
const KEY_CONTENT: &str = "strimzi_backup.content";
const CONTENT: &str = "consumerGroups";

/// The columns, in the order of the file.
static COLUMNS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let time = || DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("kind", DataType::Utf8, false),
        Field::new("group_id", DataType::Utf8, true),
        Field::new("topic", DataType::Utf8, true),
        Field::new("partition", DataType::Int32, true),
        Field::new("offset", DataType::Int64, true),
        Field::new("leader_epoch", DataType::Int32, true),
        Field::new("metadata", DataType::Utf8, true),
        Field::new("committed_at", time(), true),
        Field::new("topic_id", DataType::Utf8, true),
        Field::new("timestamp", time(), false),
        Field::new("lineage", DataType::Int32, false),
        Field::new("log_partition", DataType::Int32, false),
        Field::new("log_offset", DataType::Int64, false),
        Field::new("raw_key", DataType::Binary, true),
        Field::new("raw_value", DataType::Binary, true),
    ]))
});

/// The columns as Parquet stores them.
static STORED: LazyLock<SchemaDescriptor> = LazyLock::new(|| {
    let descriptor = ArrowSchemaConverter::new().schema_root("row").convert(&COLUMNS);
    descriptor.expect("a constant schema of types that Parquet has")
});

/// Fails where a row lacks what its kind must hold, or holds what it must not.
fn check_row(row: &OffsetRow) -> Result<(), Error> {
    let named = row.group.is_some() && row.topic.is_some() && row.partition.is_some();
    let unnamed = row.topic.is_none() && row.partition.is_none();
    let raw = row.raw_key.is_some() || row.raw_value.is_some();
    let right = match row.kind {
        RowKind::Commit | RowKind::Image => named && row.committed.is_some() && !raw,
        RowKind::Delete => named && row.committed.is_none() && !raw,
        RowKind::Raw => unnamed && row.committed.is_none(),
    };
    let numbers = [row.lineage.get(), row.log_partition.get(), row.partition.map_or(0, |number| number.get())];
    let offsets = [row.log_offset.get(), row.committed.as_ref().map_or(0, |committed| committed.offset.get())];
    if right && numbers.iter().all(|number| *number >= 0) && offsets.iter().all(|offset| *offset >= 0) {
        return Ok(());
    }
    Err(contradiction(row, "does not hold what a row of its kind holds"))
}

fn contradiction(row: &OffsetRow, what: &str) -> Error {
    let (kind, offset, partition) = (row.kind.as_str(), row.log_offset, row.log_partition);
    Error::Damaged(format!("the {kind} row of offset {offset} in partition {partition} of __consumer_offsets {what}"))
}
