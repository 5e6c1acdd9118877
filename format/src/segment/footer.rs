//! The end of a segment: where its row groups are, and the facts that let it be understood without its manifest.
//!
//! Owns: the footer's key-value metadata, the limits that readers insist on and writers keep, and the checks that make a
//! footer fit to be believed. Does not own: the rows ([`super::decode`]), opening what is sealed ([`super::sealed`]).
//!
//! Invariants: of a [`SegmentFooter`] that parsed, each row group lies inside the file and before the footer, has the
//! columns of [`crate::schema`], its runs cover its rows exactly, sorted and without overlap, and its pages are as
//! [`super::page_map`] says.

use std::io::Read as _;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::{
    PageIndexPolicy, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, RowGroupMetaData,
};

use super::modular::{FileCipher, PAGE_OVERHEAD};
use super::page_map::PageMap;
use super::run_order::RunOrder;
use super::{Error, checksums, pages, sealed};
use crate::crypt::FileOpener;
use crate::ids::BackupId;
use crate::manifest::Run;
use crate::schema::{READ, SCHEMA_VERSION, STORED};

/// The most bytes that the columns of a row group may unpack to.
pub const MAX_ROW_GROUP_BYTES: u64 = 2 << 30;

/// The most bytes of keys, values and headers that are written to a row group: half of what is read, since lengths,
/// levels and the other columns come on top.
pub const MAX_RAW_ROW_GROUP_BYTES: u64 = 1 << 30;

/// The most values (rows, or headers of all rows) in a column of a row group.
pub const MAX_ROW_GROUP_VALUES: u64 = 1 << 25;

/// The most bytes of page index and footer.
pub const MAX_FOOTER_BYTES: u64 = 16 << 20;

/// The most bytes that the runs may unpack to.
const MAX_RUNS_BYTES: u64 = 256 << 20;

/// The four bytes at the start and the end of a Parquet file.
const MAGIC: &[u8; 4] = b"PAR1";

/// The same of one whose footer is encrypted.
pub(crate) const SEALED_MAGIC: &[u8; 4] = b"PARE";

/// The footer's length and the magic, at the end of a file.
pub(crate) const TAIL_BYTES: usize = 8;

pub(crate) const KEY_SCHEMA_VERSION: &str = "strimzi_backup.schema_version";
const KEY_BACKUP: &str = "strimzi_backup.backup";
const KEY_RUNS: &str = "strimzi_backup.runs";
const KEY_CHECKSUMS: &str = "strimzi_backup.page_crc32c";

pub(crate) fn check_limit(what: &'static str, found: u64, limit: u64) -> Result<(), Error> {
    if found > limit { Err(Error::TooLarge { what, found, limit }) } else { Ok(()) }
}

