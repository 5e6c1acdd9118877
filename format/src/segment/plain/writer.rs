//! One column chunk of PLAIN pages, compressed.

use std::io::{self, Write};

use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{CompressedPage, Page, PageWriter as _};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder};
use parquet::file::reader::Length as _;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};

use super::packed::{FilledPage, PackedPage, Packer};
use super::page::PlainPage;
use crate::schema::STORED;
use crate::segment::encode::Codec;
use crate::segment::pieces::Pieces;
use crate::segment::row_group::PagesChunk;

/// Pages behind their headers, as the Parquet crate writes them.
#[derive(Default)]
struct Pages {
    written: Vec<Bytes>,
    /// The page that comes next, to be kept as it is. It is written from there, so it need not be copied.
    next: Option<Bytes>,
}

impl Write for Pages {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let own = self.next.take_if(|next| std::ptr::eq(next.as_ref(), bytes));
        self.written.push(own.unwrap_or_else(|| Bytes::copy_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes one column chunk.
pub(crate) struct PlainWriter {
    column: usize,
    compression: Compression,
    packer: Packer,
    open: PlainPage,
    chunk: TrackedWrite<Pages>,
    pages: OffsetIndexBuilder,
    sums: Sums,
}

#[derive(Default)]
struct Sums {
    rows: u64,
    unpacked: u64,
    value_bytes: i64,
}

impl PlainWriter {
    pub(crate) fn new(column: usize, codec: Codec, compression: Compression) -> Result<Self, ParquetError> {
        Ok(Self {
            column,
            compression,
            packer: Packer::of(codec)?,
            open: PlainPage::default(),
            chunk: TrackedWrite::new(Pages::default()),
            pages: OffsetIndexBuilder::new(),
            sums: Sums::default(),
        })
    }

    /// Adds a page: as it is, or behind small ones.
    pub(crate) fn write(&mut self, page: FilledPage) -> Result<(), ParquetError> {
        match page {
            FilledPage::Plain(page) => self.write_plain(page),
            FilledPage::Packed(page) => {
                self.packer.check(&page)?;
                self.end_page()?;
                self.append(page)
            }
        }
    }

    fn write_plain(&mut self, page: PlainPage) -> Result<(), ParquetError> {
        if !self.open.has_room_for(&page) {
            self.end_page()?;
        }
        if self.open.is_empty() {
            self.open = page;
        } else {
            self.open.append(&page);
        }
        if self.open.stands_alone() { self.end_page() } else { Ok(()) }
    }

    /// Compresses the open page, where there is one.
    fn end_page(&mut self) -> Result<(), ParquetError> {
        if self.open.is_empty() {
            return Ok(());
        }
        let packed = self.packer.pack(&mut std::mem::take(&mut self.open))?;
        self.append(packed)
    }

    fn append(&mut self, page: PackedPage) -> Result<(), ParquetError> {
        let PackedPage { bytes: packed, rows, unpacked, value_bytes, .. } = page;
        let (rows, value_bytes) = (rows as u64, as_i64(value_bytes)?);
        self.chunk.inner_mut().next = Some(packed.clone());
        let data = Page::DataPage {
            buf: packed,
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

    pub(crate) fn finish(mut self) -> Result<PagesChunk, ParquetError> {
        self.end_page()?;
        let pages = Pieces::of_blocks(self.chunk.into_inner()?.written);
        let metadata = ColumnChunkMetaData::builder(STORED.column(self.column))
            .set_compression(self.compression)
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE])
            .set_num_values(as_i64(self.sums.rows)?)
            .set_total_compressed_size(as_i64(pages.len())?)
            .set_total_uncompressed_size(as_i64(self.sums.unpacked)?)
            .set_data_page_offset(0)
            .set_unencoded_byte_array_data_bytes(Some(self.sums.value_bytes))
            .build()?;
        let close = ColumnCloseResult {
            bytes_written: pages.len(),
            rows_written: self.sums.rows,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(self.pages.build()),
        };
        Ok(PagesChunk { pages, close })
    }
}

fn as_i64<T>(value: T) -> Result<i64, ParquetError>
where
    i64: TryFrom<T>,
    <i64 as TryFrom<T>>::Error: std::error::Error + Send + Sync + 'static,
{
    i64::try_from(value).map_err(|error| ParquetError::External(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::column;

    fn page(values: usize, bytes: usize) -> PlainPage {
        let mut page = PlainPage::default();
        (0..values).for_each(|_| page.push(Some(&vec![7; bytes])));
        page
    }

    /// The rows of each page of what was written.
    fn rows(chunk: &PagesChunk) -> Vec<i64> {
        let index = chunk.close.offset_index.as_ref().expect("an offset index");
        let firsts = index.page_locations().iter().map(|page| page.first_row_index);
        let last = i64::try_from(chunk.close.rows_written).expect("few");
        let ends = firsts.clone().skip(1).chain([last]);
        firsts.zip(ends).map(|(first, end)| end - first).collect()
    }

    #[test]
    fn small_pages_are_joined_and_all_others_written_as_they_are() {
        let mut writer = PlainWriter::new(column::VALUE, Codec::None, Compression::UNCOMPRESSED).expect("a writer");
        for rows in [2, 3, 245, 1045, 1045, 4, 240, 5] {
            writer.write(FilledPage::Plain(page(rows, 1000))).expect("written");
        }
        assert_eq!(rows(&writer.finish().expect("finished")), [5, 245, 1045, 1045, 244, 5]);
    }

    #[test]
    fn the_page_that_was_announced_is_kept_and_all_else_copied() {
        let (next, other) = (Bytes::from_static(b"page"), Bytes::from_static(b"page of another"));
        let mut pages = Pages { next: Some(next.clone()), ..Pages::default() };
        for bytes in [&other[..4], &next[..], &next[..]] {
            pages.write_all(bytes).expect("written");
        }
        let kept: Vec<_> = pages.written.iter().map(|bytes| std::ptr::eq(bytes.as_ref(), next.as_ref())).collect();
        assert_eq!(kept, [false, true, false]);
        assert!(pages.written.iter().all(|bytes| bytes == "page"));
    }
}
