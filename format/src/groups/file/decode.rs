//! From the bytes of a file back to rows.
//!
//! Owns: the limits on what a file may claim, and the check of each row. Does not own: fetching the bytes, and comparing
//! their digest with that in the manifest.
//!
//! Invariants: no panic whatever the bytes; nothing is unpacked before its size was looked at.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData};

use super::{COLUMNS, CONTENT, KEY_CONTENT, MAX_RAW_BYTES, MAX_ROWS, STORED, check_row};
use crate::crypt::FileOpener;
use crate::groups::CommittedOffset;
use crate::groups::row::{OffsetRow, RowKind};
use crate::ids::{GroupId, IllegalName, LeaderEpoch, Lineage, Offset, PartitionId, TimestampMs, TopicId, TopicName};
use crate::schema::SCHEMA_VERSION;
use crate::segment::footer::{
    KEY_SCHEMA_VERSION, MAX_ROW_GROUP_BYTES, check_limit, check_magic, fact, parse_metadata, with_page_index,
};
use crate::segment::modular::{FileCipher, PAGE_OVERHEAD};
use crate::segment::page_map::{ChunkPages, ColumnPages, Page, PageMap};
use crate::segment::pieces::Pieces;
use crate::segment::{Error, pages, sealed};

/// Rows decoded at a time.
const BATCH_ROWS: usize = 1024;

/// Reads all rows of a file, in order; of an encrypted backup, with what opens it. Takes CPU time in proportion to the rows: call it
/// on a blocking pool.
///
/// # Errors
/// [`Error::NewerSchema`] where a newer release wrote it, [`Error::TooLarge`] beyond [`MAX_ROWS`] and [`MAX_RAW_BYTES`],
/// [`Error::NotEncrypted`] or [`Error::Encrypted`] where it is not as its backup, [`Error::Key`] or [`Error::NotAuthentic`] where it
/// does not open, else [`Error::Damaged`] or [`Error::Decode`].
pub fn decode(bytes: Bytes, opener: Option<&FileOpener>) -> Result<Vec<OffsetRow>, Error> {
    let (metadata, source) = open(bytes, opener)?;
    let options = ArrowReaderOptions::new()
        .with_skip_arrow_metadata(true)
        .with_page_index_policy(PageIndexPolicy::Skip)
        .with_schema(Arc::clone(&COLUMNS));
    let mut reader = pages::contain(|| {
        let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), options).map_err(Error::Decode)?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(source, metadata);
        builder.with_batch_size(BATCH_ROWS).build().map_err(Error::Decode)
    })?;
    let (mut rows, mut names, mut raw_bytes) = (Vec::new(), Names::default(), 0);
    while let Some(batch) = pages::contain(|| reader.next().transpose().map_err(|error| Error::Decode(error.into())))? {
        let columns = Columns::new(&batch)?;
        for at in 0..batch.num_rows() {
            let row = columns.row(at, &mut names)?;
            raw_bytes += row.raw_bytes() as u64;
            check_limit("bytes of consumer groups", raw_bytes, MAX_RAW_BYTES)?;
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The file in the clear, once its footer and what its pages announce is that of such a file.
pub(super) fn open(bytes: Bytes, opener: Option<&FileOpener>) -> Result<(ParquetMetaData, Pieces), Error> {
    let size = bytes.len() as u64;
    let (metadata, cipher) = metadata(&bytes, opener)?;
    let pages = listed(&metadata, if cipher.is_some() { PAGE_OVERHEAD } else { 0 })?;
    let stored = Pieces::new(size, vec![(0, bytes)]);
    let (metadata, source) = match cipher {
        None => (metadata, stored),
        Some(cipher) => {
            let mut opened = Vec::new();
            for (number, group) in metadata.row_groups().iter().enumerate() {
                let rows = 0..u64::try_from(group.num_rows()).map_err(Error::damaged)?;
                let columns = (number, pages.group(number));
                opened.extend(sealed::open_pages(&cipher, columns, &stored, std::slice::from_ref(&rows))?);
            }
            opened.sort_by_key(|(start, _)| *start);
            (sealed::plain_view(metadata, &pages)?, Pieces::new(size, opened))
        }
    };
    let columns = (0..metadata.num_row_groups()).flat_map(|number| pages.group(number));
    check_pages(columns.flat_map(ColumnPages::all), &source)?;
    Ok((metadata, source))
}

/// The footer, once it is that of such a file, and what opens its pages.
fn metadata(bytes: &Bytes, opener: Option<&FileOpener>) -> Result<(ParquetMetaData, Option<FileCipher>), Error> {
    check_magic(bytes.first_chunk(), opener, "begin")?;
    let size = bytes.len() as u64;
    let (metadata, cipher) = pages::contain(|| parse_metadata(bytes, size, opener))?;
    let version = fact(&metadata, KEY_SCHEMA_VERSION)?;
    let version: u32 = version.parse().map_err(|_| Error::damaged("the schema version is no number"))?;
    if version > SCHEMA_VERSION {
        return Err(Error::NewerSchema { found: version });
    }
    let content = fact(&metadata, KEY_CONTENT)?;
    if content != CONTENT {
        return Err(Error::Damaged(format!("it holds {content:?} instead of {CONTENT:?}")));
    }
    let found = metadata.file_metadata().schema_descr().columns();
    if !found.iter().eq(STORED.columns()) {
        return Err(Error::damaged("its columns are not those of consumer groups"));
    }
    let rows = metadata.row_groups().iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(u64::MAX));
    check_limit("rows of consumer groups", rows.fold(0, u64::saturating_add), MAX_ROWS)?;
    let chunks = || metadata.row_groups().iter().flat_map(|group| group.columns());
    if metadata.row_groups().iter().any(|group| group.num_columns() != STORED.num_columns())
        || chunks().any(|chunk| range(chunk).is_none_or(|(_, end)| end > size))
    {
        return Err(Error::damaged("a column chunk is missing, or lies outside the file"));
    }
    Ok((with_page_index(metadata, bytes, size, cipher.as_ref())?, cipher))
}

/// First byte of a column chunk, and the first after it.
fn range(chunk: &ColumnChunkMetaData) -> Option<(u64, u64)> {
    let start = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
    let start = u64::try_from(start).ok()?;
    Some((start, start.checked_add(u64::try_from(chunk.compressed_size()).ok()?)?))
}

/// All pages, each of which has `overhead` bytes more than in the clear.
fn listed(metadata: &ParquetMetaData, overhead: u64) -> Result<PageMap, Error> {
    let mut groups = Vec::with_capacity(metadata.num_row_groups());
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let rows = u64::try_from(group.num_rows()).map_err(Error::damaged)?;
        let mut columns = Vec::with_capacity(group.num_columns());
        for (leaf, chunk) in group.columns().iter().enumerate() {
            let locations = metadata.page_index().and_then(|index| index.page_locations(number, leaf));
            let locations = locations.ok_or_else(|| Error::damaged("a column has no page index"))?;
            let (start, end) = range(chunk).ok_or_else(|| Error::damaged("a column chunk lies outside the file"))?;
            let chunk = ChunkPages { leaf, bytes: start..end, rows, overhead };
            // The digest of the whole file was compared; pages have none of their own.
            columns.push(chunk.read(locations, &mut std::iter::repeat(0))?);
        }
        groups.push(columns);
    }
    Ok(PageMap::of(groups))
}

