//! The columns of one row group, each with the writer that suits it.
//!
//! Owns: which writer takes which column, and their order in the file. Does not own: whether the rows may stand in one
//! row group ([`super::encode`]), what the columns hold ([`super::columns`], [`super::plain`]).

use std::io;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::FieldRef;
use bytes::Bytes;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedRowGroupWriter;

use super::Error;
use super::batch::Batch;
use super::columns::{PageCutter, Pending};
use super::options::{EncodeOptions, new_file};
use super::pieces::{Pieces, Placeholder};
use super::plain::writer::PlainWriter;
use crate::ids::PartitionKey;
use crate::schema::{WRITTEN, column};

/// A finished column chunk.
pub(crate) enum Chunk {
    /// Of a column that the Parquet crate wrote.
    Arrow(ArrowColumnChunk),
    /// Of this project's own, of another segment, or sealed.
    Pages(PagesChunk),
}

/// A column chunk whose pages lie in some file, or would if it were one.
pub(crate) struct PagesChunk {
    /// Bytes of that file, with those of the chunk, by their place there.
    pub(crate) pages: Pieces,
    /// What is said of the chunk, with places there.
    pub(crate) close: ColumnCloseResult,
}

impl Chunk {
    pub(crate) fn append_to<W: io::Write + Send>(
        self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        match self {
            Self::Arrow(chunk) => chunk.append_to_row_group(group),
            Self::Pages(chunk) => group.append_column(&chunk.pages, chunk.close),
        }
    }

    /// Appends what is said of it, to a file whose sink has its [`Chunk::stored`] bytes already.
    pub(crate) fn describe_to<W: io::Write + Send>(
        self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        match self {
            Self::Arrow(chunk) => chunk.append_to_row_group(group),
            Self::Pages(chunk) => group.append_column(&Placeholder(chunk.close.bytes_written), chunk.close),
        }
    }

    /// Its bytes where they lie, if that can be known; else they come only with [`Chunk::append_to`] and [`Chunk::describe_to`].
    pub(crate) fn stored(&self) -> Result<Option<Vec<Bytes>>, ParquetError> {
        match self {
            Self::Arrow(_) => Ok(None),
            Self::Pages(PagesChunk { pages, close }) => {
                let (start, length) = close.metadata.byte_range();
                pages.cut(start, length).map(Some)
            }
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.close().bytes_written
    }

    /// The size of each of its pages, in the order of the file: what the data pages leave is the dictionary, which comes
    /// first.
    pub(crate) fn page_sizes(&self) -> Vec<u64> {
        let locations = self.close().offset_index.iter().flat_map(|index| index.page_locations());
        let data: Vec<u64> =
            locations.map(|page| u64::try_from(page.compressed_page_size).unwrap_or_default()).collect();
        let dictionary = self.bytes().saturating_sub(data.iter().sum());
        [dictionary].into_iter().filter(|size| *size > 0).chain(data).collect()
    }

    /// What is said of it.
    pub(crate) fn close(&self) -> &ColumnCloseResult {
        match self {
            Self::Arrow(chunk) => chunk.close(),
            Self::Pages(chunk) => &chunk.close,
        }
    }
}

/// A column that the Parquet crate writes.
struct ArrowColumn {
    field: FieldRef,
    /// One per Parquet column: headers have two.
    writers: Vec<ArrowColumnWriter>,
    cutter: PageCutter,
}

impl ArrowColumn {
    fn write(&mut self, array: &ArrayRef) -> Result<(), ParquetError> {
        let mut first = 0;
        while first < array.len() {
            let rows = self.cutter.take(array.len() - first);
            let leaves = compute_leaves(&self.field, &array.slice(first, rows))?;
            self.writers.iter_mut().zip(&leaves).try_for_each(|(writer, leaf)| writer.write(leaf))?;
            first += rows;
        }
        Ok(())
    }

    fn finish(self) -> impl Iterator<Item = Result<Chunk, ParquetError>> {
        self.writers.into_iter().map(|writer| writer.close().map(Chunk::Arrow))
    }
}

pub(crate) struct RowGroupEncoder {
    /// All columns but keys and values, in the order of the file.
    columns: Vec<(usize, ArrowColumn)>,
    key: PlainWriter,
    value: PlainWriter,
    pending: Pending,
    pub(crate) raw_bytes: u64,
}

impl RowGroupEncoder {
    pub(crate) fn new(options: &EncodeOptions) -> Result<Self, Error> {
        // The factory takes schema and settings from a file writer; which file the row group ends in is open still.
        let nowhere = new_file(io::sink(), options, None)?;
        let factory = ArrowRowGroupWriterFactory::new(&nowhere, Arc::clone(&WRITTEN));
        let mut writers = factory.create_column_writers(0).map_err(Error::Encode)?.into_iter();
        let mut columns = Vec::with_capacity(column::COUNT);
        for (at, field) in WRITTEN.fields().iter().enumerate() {
            let leaves = if at == column::HEADERS { 2 } else { 1 };
            let writers = writers.by_ref().take(leaves).collect();
            if at != column::KEY && at != column::VALUE {
                columns.push((at, ArrowColumn { field: Arc::clone(field), writers, cutter: PageCutter::of(at) }));
            }
        }
        let compression = options.codec.compression()?;
        let plain = |at| PlainWriter::new(at, options.codec, compression).map_err(Error::Encode);
        let (key, value) = (plain(column::KEY)?, plain(column::VALUE)?);
        Ok(Self { columns, key, value, pending: Pending::default(), raw_bytes: 0 })
    }

    pub(crate) fn push(&mut self, key: &Arc<PartitionKey>, mut batch: Batch) -> Result<(), Error> {
        self.raw_bytes += batch.raw_bytes() as u64;
        for (writer, pages) in [(&mut self.key, &mut batch.key), (&mut self.value, &mut batch.value)] {
            pages.drain(..).try_for_each(|page| writer.write(page)).map_err(Error::Encode)?;
        }
        self.pending.push(Arc::clone(key), batch);
        if self.pending.is_full() { self.write_pending() } else { Ok(()) }
    }

    fn write_pending(&mut self) -> Result<(), Error> {
        let pending = std::mem::take(&mut self.pending);
        let arrays = pending.columns().map_err(|error| Error::Encode(error.into()))?;
        let mut columns = self.columns.iter_mut().zip(&arrays);
        columns.try_for_each(|((_, column), array)| column.write(array)).map_err(Error::Encode)
    }

    pub(crate) fn finish(mut self) -> Result<Vec<Chunk>, Error> {
        if !self.pending.is_empty() {
            self.write_pending()?;
        }
        let mut chunks = Vec::new();
        let (after, before): (Vec<_>, Vec<_>) = self.columns.into_iter().partition(|(at, _)| *at > column::VALUE);
        chunks.extend(before.into_iter().flat_map(|(_, column)| column.finish()));
        chunks.extend([self.key, self.value].map(|writer| writer.finish().map(Chunk::Pages)));
        chunks.extend(after.into_iter().flat_map(|(_, column)| column.finish()));
        chunks.into_iter().collect::<Result<_, _>>().map_err(Error::Encode)
    }
}
