//! From the bytes of a segment back to records.
//!
//! Owns: reading row groups, given the bytes of all or some of their pages; checking each row against the run it belongs
//! to. Does not own: fetching bytes, or which pages a restore needs ([`super::slice`]).
//!
//! Invariants: a record that comes out is byte for byte the one that went in (P6); a row that contradicts its run ends the
//! reading with an error (P9); no panic and no unbounded allocation whatever the bytes.

use std::ops::Range;

use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection, RowSelectionPolicy,
};

use super::copy::{NotCopied, copy_row_group};
use super::encode::{EncodeOptions, EncodedRowGroup};
use super::footer::{MAX_ROW_GROUP_BYTES, MAX_ROW_GROUP_VALUES, SegmentFooter, check_limit, check_magic};
use super::page_map::ColumnPages;
use super::pieces::Pieces;
use super::rows::Columns;
use super::slice::Wanted;
use super::{Error, pages, sealed};
use crate::crypt::FileOpener;
use crate::ids::{Offset, PartitionKey};
use crate::manifest::Run;
use crate::record::Record;
use crate::schema::STORED;

/// Rows decoded at a time. Values are shared with their pages, so this bounds little more than the fixed-width columns.
const BATCH_ROWS: usize = 1024;

/// A record and whose it is.
pub type Row = (PartitionKey, Record);

/// A whole segment in memory.
#[derive(Clone, Debug)]
pub struct SegmentReader {
    footer: SegmentFooter,
    bytes: Bytes,
}

impl SegmentReader {
    /// Reads the footer of a whole object; of an encrypted backup, with what opens it.
    ///
    /// # Errors
    /// As [`SegmentFooter::parse`], or [`Error::Damaged`] where it does not begin as a Parquet file does.
    pub fn open(bytes: Bytes, opener: Option<&FileOpener>) -> Result<Self, Error> {
        check_magic(bytes.first_chunk(), opener, "begin")?;
        let footer = SegmentFooter::parse(&bytes, bytes.len() as u64, opener)?;
        Ok(Self { footer, bytes })
    }

    /// What its footer says.
    pub fn footer(&self) -> &SegmentFooter {
        &self.footer
    }

    /// Its runs, in the order of its rows.
    pub fn runs(&self) -> &[Run] {
        self.footer.runs()
    }

    /// All its records, in order. The first error is the last item.
    pub fn rows(&self) -> impl Iterator<Item = Result<Row, Error>> + use<> {
        let this = self.clone();
        let groups = (0..this.footer.row_groups()).map(move |number| this.row_group(number)?.rows());
        fused(groups.flat_map(|rows| {
            let (rows, error) = rows.map_or_else(|error| (None, Some(Err(error))), |rows| (Some(rows), None));
            rows.into_iter().flatten().chain(error)
        }))
    }

    /// The records of one of [`SegmentReader::runs`], in order. The first error is the last item.
    ///
    /// # Errors
    /// Where the row group's pages are not to be believed, or the run is not of this segment.
    pub fn records(&self, run: &Run) -> Result<Rows, Error> {
        self.row_group(run.row_group as usize)?.records(run)
    }

    /// The same, as if the table of page checksums had been made for its bytes.
    #[cfg(test)]
    pub(crate) fn signed(mut self) -> Self {
        std::sync::Arc::make_mut(&mut self.footer.pages).sign(&self.bytes);
        self
    }

    fn row_group(&self, number: usize) -> Result<RowGroupReader, Error> {
        let range = self.footer.row_group_range(number).ok_or_else(|| Error::damaged("there is no such row group"))?;
        let range =
            usize::try_from(range.start).unwrap_or(usize::MAX)..usize::try_from(range.end).unwrap_or(usize::MAX);
        if range.start > range.end || range.end > self.bytes.len() {
            return Err(Error::damaged("a row group lies outside the file"));
        }
        RowGroupReader::new(&self.footer, number, self.bytes.slice(range))
    }
}

/// Passes everything up to and with the first error.
fn fused(rows: impl Iterator<Item = Result<Row, Error>>) -> impl Iterator<Item = Result<Row, Error>> {
    let mut failed = false;
    rows.take_while(move |row| {
        let go_on = !failed;
        failed = row.is_err();
        go_on
    })
}

