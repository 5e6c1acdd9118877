//! Row groups as they are, for another segment.
//!
//! Owns: which row groups may stand in another segment byte for byte, and what its footer then says of them. Does not own:
//! fetching and checking their pages ([`super::slice`], [`super::decode`]), where they come to lie ([`super::encode`]).
//!
//! Invariants: no value is decoded; pages, runs, statistics and bounds are those of the source; the other segment is the one
//! that encoding the records anew with the same pages would make, so what its footer says of its writer is true of all pages.

use parquet::basic::CompressionCodec;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::ChunkReader as _;
use parquet::file::statistics::Statistics;

use super::encode::{EncodeOptions, EncodedRowGroup};
use super::footer::{MAX_RAW_ROW_GROUP_BYTES, SegmentFooter};
use super::pieces::Pieces;
use super::row_group::{Chunk, PagesChunk};
use crate::schema::column;

/// The values of headers, as Parquet numbers columns: the list has two of them.
const HEADER_VALUES: usize = column::HEADERS + 1;

/// The exact headers, numbered like that.
const HEADERS_RAW: usize = column::HEADERS_RAW + 1;

/// Why a row group is not copied. Its records can be decoded and encoded anew instead; if it is damaged, that says how.
#[derive(Debug, thiserror::Error)]
pub enum NotCopied {
    /// Some of its records are not wanted, or some of its pages were not fetched.
    #[error("not all of it is wanted")]
    Partly,
    /// Another release wrote it, maybe with other settings.
    #[error("{0:?} wrote it")]
    Writer(String),
    /// The pages of a column are compressed in another way than the segment's own would be.
    #[error("it is compressed with {0}")]
    Codec(CompressionCodec),
    /// Its page index does not say how many bytes its records have. So it is where a header's key is no UTF-8.
    #[error("how many bytes its records have, only they themselves tell")]
    Unmeasured,
    /// A column chunk does not begin where its page index says.
    #[error("a page index contradicts its column chunk")]
    Contradiction,
    /// The Parquet crate refuses what the footer says of a column.
    #[error("describe a column")]
    Column(#[source] ParquetError),
}

/// Row group `number`, whose pages were checked, ready to be appended to any segment of `options` but for its place among
/// the runs there.
pub(crate) fn copy_row_group(
    options: &EncodeOptions,
    footer: &SegmentFooter,
    number: usize,
    pages: &Pieces,
) -> Result<EncodedRowGroup, NotCopied> {
    let metadata: &ParquetMetaData = footer.reader.metadata();
    let (writer, codec) = options.written_as();
    let found = metadata.file_metadata().created_by().unwrap_or_default();
    if found != writer {
        return Err(NotCopied::Writer(found.to_owned()));
    }
    let group = metadata.row_groups().get(number).ok_or(NotCopied::Partly)?;
    if let Some(other) =
        group.columns().iter().map(ColumnChunkMetaData::compression_codec).find(|found| *found != codec)
    {
        return Err(NotCopied::Codec(other));
    }
    let raw_bytes = raw_bytes(metadata, number).ok_or(NotCopied::Unmeasured)?;
    let source = Source { metadata, number, rows: footer.rows_of(number), pages };
    let columns = group.columns().iter().enumerate();
    let chunks = columns.map(|(leaf, column)| source.chunk(leaf, column)).collect::<Result<_, _>>()?;
    Ok(EncodedRowGroup::of(chunks, footer.runs_of(number).cloned().collect(), raw_bytes))
}

/// Bytes of keys, values and headers of a row group, as the page index has them; `None` where it does not, or they are more
/// than are written.
fn raw_bytes(metadata: &ParquetMetaData, group: usize) -> Option<u64> {
    let index = metadata.page_index()?;
    let bytes_of = |leaf: usize| {
        let pages = index.offset_index(group, leaf)?.unencoded_byte_array_data_bytes()?;
        pages.iter().try_fold(0_u64, |sum, bytes| sum.checked_add(u64::try_from(*bytes).ok()?))
    };
    // What stands there stands in the list too, with other keys.
    if bytes_of(HEADERS_RAW)? > 0 {
        return None;
    }
    let columns = [column::KEY, column::VALUE, column::HEADERS, HEADER_VALUES];
    let sum = columns.into_iter().try_fold(0_u64, |sum, leaf| sum.checked_add(bytes_of(leaf)?));
    sum.filter(|bytes| *bytes <= MAX_RAW_ROW_GROUP_BYTES)
}

/// A row group that is being copied.
struct Source<'a> {
    metadata: &'a ParquetMetaData,
    number: usize,
    rows: u64,
    pages: &'a Pieces,
}

impl Source<'_> {
    fn chunk(&self, leaf: usize, column: &ColumnChunkMetaData) -> Result<Chunk, NotCopied> {
        let index = self.metadata.page_index();
        let offset_index = index.and_then(|index| index.offset_index(self.number, leaf)).cloned();
        // Where there is a dictionary nobody reads by this field, so no footer was refused for it.
        let first = offset_index.as_ref().and_then(|index| index.page_locations().first()).map(|page| page.offset);
        if first != Some(column.data_page_offset()) {
            return Err(NotCopied::Contradiction);
        }
        let (start, bytes) = column.byte_range();
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.pages.get_bytes(start, length).map_err(|_| NotCopied::Partly)?;
        let close = ColumnCloseResult {
            bytes_written: bytes,
            rows_written: self.rows,
            metadata: as_written(column).map_err(NotCopied::Column)?,
            bloom_filter: None,
            column_index: index.and_then(|index| index.column_index(self.number, leaf)).cloned(),
            offset_index,
        };
        Ok(Chunk::Pages(PagesChunk { pages: self.pages.clone(), close }))
    }
}

/// A column chunk as its writer described it. Bounds of numbers stand in the footer under two names, an old and a new one, and
/// the reader takes the new ones alone.
fn as_written(column: &ColumnChunkMetaData) -> Result<ColumnChunkMetaData, ParquetError> {
    let both = match column.statistics() {
        Some(Statistics::Int32(bounds)) => Statistics::Int32(bounds.clone().with_backwards_compatible_min_max(true)),
        Some(Statistics::Int64(bounds)) => Statistics::Int64(bounds.clone().with_backwards_compatible_min_max(true)),
        _ => return Ok(column.clone()),
    };
    column.clone().into_builder().set_statistics(both).build()
}
