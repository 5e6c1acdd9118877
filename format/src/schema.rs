//! The columns of a segment: the one place that names them.
//!
//! Owns: column names, their types as stored and as read back, the settings each is written with. Does not own: how
//! rows get in and out ([`crate::segment`]).
//!
//! Invariants: the stored schema never changes under one [`SCHEMA_VERSION`]; the array types handed to the writer and
//! those asked of the reader map to the same stored columns (a test compares them).

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowSchemaConverter;
use parquet::schema::types::SchemaDescriptor;

/// The version of the columns below, in every footer.
pub const SCHEMA_VERSION: u32 = 1;

/// Milliseconds of 0001-01-01T00:00:00.000Z, the first instant every query engine can hold.
pub const MIN_TIMESTAMP: i64 = -62_135_596_800_000;

/// Milliseconds of 9999-12-31T23:59:59.999Z, the last one.
pub const MAX_TIMESTAMP: i64 = 253_402_300_799_999;

/// Where each column stands, in the order of the file.
pub mod column {
    /// The topic's name.
    pub const TOPIC: usize = 0;
    /// Which life of the topic.
    pub const LINEAGE: usize = 1;
    /// The partition.
    pub const PARTITION: usize = 2;
    /// The offset.
    pub const OFFSET: usize = 3;
    /// The timestamp, clamped to what query engines hold.
    pub const TIMESTAMP: usize = 4;
    /// Who set the timestamp.
    pub const TIMESTAMP_TYPE: usize = 5;
    /// The key.
    pub const KEY: usize = 6;
    /// The value.
    pub const VALUE: usize = 7;
    /// The headers as a list.
    pub const HEADERS: usize = 8;
    /// The exact headers, where the list cannot hold them.
    pub const HEADERS_RAW: usize = 9;
    /// The exact timestamp, where `timestamp` stands clamped.
    pub const TIMESTAMP_RAW: usize = 10;
    /// How many there are.
    pub const COUNT: usize = 11;
}

/// Which Arrow types stand for the stored text, bytes and lists.
#[derive(Clone)]
struct Types {
    /// `topic` and `timestamp_type`, which repeat over whole runs.
    repeated: DataType,
    header_key: DataType,
    bytes: DataType,
    wide_list: bool,
}

fn header_fields(types: &Types) -> Fields {
    let key = Field::new("key", types.header_key.clone(), false);
    let value = Field::new("value", types.bytes.clone(), true);
    Fields::from(vec![key, value])
}

fn list_of(element: Arc<Field>, wide: bool) -> DataType {
    if wide { DataType::LargeList(element) } else { DataType::List(element) }
}

fn schema(types: &Types) -> Schema {
    let header = Arc::new(Field::new("element", DataType::Struct(header_fields(types)), false));
    let timestamp = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Schema::new(vec![
        Field::new("topic", types.repeated.clone(), false),
        Field::new("lineage", DataType::Int32, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp", timestamp, false),
        Field::new("timestamp_type", types.repeated.clone(), false),
        Field::new("key", types.bytes.clone(), true),
        Field::new("value", types.bytes.clone(), true),
        Field::new("headers", list_of(header, types.wide_list), false),
        Field::new("headers_raw", types.bytes.clone(), true),
        Field::new("timestamp_raw", DataType::Int64, true),
    ])
}

/// The arrays the writer is given. Text is handed over as bytes, since it was checked to be UTF-8 when it was taken in
/// and an Arrow string array would check it again; columns that repeat come as dictionaries, so that nobody copies a
/// topic's name for each row; offsets are 64 bits wide, so that no batch can be too large for its arrays.
pub(crate) static WRITTEN: LazyLock<SchemaRef> = LazyLock::new(|| {
    let repeated = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Binary));
    let bytes = DataType::LargeBinary;
    Arc::new(schema(&Types { repeated, header_key: bytes.clone(), bytes, wide_list: true }))
});

/// The arrays asked of the reader: views, which share the bytes of the page instead of copying them.
pub(crate) static READ: LazyLock<SchemaRef> = LazyLock::new(|| {
    let (text, bytes) = (DataType::Utf8View, DataType::BinaryView);
    Arc::new(schema(&Types { repeated: text.clone(), header_key: text, bytes, wide_list: false }))
});

/// The columns as Parquet stores them.
pub(crate) static STORED: LazyLock<Arc<SchemaDescriptor>> = LazyLock::new(|| {
    let descriptor = ArrowSchemaConverter::new().schema_root("record").convert(&READ);
    Arc::new(descriptor.expect("a constant schema of types that Parquet has"))
});

/// The fields of one header among the arrays the writer is given.
pub(crate) fn written_header() -> Arc<Field> {
    match WRITTEN.field(column::HEADERS).data_type() {
        DataType::LargeList(element) => Arc::clone(element),
        _ => unreachable!("the constant schema above holds a large list here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_stored_as_what_is_read_but_for_the_text_annotation() {
        let written = ArrowSchemaConverter::new().convert(&WRITTEN).expect("schema");
        assert_eq!(STORED.num_columns(), written.num_columns());
        for (stored, written) in STORED.columns().iter().zip(written.columns()) {
            assert_eq!(stored.path(), written.path());
            assert_eq!(stored.physical_type(), written.physical_type());
            assert_eq!(stored.max_def_level(), written.max_def_level());
            assert_eq!(stored.max_rep_level(), written.max_rep_level());
        }
    }

    #[test]
    fn the_bounds_are_the_first_and_last_instant_of_the_calendar() {
        let text = |millis| crate::ids::TimestampMs::new(millis).to_rfc3339();
        assert_eq!(text(MIN_TIMESTAMP), "0001-01-01T00:00:00.000Z");
        assert_eq!(text(MAX_TIMESTAMP), "9999-12-31T23:59:59.999Z");
        assert_eq!(WRITTEN.fields().len(), column::COUNT);
    }
}
