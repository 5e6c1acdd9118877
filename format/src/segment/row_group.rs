//! The columns of one row group, each with the writer that suits it.
//!
//! Owns: which writer takes which column, and ending pages where they should. Does not own: whether the rows may stand in
//! one row group ([`super::encode`]).

use std::io;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, ArrayRef};
use arrow_schema::Field;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedRowGroupWriter;

use super::Error;
use super::batch::Batch;
use super::columns::{PageCutter, Pending};
use super::options::{Codec, EncodeOptions, new_file};
use super::plain::{PlainChunk, PlainWriter};
use crate::ids::PartitionKey;
use crate::schema::{WRITTEN, column};

/// A finished column chunk of either writer.
pub(crate) enum Chunk {
    Arrow(ArrowColumnChunk),
    Plain(PlainChunk),
}

impl Chunk {
    pub(crate) fn append_to<W: io::Write + Send>(
        self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        match self {
            Self::Arrow(chunk) => chunk.append_to_row_group(group),
            Self::Plain(chunk) => group.append_column(&chunk.bytes, chunk.close),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Arrow(chunk) => chunk.close().bytes_written,
            Self::Plain(chunk) => chunk.close.bytes_written,
        }
    }
}

/// The writers of one column of ours.
enum Writer {
    /// One per Parquet column: headers have two.
    Arrow(Vec<ArrowColumnWriter>),
    Plain(Box<PlainWriter>),
}

impl Writer {
    fn write(&mut self, field: &Field, array: &ArrayRef, rows: Range<usize>, end: bool) -> Result<(), ParquetError> {
        match (self, array.as_binary_opt::<i64>()) {
            (Self::Plain(writer), Some(values)) => {
                writer.write(values, rows);
                if end { writer.end_page() } else { Ok(()) }
            }
            (Self::Plain(_), None) => Err(ParquetError::General("a column of bytes holds something else".to_owned())),
            (Self::Arrow(writers), _) => {
                let leaves = compute_leaves(field, &array.slice(rows.start, rows.len()))?;
                writers.iter_mut().zip(&leaves).try_for_each(|(writer, leaf)| writer.write(leaf))
            }
        }
    }

    fn finish(self) -> Result<Vec<Chunk>, ParquetError> {
        match self {
            Self::Plain(writer) => Ok(vec![Chunk::Plain(writer.finish()?)]),
            Self::Arrow(writers) => writers.into_iter().map(|writer| writer.close().map(Chunk::Arrow)).collect(),
        }
    }
}

pub(crate) struct RowGroupEncoder {
    columns: Vec<(Writer, PageCutter)>,
    pending: Pending,
    pub(crate) raw_bytes: u64,
}

impl RowGroupEncoder {
    pub(crate) fn new(options: &EncodeOptions) -> Result<Self, Error> {
        // The factory takes schema and settings from a file writer; which file the row group ends in is open still.
        let nowhere = new_file(io::sink(), options)?;
        let factory = ArrowRowGroupWriterFactory::new(&nowhere, Arc::clone(&WRITTEN));
        let mut writers = factory.create_column_writers(0).map_err(Error::Encode)?.into_iter();
        let columns = (0..column::COUNT).map(|at| {
            let leaves = if at == column::HEADERS { 2 } else { 1 };
            let arrow = writers.by_ref().take(leaves).collect();
            let writer = match (at, options.codec) {
                (column::KEY | column::VALUE, Codec::Zstd(level)) => {
                    let compression = options.codec.compression()?;
                    Writer::Plain(Box::new(PlainWriter::new(at, compression, level).map_err(Error::Encode)?))
                }
                _ => Writer::Arrow(arrow),
            };
            Ok((writer, PageCutter::default()))
        });
        let columns = columns.collect::<Result<_, Error>>()?;
        Ok(Self { columns, pending: Pending::default(), raw_bytes: 0 })
    }

    pub(crate) fn push(&mut self, key: &Arc<PartitionKey>, batch: Batch) -> Result<(), Error> {
        self.raw_bytes += batch.raw_bytes() as u64;
        self.pending.push(Arc::clone(key), batch);
        if self.pending.is_full() { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), Error> {
        let pending = std::mem::take(&mut self.pending);
        let arrays = pending.columns().map_err(|error| Error::Encode(error.into()))?;
        for (at, (field, array)) in WRITTEN.fields().iter().zip(&arrays).enumerate() {
            let (writer, cutter) = &mut self.columns[at];
            let mut first = 0;
            while first < array.len() {
                let next = first + cutter.take(at, array, first);
                writer.write(field, array, first..next, cutter.is_page_end()).map_err(Error::Encode)?;
                first = next;
            }
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Vec<Chunk>, Error> {
        if !self.pending.is_empty() {
            self.write()?;
        }
        let chunks = self.columns.into_iter().map(|(writer, _)| writer.finish());
        Ok(chunks.collect::<Result<Vec<_>, _>>().map_err(Error::Encode)?.into_iter().flatten().collect())
    }
}
