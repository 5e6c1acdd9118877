//! From the bytes of a segment back to records.
//!
//! Owns: reading whole row groups, given their bytes; checking each row against the run it belongs to. Does not own:
//! fetching bytes, or which row groups a restore needs.
//!
//! Invariants: a record that comes out is byte for byte the one that went in (P6); a row that contradicts its run ends the
//! reading with an error (P9); no panic and no unbounded allocation whatever the bytes.

use bytes::{Buf as _, Bytes};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::footer::{MAX_ROW_GROUP_BYTES, SegmentFooter, check_limit};
use super::rows::Columns;
use super::{Error, pages};
use crate::ids::{Offset, PartitionKey};
use crate::manifest::Run;
use crate::record::Record;

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
    /// Reads the footer of a whole object.
    ///
    /// # Errors
    /// As [`SegmentFooter::parse`], or [`Error::Damaged`] where it does not begin as a Parquet file does.
    pub fn open(bytes: Bytes) -> Result<Self, Error> {
        if !bytes.starts_with(b"PAR1") {
            return Err(Error::damaged("it does not begin as a Parquet file does"));
        }
        let footer = SegmentFooter::parse(&bytes, bytes.len() as u64)?;
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

/// One row group, of which only its own bytes were fetched ([`SegmentFooter::row_group_range`]).
#[derive(Clone, Debug)]
pub struct RowGroupReader {
    footer: SegmentFooter,
    number: usize,
    bytes: GroupBytes,
}

impl RowGroupReader {
    /// Takes the bytes of row group `number`, after a look at what its pages announce.
    ///
    /// # Errors
    /// [`Error::Damaged`] where there is no such row group, it is of another length or its pages contradict the footer;
    /// [`Error::TooLarge`] where they would unpack to more than a reader accepts.
    pub fn new(footer: &SegmentFooter, number: usize, bytes: Bytes) -> Result<Self, Error> {
        let range = footer.row_group_range(number).ok_or_else(|| Error::damaged("there is no such row group"))?;
        if range.end.checked_sub(range.start) != Some(bytes.len() as u64) {
            return Err(Error::damaged("the bytes are not those of the row group"));
        }
        let bytes = GroupBytes { start: range.start, bytes, file_size: footer.file_size() };
        let mut unpacked = 0;
        for column in footer.reader.metadata().row_group(number).columns() {
            let (start, len) = column.byte_range();
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let chunk = bytes.get_bytes(start, len).map_err(Error::Decode)?;
            let announced = pages::check_chunk(&chunk)?;
            if i64::try_from(announced.data_values) != Ok(column.num_values()) {
                return Err(Error::damaged("the pages of a column do not hold as many values as the footer says"));
            }
            unpacked += announced.unpacked;
            check_limit("row group bytes", unpacked, MAX_ROW_GROUP_BYTES)?;
        }
        Ok(Self { footer: footer.clone(), number, bytes })
    }

    /// All its records.
    ///
    /// # Errors
    /// [`Error::Decode`] where the Parquet reader refuses the columns.
    pub fn rows(&self) -> Result<Rows, Error> {
        let runs: Vec<Run> = self.footer.runs_of(self.number).cloned().collect();
        self.read(runs)
    }

    /// The records of one of its runs.
    ///
    /// # Errors
    /// As [`RowGroupReader::rows`], or [`Error::Damaged`] where the footer knows no such run.
    pub fn records(&self, run: &Run) -> Result<Rows, Error> {
        if !self.footer.runs_of(self.number).any(|known| known == run) {
            return Err(Error::Damaged(format!("the footer knows no run {} of {}", run.range, run.key())));
        }
        self.read(vec![run.clone()])
    }

    fn read(&self, runs: Vec<Run>) -> Result<Rows, Error> {
        let first = runs.first().map_or(0, |run| run.first_row);
        let rows: u64 = runs.iter().map(|run| run.rows).sum();
        let fit = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
        let reader = pages::contain(|| {
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.bytes.clone(), self.footer.reader.clone())
                .with_row_groups(vec![self.number])
                .with_batch_size(BATCH_ROWS)
                .with_offset(fit(first))
                .with_limit(fit(rows))
                .build()
                .map_err(Error::Decode)
        })?;
        Ok(Rows { reader, columns: None, row: 0, runs: runs.into_iter(), current: None })
    }
}

/// The bytes of a row group, addressed by their place in the file.
#[derive(Clone, Debug)]
struct GroupBytes {
    start: u64,
    bytes: Bytes,
    file_size: u64,
}

impl GroupBytes {
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let at = start.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        match at {
            Some(at) if at <= self.bytes.len() => Ok(self.bytes.slice(at..)),
            _ => Err(ParquetError::EOF(format!("byte {start} is outside the row group"))),
        }
    }
}

impl Length for GroupBytes {
    fn len(&self) -> u64 {
        self.file_size
    }
}

impl ChunkReader for GroupBytes {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut bytes = self.from(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are outside the row group")));
        }
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// The run that rows are being read of.
struct CurrentRun {
    key: PartitionKey,
    run: Run,
    left: u64,
    /// The lowest offset the next row may have.
    next: Offset,
}

impl CurrentRun {
    fn new(run: Run) -> Self {
        Self { key: run.key(), left: run.rows, next: run.range.base(), run }
    }
}

/// Records of one row group, in order. The first error is the last item.
pub struct Rows {
    reader: ParquetRecordBatchReader,
    columns: Option<Columns>,
    row: usize,
    runs: std::vec::IntoIter<Run>,
    current: Option<CurrentRun>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows of {} more runs", self.runs.len())
    }
}

impl Rows {
    fn advance(&mut self) -> Result<Option<Row>, Error> {
        while self.current.as_ref().is_none_or(|current| current.left == 0) {
            let Some(run) = self.runs.next() else {
                return Ok(None);
            };
            self.current = Some(CurrentRun::new(run));
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
        columns.check(row, &current.key, current.run.range, current.next)?;
        let record = columns.record(row)?;
        current.left -= 1;
        current.next = record.offset.next();
        Ok(Some((current.key.clone(), record)))
    }
}

impl Iterator for Rows {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.advance().transpose();
        if matches!(row, Some(Err(_))) {
            self.current = None;
            self.runs = Vec::new().into_iter();
        }
        row
    }
}