/// What the key-value metadata of a segment says.
pub(crate) fn facts(
    backup: BackupId,
    runs: &[Run],
    page_checksums: &[u32],
) -> Result<[(&'static str, String); 4], Error> {
    let json = serde_json::to_vec(runs).map_err(Error::damaged)?;
    check_limit("runs", json.len() as u64, MAX_RUNS_BYTES)?;
    let packed = zstd::bulk::compress(&json, 3).map_err(Error::damaged)?;
    Ok([
        (KEY_SCHEMA_VERSION, SCHEMA_VERSION.to_string()),
        (KEY_BACKUP, backup.to_string()),
        (KEY_RUNS, BASE64.encode(packed)),
        (KEY_CHECKSUMS, checksums::to_text(page_checksums)),
    ])
}

/// A segment's footer, checked.
#[derive(Clone, Debug)]
pub struct SegmentFooter {
    /// Of an encrypted segment the view in the clear.
    pub(crate) reader: ArrowReaderMetadata,
    /// What opens an encrypted segment's pages.
    pub(crate) cipher: Option<Arc<FileCipher>>,
    file_size: u64,
    /// The bytes of each row group, as they are stored.
    row_groups: Arc<[Range<u64>]>,
    backup: BackupId,
    runs: Arc<[Run]>,
    pub(crate) pages: Arc<PageMap>,
}

impl SegmentFooter {
    /// Reads page index and footer from the last bytes of a file of `file_size` bytes. [`crate::manifest::Segment::footer_bytes`]
    /// says how many suffice. Of an encrypted backup `opener` opens them.
    ///
    /// # Errors
    /// [`Error::TailTooShort`] where `tail` does not reach back far enough, [`Error::NewerSchema`] where a newer release
    /// wrote it, [`Error::NotEncrypted`] or [`Error::Encrypted`] where it is not as its backup, [`Error::Key`] or
    /// [`Error::NotAuthentic`] where it does not open, else [`Error::Damaged`], [`Error::Decode`] or [`Error::TooLarge`].
    pub fn parse(tail: &[u8], file_size: u64, opener: Option<&FileOpener>) -> Result<Self, Error> {
        let (metadata, cipher) = pages::contain(|| parse_metadata(tail, file_size, opener))?;
        let version = fact(&metadata, KEY_SCHEMA_VERSION)?;
        let version: u32 = version.parse().map_err(|_| Error::damaged("the schema version is no number"))?;
        if version > SCHEMA_VERSION {
            return Err(Error::NewerSchema { found: version });
        }
        let backup = fact(&metadata, KEY_BACKUP)?.parse().map_err(|_| Error::damaged("the backup's id is no uuid"))?;
        let runs = unpack_runs(fact(&metadata, KEY_RUNS)?)?;
        check_columns(&metadata)?;
        let data_end = file_size.saturating_sub(TAIL_BYTES as u64);
        for group in metadata.row_groups() {
            check_row_group(group, data_end)?;
        }
        check_runs(&metadata, &runs)?;
        let page_checksums = checksums::from_text(fact(&metadata, KEY_CHECKSUMS)?)?;
        let row_groups = metadata.row_groups().iter().map(stored_range).collect();
        let metadata = with_page_index(metadata, tail, file_size, cipher.as_ref())?;
        let overhead = if cipher.is_some() { PAGE_OVERHEAD } else { 0 };
        let pages = pages::contain(|| PageMap::new(&metadata, &page_checksums, overhead))?;
        let metadata = if cipher.is_some() { sealed::plain_view(metadata, &pages)? } else { metadata };
        let options = ArrowReaderOptions::new()
            .with_skip_arrow_metadata(true)
            .with_page_index_policy(PageIndexPolicy::Skip)
            .with_schema(Arc::clone(&READ));
        let reader =
            pages::contain(|| ArrowReaderMetadata::try_new(Arc::new(metadata), options).map_err(Error::Decode))?;
        let (cipher, runs, pages) = (cipher.map(Arc::new), runs.into(), Arc::new(pages));
        Ok(Self { reader, cipher, file_size, row_groups, backup, runs, pages })
    }

    /// The backup it belongs to.
    pub fn backup(&self) -> BackupId {
        self.backup
    }

    /// Its runs, in the order of its rows.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The runs of one row group.
    pub(crate) fn runs_of(&self, row_group: usize) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.row_group as usize == row_group)
    }

    /// Fails unless `run` is one of its runs.
    pub(crate) fn check_knows(&self, run: &Run) -> Result<(), Error> {
        if self.runs_of(run.row_group as usize).any(|known| known == run) {
            return Ok(());
        }
        Err(Error::Damaged(format!("the footer knows no run {} of {}", run.range, run.key())))
    }

    /// The rows of a row group; 0 where there is no such row group.
    pub(crate) fn rows_of(&self, row_group: usize) -> u64 {
        let group = self.reader.metadata().row_groups().get(row_group);
        group.and_then(|group| u64::try_from(group.num_rows()).ok()).unwrap_or(0)
    }

    /// How many row groups it has.
    pub fn row_groups(&self) -> usize {
        self.reader.metadata().num_row_groups()
    }

    /// The size of the file.
    pub fn file_size(&self) -> u64 {
        self.file_size
    }

    /// The bytes of one row group in the file; `None` where there is no such row group.
    pub fn row_group_range(&self, row_group: usize) -> Option<Range<u64>> {
        self.row_groups.get(row_group).cloned()
    }
}

/// The bytes of a row group that was checked.
fn stored_range(group: &RowGroupMetaData) -> Range<u64> {
    let ranges = || group.columns().iter().map(|column| column.byte_range());
    let start = ranges().map(|(start, _)| start).min().unwrap_or(0);
    start..ranges().map(|(start, len)| start + len).max().unwrap_or(start)
}

/// The end of a file, as far as it says where the footer begins.
pub(crate) struct End<'a> {
    before: &'a [u8],
    /// The bytes of the footer, which are the last of those.
    len: u32,
    pub(crate) magic: &'a [u8; 4],
}

