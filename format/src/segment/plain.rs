//! Pages of keys and values, the bulk of every segment, written by hand.
//!
//! Owns: PLAIN pages of a nullable column of bytes under zstd, one at a time in buffers that are used again. Does not own:
//! any other column or codec, which the Parquet crate's own writer encodes as well.
//!
//! That writer copies each value three times and takes fresh memory for every page, which cost a sixth of the whole
//! encode; its output is otherwise the same. Invariants: no dictionary, no statistics, an offset index.

use std::ops::Range;

use arrow_array::{Array as _, LargeBinaryArray};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{CompressedPage, Page, PageWriter as _};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};

use super::headers::put_unsigned;
use crate::schema::STORED;

/// Room before the values for the levels of a page with few changes between null and not null.
const LEVELS_ROOM: usize = 64;

/// Writes one column chunk.
pub(crate) struct PlainWriter {
    column: usize,
    compression: Compression,
    zstd: zstd::bulk::Compressor<'static>,
    /// The open page: room for its levels, then its values.
    page: Vec<u8>,
    /// Whether rows are there (not null), as run lengths.
    present: Vec<(bool, u64)>,
    packed: Vec<u8>,
    chunk: TrackedWrite<Vec<u8>>,
    pages: OffsetIndexBuilder,
    sums: Sums,
}

#[derive(Default)]
struct Sums {
    rows: u64,
    unpacked: u64,
    value_bytes: i64,
}

/// A finished column chunk.
pub(crate) struct PlainChunk {
    pub(crate) bytes: Bytes,
    pub(crate) close: ColumnCloseResult,
}

impl PlainWriter {
    pub(crate) fn new(column: usize, compression: Compression, level: i32) -> Result<Self, ParquetError> {
        Ok(Self {
            column,
            compression,
            zstd: zstd::bulk::Compressor::new(level)?,
            page: vec![0; LEVELS_ROOM],
            present: Vec::new(),
            packed: Vec::new(),
            chunk: TrackedWrite::new(Vec::new()),
            pages: OffsetIndexBuilder::new(),
            sums: Sums::default(),
        })
    }

    /// Adds values to the open page.
    pub(crate) fn write(&mut self, values: &LargeBinaryArray, rows: Range<usize>) {
        for row in rows {
            let present = values.is_valid(row);
            match self.present.last_mut() {
                Some((last, rows)) if *last == present => *rows += 1,
                _ => self.present.push((present, 1)),
            }
            if present {
                let value = values.value(row);
                let len = u32::try_from(value.len()).unwrap_or(u32::MAX); // a row group is smaller than that
                self.page.extend_from_slice(&len.to_le_bytes());
                self.page.extend_from_slice(value);
            }
        }
    }

    /// Compresses the open page, if it holds a row.
    pub(crate) fn end_page(&mut self) -> Result<(), ParquetError> {
        let rows: u64 = self.present.iter().map(|(_, rows)| rows).sum();
        if rows == 0 {
            return Ok(());
        }
        let lengths: u64 = self.present.iter().filter(|(present, _)| *present).map(|(_, rows)| rows * 4).sum();
        let value_bytes = as_i64(self.page.len() - LEVELS_ROOM)? - as_i64(lengths)?;
        let levels = self.levels();
        let start = match LEVELS_ROOM.checked_sub(levels.len()) {
            Some(start) => {
                self.page[start..LEVELS_ROOM].copy_from_slice(&levels);
                start
            }
            None => {
                self.page.splice(..LEVELS_ROOM, levels);
                0
            }
        };
        let unpacked = self.page.len() - start;
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(unpacked));
        self.zstd.compress_to_buffer(&self.page[start..], &mut self.packed)?;
        let page = Page::DataPage {
            buf: Bytes::copy_from_slice(&self.packed),
            num_values: u32::try_from(rows).map_err(|error| ParquetError::External(error.into()))?,
            encoding: Encoding::PLAIN,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let written = SerializedPageWriter::new(&mut self.chunk).write_page(CompressedPage::new(page, unpacked))?;
        self.pages.append_row_count(as_i64(rows)?);
        let size = i32::try_from(written.compressed_size).map_err(|error| ParquetError::External(error.into()))?;
        self.pages.append_offset_and_size(as_i64(written.offset)?, size);
        self.pages.append_unencoded_byte_array_data_bytes(Some(value_bytes));
        self.sums.rows += rows;
        self.sums.unpacked += written.uncompressed_size as u64;
        self.sums.value_bytes += value_bytes;
        self.present.clear();
        self.page.clear();
        self.page.resize(LEVELS_ROOM, 0);
        Ok(())
    }

    /// Definition levels as Parquet's RLE hybrid, preceded by their length: a run is its length doubled, then the level.
    fn levels(&self) -> Vec<u8> {
        let mut levels = vec![0; 4];
        for &(present, rows) in &self.present {
            put_unsigned(&mut levels, rows << 1);
            levels.push(u8::from(present));
        }
        let len = u32::try_from(levels.len() - 4).unwrap_or(u32::MAX); // at most three bytes for each row of a page
        levels[..4].copy_from_slice(&len.to_le_bytes());
        levels
    }

    pub(crate) fn finish(mut self) -> Result<PlainChunk, ParquetError> {
        self.end_page()?;
        let bytes = Bytes::from(self.chunk.into_inner()?);
        let metadata = ColumnChunkMetaData::builder(STORED.column(self.column))
            .set_compression(self.compression)
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE])
            .set_num_values(as_i64(self.sums.rows)?)
            .set_total_compressed_size(as_i64(bytes.len())?)
            .set_total_uncompressed_size(as_i64(self.sums.unpacked)?)
            .set_data_page_offset(0)
            .set_unencoded_byte_array_data_bytes(Some(self.sums.value_bytes))
            .build()?;
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.sums.rows,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(self.pages.build()),
        };
        Ok(PlainChunk { bytes, close })
    }
}

fn as_i64<T>(value: T) -> Result<i64, ParquetError>
where
    i64: TryFrom<T>,
    <i64 as TryFrom<T>>::Error: std::error::Error + Send + Sync + 'static,
{
    i64::try_from(value).map_err(|error| ParquetError::External(Box::new(error)))
}