/// Looks at what every page announces, since the Parquet reader believes it.
fn check_pages<'a>(listed: impl Iterator<Item = &'a Page>, source: &Pieces) -> Result<(), Error> {
    let mut unpacked = 0_u64;
    for page in listed {
        let announced = pages::check_page(&source.page(page)?)?;
        let span = page.rows.end - page.rows.start;
        if announced.dictionary != page.is_dictionary() || (!announced.dictionary && announced.values != span) {
            return Err(Error::damaged("a page does not hold as many values as the page index says"));
        }
        unpacked = unpacked.saturating_add(announced.unpacked);
        check_limit("bytes of consumer groups, unpacked,", unpacked, MAX_ROW_GROUP_BYTES)?;
    }
    Ok(())
}

/// Names that rows share.
#[derive(Default)]
struct Names {
    groups: HashMap<String, GroupId>,
    topics: HashMap<String, TopicName>,
}

fn shared<T: Clone>(
    known: &mut HashMap<String, T>,
    name: &str,
    new: impl FnOnce(String) -> Result<T, IllegalName>,
) -> Result<T, Error> {
    if let Some(known) = known.get(name) {
        return Ok(known.clone());
    }
    let made = new(name.to_owned()).map_err(Error::damaged)?;
    known.insert(name.to_owned(), made.clone());
    Ok(made)
}