impl<'a> End<'a> {
    /// Of the file whose last bytes are `tail`.
    ///
    /// # Errors
    /// [`Error::TailTooShort`].
    pub(crate) fn of(tail: &'a [u8]) -> Result<Self, Error> {
        let Some((before, end)) = tail.split_last_chunk::<TAIL_BYTES>() else {
            return Err(Error::TailTooShort { needed: TAIL_BYTES as u64 });
        };
        let [a, b, c, d, magic @ ..] = end;
        Ok(Self { before, len: u32::from_le_bytes([*a, *b, *c, *d]), magic })
    }

    /// From how many bytes before its end on the footer begins.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    fn needed(&self) -> Result<u64, Error> {
        check_limit("footer bytes", u64::from(self.len), MAX_FOOTER_BYTES)?;
        Ok(u64::from(self.len) + TAIL_BYTES as u64)
    }

    /// The footer; of an encrypted file with what stands before it.
    ///
    /// # Errors
    /// [`Error::TailTooShort`] where it begins further back, [`Error::TooLarge`].
    pub(crate) fn footer(&self) -> Result<&'a [u8], Error> {
        let needed = self.needed()?;
        let at = self.before.len().checked_sub(self.len as usize).ok_or(Error::TailTooShort { needed })?;
        Ok(&self.before[at..])
    }
}

/// Fails unless a file begins, or ends, as one does that is in the clear, or encrypted where there is what opens it.
pub(crate) fn check_magic(
    found: Option<&[u8; 4]>,
    opener: Option<&FileOpener>,
    place: &'static str,
) -> Result<(), Error> {
    match (found, opener) {
        (Some(MAGIC), None) | (Some(SEALED_MAGIC), Some(_)) => Ok(()),
        (Some(MAGIC), Some(_)) => Err(Error::NotEncrypted),
        (Some(SEALED_MAGIC), None) => Err(Error::Encrypted),
        _ => Err(Error::Damaged(format!("it does not {place} as a Parquet file does"))),
    }
}

/// Reads the footer; of an encrypted file, with what opens the rest.
pub(crate) fn parse_metadata(
    tail: &[u8],
    file_size: u64,
    opener: Option<&FileOpener>,
) -> Result<(ParquetMetaData, Option<FileCipher>), Error> {
    if file_size < (MAGIC.len() + TAIL_BYTES) as u64 || tail.len() as u64 > file_size {
        return Err(Error::Damaged(format!("{file_size} bytes are too few for a segment")));
    }
    let end = End::of(tail)?;
    check_magic(Some(end.magic), opener, "end")?;
    if end.needed()? + MAGIC.len() as u64 > file_size {
        return Err(Error::damaged("the footer is longer than the file"));
    }
    let stored = end.footer()?;
    // A summary of how pages are encoded would do for reading, and not for copying a row group.
    let options = ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false);
    let decode = |footer: &[u8]| {
        ParquetMetaDataReader::decode_metadata_with_options(footer, Some(&options)).map_err(Error::Decode)
    };
    let Some(opener) = opener else { return Ok((decode(stored)?, None)) };
    let (cipher, footer) = sealed::open_footer(stored, opener)?;
    Ok((decode(&footer)?, Some(cipher)))
}

/// The places of all page indexes.
fn index_ranges(metadata: &ParquetMetaData) -> impl Iterator<Item = Range<u64>> {
    let columns = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
    columns.flat_map(|column| [column.column_index_range(), column.offset_index_range()]).flatten()
}

/// Reads the page index, which lies before the footer. What it says of an encrypted file, it says of the stored pages.
pub(crate) fn with_page_index(
    metadata: ParquetMetaData,
    tail: &[u8],
    file_size: u64,
    cipher: Option<&FileCipher>,
) -> Result<ParquetMetaData, Error> {
    let Some(start) = index_ranges(&metadata).map(|range| range.start).min() else { return Ok(metadata) };
    let outside = || Error::damaged("the page index lies outside the file");
    let needed = file_size.checked_sub(start).ok_or_else(outside)?;
    check_limit("footer bytes", needed, MAX_FOOTER_BYTES)?;
    let at = |position: u64| usize::try_from(position - start).map_err(|_| outside());
    let Some(first) = (tail.len() as u64).checked_sub(needed) else {
        return Err(Error::TailTooShort { needed });
    };
    let stored = &tail[usize::try_from(first).map_err(|_| outside())?..];
    let (metadata, index) = match cipher {
        Some(cipher) => sealed::open_page_index(cipher, metadata, stored, start)?,
        None => (metadata, Bytes::copy_from_slice(stored)),
    };
    for range in index_ranges(&metadata) {
        let bytes = index.get(at(range.start)?..at(range.end.max(range.start))?).ok_or_else(outside)?;
        pages::check_structure(bytes)?;
    }
    pages::contain(|| {
        let mut reader =
            ParquetMetaDataReader::new_with_metadata(metadata).with_page_index_policy(PageIndexPolicy::Required);
        reader.read_page_indexes_sized(&index, file_size).map_err(Error::Decode)?;
        reader.finish().map_err(Error::Decode)
    })
}

