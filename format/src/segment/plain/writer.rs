//! One column chunk of PLAIN pages, compressed.

use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{CompressedPage, Page, PageWriter as _};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};

use super::compress::Compressor;
use super::page::PlainPage;
use crate::schema::STORED;
use crate::segment::encode::Codec;

/// Writes one column chunk.
pub(crate) struct PlainWriter {
    column: usize,
    compression: Compression,
    compressor: Compressor,
    open: PlainPage,
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
    pub(crate) fn new(column: usize, codec: Codec, compression: Compression) -> Result<Self, ParquetError> {
        Ok(Self {
            column,
            compression,
            compressor: Compressor::new(codec)?,
            open: PlainPage::default(),
            chunk: TrackedWrite::new(Vec::new()),
            pages: OffsetIndexBuilder::new(),
            sums: Sums::default(),
        })
    }

    /// Adds the rows of a page: the page itself where it can stand for itself, else copied behind those before.
    pub(crate) fn write(&mut self, page: PlainPage) -> Result<(), ParquetError> {
        if self.open.is_empty() {
            self.open = page;
        } else if self.open.has_room_for(&page) {
            self.open.append(&page);
        } else {
            for value in page.values() {
                self.end_full_page()?;
                self.open.push(value);
            }
        }
        self.end_full_page()
    }

    fn end_full_page(&mut self) -> Result<(), ParquetError> {
        if self.open.is_full() { self.end_page() } else { Ok(()) }
    }

    /// Compresses the open page.
    fn end_page(&mut self) -> Result<(), ParquetError> {
        let mut page = std::mem::take(&mut self.open);
        let (rows, value_bytes) = (page.rows() as u64, as_i64(page.value_bytes())?);
        let plain = page.with_levels();
        let unpacked = plain.len();
        let packed = self.compressor.compress(plain)?;
        let data = Page::DataPage {
            buf: packed.into(),
            num_values: u32::try_from(rows).map_err(|error| ParquetError::External(error.into()))?,
            encoding: Encoding::PLAIN,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let written = SerializedPageWriter::new(&mut self.chunk).write_page(CompressedPage::new(data, unpacked))?;
        self.pages.append_row_count(as_i64(rows)?);
        let size = i32::try_from(written.compressed_size).map_err(|error| ParquetError::External(error.into()))?;
        self.pages.append_offset_and_size(as_i64(written.offset)?, size);
        self.pages.append_unencoded_byte_array_data_bytes(Some(value_bytes));
        self.sums.rows += rows;
        self.sums.unpacked += written.uncompressed_size as u64;
        self.sums.value_bytes += value_bytes;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<PlainChunk, ParquetError> {
        if !self.open.is_empty() {
            self.end_page()?;
        }
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