/// The columns of some rows.
struct Columns<'a> {
    kind: &'a StringArray,
    group: &'a StringArray,
    topic: &'a StringArray,
    partition: &'a Int32Array,
    offset: &'a Int64Array,
    leader_epoch: &'a Int32Array,
    metadata: &'a StringArray,
    committed_at: &'a TimestampMillisecondArray,
    topic_id: &'a StringArray,
    timestamp: &'a TimestampMillisecondArray,
    lineage: &'a Int32Array,
    log_partition: &'a Int32Array,
    log_offset: &'a Int64Array,
    raw_key: &'a BinaryArray,
    raw_value: &'a BinaryArray,
}

/// The value in a row, unless it is null.
fn value<'a, A: Array, T>(array: &'a A, row: usize, get: impl FnOnce(&'a A, usize) -> T) -> Option<T> {
    (!array.is_null(row)).then(|| get(array, row))
}

impl<'a> Columns<'a> {
    fn new(batch: &'a RecordBatch) -> Result<Self, Error> {
        let foreign = || Error::damaged("a column is not of its type");
        let column = |at: usize| batch.columns().get(at).ok_or_else(foreign);
        let text = |at| column(at)?.as_string_opt::<i32>().ok_or_else(foreign);
        let short = |at| column(at)?.as_primitive_opt::<Int32Type>().ok_or_else(foreign);
        let long = |at| column(at)?.as_primitive_opt::<Int64Type>().ok_or_else(foreign);
        let time = |at| column(at)?.as_primitive_opt::<TimestampMillisecondType>().ok_or_else(foreign);
        let bytes = |at| column(at)?.as_binary_opt::<i32>().ok_or_else(foreign);
        Ok(Self {
            kind: text(0)?,
            group: text(1)?,
            topic: text(2)?,
            partition: short(3)?,
            offset: long(4)?,
            leader_epoch: short(5)?,
            metadata: text(6)?,
            committed_at: time(7)?,
            topic_id: text(8)?,
            timestamp: time(9)?,
            lineage: short(10)?,
            log_partition: short(11)?,
            log_offset: long(12)?,
            raw_key: bytes(13)?,
            raw_value: bytes(14)?,
        })
    }

    fn row(&self, at: usize, names: &mut Names) -> Result<OffsetRow, Error> {
        let kind = self.kind.value(at);
        let kind = RowKind::parse(kind).ok_or_else(|| Error::Damaged(format!("there is no kind of row {kind:?}")))?;
        let group = value(self.group, at, StringArray::value).map(|name| shared(&mut names.groups, name, GroupId::new));
        let topic =
            value(self.topic, at, StringArray::value).map(|name| shared(&mut names.topics, name, TopicName::new));
        let row = OffsetRow {
            kind,
            group: group.transpose()?,
            topic: topic.transpose()?,
            partition: value(self.partition, at, Int32Array::value).map(PartitionId::new),
            committed: self.committed(at)?,
            timestamp: TimestampMs::new(self.timestamp.value(at)),
            lineage: Lineage::new(self.lineage.value(at)),
            log_partition: PartitionId::new(self.log_partition.value(at)),
            log_offset: Offset::new(self.log_offset.value(at)),
            raw_key: value(self.raw_key, at, BinaryArray::value).map(Bytes::copy_from_slice),
            raw_value: value(self.raw_value, at, BinaryArray::value).map(Bytes::copy_from_slice),
        };
        check_row(&row)?;
        Ok(row)
    }

    /// What was committed: all of its columns, or none.
    fn committed(&self, at: usize) -> Result<Option<CommittedOffset>, Error> {
        let offset = value(self.offset, at, Int64Array::value).map(Offset::new);
        let leader_epoch = value(self.leader_epoch, at, Int32Array::value).map(LeaderEpoch::new);
        let metadata = value(self.metadata, at, StringArray::value).map(str::to_owned);
        let committed_at = value(self.committed_at, at, TimestampMillisecondArray::value).map(TimestampMs::new);
        let topic_id = value(self.topic_id, at, StringArray::value).map(TopicId::new);
        match (offset, leader_epoch, metadata, committed_at, topic_id) {
            (None, None, None, None, None) => Ok(None),
            (Some(offset), Some(leader_epoch), Some(metadata), Some(committed_at), topic_id) => {
                Ok(Some(CommittedOffset { offset, leader_epoch, metadata, committed_at, topic_id }))
            }
            _ => {
                let (partition, offset) = (self.log_partition.value(at), self.log_offset.value(at));
                let place = format!("offset {offset} in partition {partition} of __consumer_offsets");
                Err(Error::Damaged(format!("the row of {place} holds only a part of what was committed")))
            }
        }
    }
}