pub(crate) fn fact<'a>(metadata: &'a ParquetMetaData, key: &str) -> Result<&'a str, Error> {
    let facts = metadata.file_metadata().key_value_metadata();
    let fact = facts.and_then(|facts| facts.iter().find(|fact| fact.key == key));
    fact.and_then(|fact| fact.value.as_deref()).ok_or_else(|| Error::Damaged(format!("the footer has no {key}")))
}

fn unpack_runs(text: &str) -> Result<Vec<Run>, Error> {
    let packed = BASE64.decode(text).map_err(Error::damaged)?;
    let mut json = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(packed.as_slice()).map_err(Error::damaged)?;
    decoder.take(MAX_RUNS_BYTES + 1).read_to_end(&mut json).map_err(Error::damaged)?;
    check_limit("runs", json.len() as u64, MAX_RUNS_BYTES)?;
    serde_json::from_slice(&json).map_err(Error::damaged)
}

fn check_columns(metadata: &ParquetMetaData) -> Result<(), Error> {
    let found = metadata.file_metadata().schema_descr();
    let same = found.num_columns() == STORED.num_columns()
        && found.columns().iter().zip(STORED.columns()).all(|(found, stored)| found == stored);
    if same { Ok(()) } else { Err(Error::damaged("its columns are not those of a segment")) }
}

fn check_row_group(group: &RowGroupMetaData, data_end: u64) -> Result<(), Error> {
    let rows =
        u64::try_from(group.num_rows()).map_err(|_| Error::damaged("a row group has a negative number of rows"))?;
    check_limit("row group values", rows, MAX_ROW_GROUP_VALUES)?;
    if group.num_columns() != STORED.num_columns() {
        return Err(Error::damaged("a row group lacks columns"));
    }
    let mut unpacked = 0_u64;
    for column in group.columns() {
        let offset = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
        let field = |value: i64| u64::try_from(value).map_err(|_| Error::damaged("a column chunk has a negative size"));
        let end = field(offset)?.checked_add(field(column.compressed_size())?);
        if offset < MAGIC.len() as i64 || end.is_none_or(|end| end > data_end) {
            return Err(Error::damaged("a column chunk lies outside the file"));
        }
        check_limit("row group values", field(column.num_values())?, MAX_ROW_GROUP_VALUES)?;
        unpacked = unpacked.saturating_add(field(column.uncompressed_size())?);
    }
    check_limit("row group bytes", unpacked, MAX_ROW_GROUP_BYTES)
}

/// The runs must cover the rows of the row groups exactly, in order: otherwise they speak of another file.
fn check_runs(metadata: &ParquetMetaData, runs: &[Run]) -> Result<(), Error> {
    let contradiction = |run: &Run| {
        let (key, range, group) = (run.key(), run.range, run.row_group);
        Error::Damaged(format!("run {range} of {key} does not fit the rows of row group {group}"))
    };
    let mut rest = runs.iter().peekable();
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let mut rows = 0;
        while let Some(run) = rest.next_if(|run| run.row_group as usize == number) {
            let few = run.rows == 0 || run.rows > run.range.span();
            if run.first_row != rows || few || run.min_timestamp > run.max_timestamp {
                return Err(contradiction(run));
            }
            rows = rows.checked_add(run.rows).ok_or_else(|| contradiction(run))?;
        }
        if i64::try_from(rows) != Ok(group.num_rows()) {
            return Err(Error::Damaged(format!("the runs do not cover the rows of row group {number}")));
        }
    }
    if let Some(run) = rest.next() {
        return Err(contradiction(run));
    }
    let mut order = RunOrder::default();
    let sorted = runs.iter().try_for_each(|run| order.follow(run.row_group, run));
    sorted.map_err(|_| Error::damaged("the runs are not sorted, or overlap"))
}