/// One row group, of which only some bytes were fetched.
#[derive(Clone, Debug)]
pub struct RowGroupReader {
    footer: SegmentFooter,
    number: usize,
    bytes: Pieces,
}

impl RowGroupReader {
    /// Takes all bytes of row group `number` ([`SegmentFooter::row_group_range`]), after a look at the checksums of its
    /// pages and at what they announce.
    ///
    /// # Errors
    /// [`Error::Damaged`] where there is no such row group, it is of another length, a page does not have its checksum or
    /// contradicts the footer; [`Error::NotAuthentic`] where one does not open; [`Error::TooLarge`] where its pages would unpack to
    /// more than a reader accepts.
    pub fn new(footer: &SegmentFooter, number: usize, bytes: Bytes) -> Result<Self, Error> {
        let range = footer.row_group_range(number).ok_or_else(|| Error::damaged("there is no such row group"))?;
        if range.end.checked_sub(range.start) != Some(bytes.len() as u64) {
            return Err(Error::damaged("the bytes are not those of the row group"));
        }
        let pieces = Pieces::new(footer.file_size(), vec![(range.start, bytes)]);
        for page in footer.pages.group(number).iter().flat_map(ColumnPages::all) {
            page.check(&pieces.stored(page)?).map_err(Error::damaged)?;
        }
        let all_rows = 0..footer.rows_of(number);
        Self::of_pieces(footer, number, pieces, std::slice::from_ref(&all_rows))
    }

    /// Takes stored pieces that hold the pages of `rows` of row group `number`, whose checksums were compared, after a look at what
    /// these pages announce. Those of an encrypted segment are opened, and not held as they are stored.
    pub(crate) fn of_pieces(
        footer: &SegmentFooter,
        number: usize,
        bytes: Pieces,
        rows: &[Range<u64>],
    ) -> Result<Self, Error> {
        let columns = footer.pages.group(number);
        let bytes = match &footer.cipher {
            Some(cipher) => {
                Pieces::new(footer.file_size(), sealed::open_pages(cipher, (number, columns), &bytes, rows)?)
            }
            None => bytes,
        };
        let mut unpacked = 0;
        for column in columns {
            unpacked += check_column(&bytes, column, rows)?;
            check_limit("row group bytes", unpacked, MAX_ROW_GROUP_BYTES)?;
        }
        Ok(Self { footer: footer.clone(), number, bytes })
    }

    /// All its records.
    ///
    /// # Errors
    /// [`Error::Decode`] where the Parquet reader refuses the columns.
    pub fn rows(&self) -> Result<Rows, Error> {
        self.read(self.footer.runs_of(self.number).map(Part::whole).collect())
    }

    /// The row group as it is, for another segment, without a look into its pages.
    ///
    /// # Errors
    /// [`NotCopied`]; its records can be read and encoded anew instead.
    pub fn copy(&self, options: &EncodeOptions) -> Result<EncodedRowGroup, NotCopied> {
        copy_row_group(options, &self.footer, self.number, &self.bytes)
    }

    /// Its runs.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.footer.runs_of(self.number)
    }

    /// The records of one of its runs.
    ///
    /// # Errors
    /// As [`RowGroupReader::rows`], or [`Error::Damaged`] where the footer knows no such run.
    pub fn records(&self, run: &Run) -> Result<Rows, Error> {
        self.footer.check_knows(run)?;
        self.read(vec![Part::whole(run)])
    }

    /// The wanted records of parts that follow each other.
    pub(crate) fn read(&self, parts: Vec<Part>) -> Result<Rows, Error> {
        let fit = |row: u64| usize::try_from(row).unwrap_or(usize::MAX);
        let rows = parts.iter().flat_map(|part| &part.rows).map(|rows| fit(rows.start)..fit(rows.end));
        let selection = RowSelection::from_consecutive_ranges(rows, fit(self.footer.rows_of(self.number)));
        let reader = pages::contain(|| {
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.bytes.clone(), self.footer.reader.clone())
                .with_row_groups(vec![self.number])
                .with_batch_size(BATCH_ROWS)
                .with_row_selection(selection)
                // A mask would have rows decoded whose pages were not fetched.
                .with_row_selection_policy(RowSelectionPolicy::Selectors)
                .build()
                .map_err(Error::Decode)
        })?;
        Ok(Rows { reader, columns: None, row: 0, parts: parts.into_iter(), current: None })
    }
}

