//! From the bytes of a segment back to records.
//!
//! Owns: reading whole row groups, given their bytes; checking each row against the run it belongs to. Does not own:
//! fetching bytes, or which row groups a restore needs.
//!
//! Invariants: a record that comes out is byte for byte the one that went in (P6); a row that contradicts its run ends the
//! reading with an error (P9); no panic and no unbounded allocation whatever the bytes.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{
    Array as _, BinaryViewArray, Int32Array, Int64Array, ListArray, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use arrow_buffer::Buffer;
use bytes::{Buf as _, Bytes};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::footer::{MAX_ROW_GROUP_BYTES, SegmentFooter, check_limit};
use super::{Error, headers, pages};
use crate::ids::{Offset, PartitionKey, TimestampMs};
use crate::manifest::Run;
use crate::record::{Header, Record, TimestampType};
use crate::schema::{MAX_TIMESTAMP, MIN_TIMESTAMP};

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
        let range = usize::try_from(range.start).unwrap_or(usize::MAX)..usize::try_from(range.end).unwrap_or(usize::MAX);
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
            let Some(run) = self.runs.next() else { return Ok(None) };
            self.current = Some(CurrentRun::new(run));
        }
        while self.columns.as_ref().is_none_or(|columns| self.row >= columns.rows()) {
            let batch = pages::contain(|| self.reader.next().transpose().map_err(|error| Error::Decode(error.into())))?;
            let batch = batch.ok_or_else(|| Error::damaged("a row group ends before its last row"))?;
            self.columns = Some(Columns::new(&batch)?);
            self.row = 0;
        }
        let (Some(columns), Some(current)) = (&self.columns, &mut self.current) else { return Ok(None) };
        let row = self.row;
        self.row += 1;
        columns.check(row, current)?;
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

/// A column of bytes whose values share the memory of their pages.
struct BytesView {
    array: BinaryViewArray,
    pages: Vec<Bytes>,
}

struct Page(Buffer);

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl BytesView {
    fn new(array: &BinaryViewArray) -> Self {
        let pages = array.data_buffers().iter().map(|page| Bytes::from_owner(Page(page.clone()))).collect();
        Self { array: array.clone(), pages }
    }

    fn get(&self, row: usize) -> Option<Bytes> {
        if self.array.is_null(row) {
            return None;
        }
        let view = arrow_data_view(self.array.views()[row]);
        let page = view.and_then(|(page, at, len)| Some(self.pages.get(page)?.slice(at..at.checked_add(len)?)));
        Some(page.unwrap_or_else(|| Bytes::copy_from_slice(self.array.value(row))))
    }
}

/// Page, start and length of a value that is not held in the view itself.
fn arrow_data_view(view: u128) -> Option<(usize, usize, usize)> {
    let word = |shift: u32| usize::try_from((view >> shift) & 0xffff_ffff).ok();
    let len = word(0)?;
    if len <= 12 { None } else { Some((word(64)?, word(96)?, len)) }
}

/// The columns of some rows.
struct Columns {
    topic: StringViewArray,
    lineage: Int32Array,
    partition: Int32Array,
    offset: Int64Array,
    timestamp: TimestampMillisecondArray,
    timestamp_type: StringViewArray,
    key: BytesView,
    value: BytesView,
    headers: ListArray,
    header_key: StringViewArray,
    header_value: BytesView,
    headers_raw: BytesView,
    timestamp_raw: Int64Array,
}

impl Columns {
    fn new(batch: &RecordBatch) -> Result<Self, Error> {
        let foreign = || Error::damaged("a column is not of its type");
        let [topic, lineage, partition, offset, timestamp, timestamp_type, key, value, headers, headers_raw, raw] =
            batch.columns()
        else {
            return Err(foreign());
        };
        let bytes = |array: &Arc<dyn arrow_array::Array>| array.as_binary_view_opt().map(BytesView::new).ok_or_else(foreign);
        let headers = headers.as_list_opt::<i32>().ok_or_else(foreign)?.clone();
        let entries = headers.values().as_struct_opt().ok_or_else(foreign)?;
        let [header_key, header_value] = entries.columns() else { return Err(foreign()) };
        Ok(Self {
            topic: topic.as_string_view_opt().ok_or_else(foreign)?.clone(),
            lineage: lineage.as_primitive_opt::<Int32Type>().ok_or_else(foreign)?.clone(),
            partition: partition.as_primitive_opt::<Int32Type>().ok_or_else(foreign)?.clone(),
            offset: offset.as_primitive_opt::<Int64Type>().ok_or_else(foreign)?.clone(),
            timestamp: timestamp.as_primitive_opt::<TimestampMillisecondType>().ok_or_else(foreign)?.clone(),
            timestamp_type: timestamp_type.as_string_view_opt().ok_or_else(foreign)?.clone(),
            key: bytes(key)?,
            value: bytes(value)?,
            header_key: header_key.as_string_view_opt().ok_or_else(foreign)?.clone(),
            header_value: bytes(header_value)?,
            headers,
            headers_raw: bytes(headers_raw)?,
            timestamp_raw: raw.as_primitive_opt::<Int64Type>().ok_or_else(foreign)?.clone(),
        })
    }

    fn rows(&self) -> usize {
        self.offset.len()
    }

    /// Whether the row is one that its run may hold.
    fn check(&self, row: usize, current: &CurrentRun) -> Result<(), Error> {
        let CurrentRun { key, run, next, .. } = current;
        let offset = Offset::new(self.offset.value(row));
        let same = self.topic.value(row) == key.topic.as_str()
            && self.lineage.value(row) == key.lineage.get()
            && self.partition.value(row) == key.partition.get();
        if same && *next <= offset && run.range.contains(offset) {
            return Ok(());
        }
        Err(Error::Damaged(format!("the row of offset {offset} does not belong to run {} of {key}", run.range)))
    }

    fn record(&self, row: usize) -> Result<Record, Error> {
        let kind = self.timestamp_type.value(row);
        Ok(Record {
            offset: Offset::new(self.offset.value(row)),
            timestamp: self.timestamp(row)?,
            timestamp_type: TimestampType::parse(kind)
                .ok_or_else(|| Error::Damaged(format!("there is no timestamp type {kind:?}")))?,
            key: self.key.get(row),
            value: self.value.get(row),
            headers: self.headers(row)?,
        })
    }

    fn timestamp(&self, row: usize) -> Result<TimestampMs, Error> {
        let shown = self.timestamp.value(row);
        if self.timestamp_raw.is_null(row) {
            return Ok(TimestampMs::new(shown));
        }
        let exact = self.timestamp_raw.value(row);
        if exact.clamp(MIN_TIMESTAMP, MAX_TIMESTAMP) == shown {
            return Ok(TimestampMs::new(exact));
        }
        let offset = self.offset.value(row);
        Err(Error::Damaged(format!("the two timestamps of the record at offset {offset} contradict each other")))
    }

    fn headers(&self, row: usize) -> Result<Vec<Header>, Error> {
        if let Some(raw) = self.headers_raw.get(row) {
            return headers::decode(raw);
        }
        let range = self.headers.value_offsets();
        let end = |row: usize| range.get(row).and_then(|end| usize::try_from(*end).ok()).unwrap_or(0);
        let entries = end(row)..end(row + 1);
        Ok(entries.map(|at| Header { key: self.header_key_at(at), value: self.header_value.get(at) }).collect())
    }

    fn header_key_at(&self, at: usize) -> Bytes {
        Bytes::copy_from_slice(self.header_key.value(at).as_bytes())
    }
}