/// What the pages of a column that are read for `rows` unpack to.
fn check_column(bytes: &Pieces, column: &ColumnPages, rows: &[Range<u64>]) -> Result<u64, Error> {
    let (mut unpacked, mut values) = (0_u64, 0_u64);
    for page in column.of_rows(rows) {
        let announced = pages::check_page(&bytes.page(page)?)?;
        let span = page.rows.end - page.rows.start;
        let fits = if announced.dictionary { page.is_dictionary() } else { announced.values >= span };
        let exact = page.is_dictionary() || STORED.column(page.leaf).max_rep_level() > 0 || announced.values == span;
        if !fits || !exact {
            return Err(Error::damaged("a page does not hold as many values as the page index says"));
        }
        unpacked = unpacked.saturating_add(announced.unpacked);
        values = values.saturating_add(if announced.dictionary { 0 } else { announced.values });
    }
    check_limit("page values", values, MAX_ROW_GROUP_VALUES)?;
    Ok(unpacked)
}

/// What is read of one run.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) wanted: Wanted,
    /// The rows that may be wanted, sorted and apart, in the row group.
    pub(crate) rows: Vec<Range<u64>>,
}

impl Part {
    fn whole(run: &Run) -> Self {
        let rows = run.first_row..run.first_row.saturating_add(run.rows);
        Self { wanted: Wanted::all(run.clone()), rows: vec![rows] }
    }
}

/// The run that rows are being read of.
struct CurrentRun {
    key: PartitionKey,
    wanted: Wanted,
    /// Rows still to be read.
    left: u64,
    /// The lowest offset the next row may have.
    next: Offset,
}

impl CurrentRun {
    fn new(part: Part) -> Self {
        let left = part.rows.iter().map(|rows| rows.end - rows.start).sum();
        Self { key: part.wanted.run.key(), left, next: part.wanted.run.range.base(), wanted: part.wanted }
    }
}

/// Wanted records of one row group, in order. The first error is the last item.
pub struct Rows {
    reader: ParquetRecordBatchReader,
    columns: Option<Columns>,
    row: usize,
    parts: std::vec::IntoIter<Part>,
    current: Option<CurrentRun>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows of {} more runs", self.parts.len())
    }
}

impl Rows {
    /// The next row, which may be one that is not wanted: then its place is taken and nothing else.
    fn advance(&mut self) -> Result<Option<Option<Row>>, Error> {
        while self.current.as_ref().is_none_or(|current| current.left == 0) {
            let Some(part) = self.parts.next() else {
                return Ok(None);
            };
            self.current = Some(CurrentRun::new(part));
        }
        while self.columns.as_ref().is_none_or(|columns| self.row >= columns.rows()) {
            let batch = pages::contain(|| self.reader.next().transpose().map_err(|error| Error::Decode(error.into())))?;
            let batch = batch.ok_or_else(|| Error::damaged("a row group ends before its last row"))?;
            self.columns = Some(Columns::new(&batch)?);
            self.row = 0;
        }
        let (Some(columns), Some(current)) = (&self.columns, &mut self.current) else {
            return Ok(None);
        };
        let row = self.row;
        self.row += 1;
        columns.check(row, &current.key, current.wanted.run.range, current.next)?;
        let offset = columns.offset(row);
        current.left -= 1;
        current.next = offset.next();
        if !current.wanted.holds(offset, columns.timestamp(row)?) {
            return Ok(Some(None));
        }
        Ok(Some(Some((current.key.clone(), columns.record(row)?))))
    }
}

impl Iterator for Rows {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.advance() {
                Ok(Some(None)) => {}
                Ok(row) => return row.flatten().map(Ok),
                Err(error) => {
                    self.current = None;
                    self.parts = Vec::new().into_iter();
                    return Some(Err(error));
                }
            }
        }
    }
}
