//! Where the pages of a segment lie, which rows they hold and which checksum their bytes have.
//!
//! Owns: joining page index and checksums of a footer, and the checks that make them fit to be believed. Does not own:
//! which pages are fetched ([`super::slice`]), what a page's header announces ([`super::pages`]), opening one ([`super::sealed`]).
//!
//! Invariants: of a map that was made, the pages of a column chunk follow each other without a hole and fill it, as stored; in the
//! clear they follow each other from where it begins; their rows begin at the row group's first, ascend, and end with its last;
//! offsets and timestamps have bounds for each page.

use std::ops::Range;

use parquet::file::metadata::ParquetMetaData;
use parquet::file::page_index::column_index::{ColumnIndexMetaData, PrimitiveColumnIndex};
use parquet::file::page_index::offset_index::PageLocation;

use super::Error;
use super::checksums::crc32c;
use crate::schema::{STORED, column};
use crate::store::Mismatch;

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Its bytes in the file, with the header.
    pub(crate) bytes: Range<u64>,
    /// Where it lies once it is open; the same where the file is in the clear.
    pub(crate) plain: Range<u64>,
    /// Its rows in the row group; empty for a dictionary.
    pub(crate) rows: Range<u64>,
    pub(crate) checksum: u32,
    /// The column chunk it belongs to, as Parquet numbers them.
    pub(crate) leaf: usize,
    /// Which data page of the chunk it is; 0 for a dictionary.
    pub(crate) number: usize,
}

impl Page {
    pub(crate) fn is_dictionary(&self) -> bool {
        self.rows.is_empty()
    }

    /// Compares its stored bytes with the checksum.
    pub(crate) fn check(&self, stored: &[u8]) -> Result<(), Mismatch> {
        let found = crc32c(stored);
        if found == self.checksum {
            return Ok(());
        }
        let (column, Range { start, end }) = (STORED.column(self.leaf).path().string(), self.bytes.clone());
        let expected = format!("crc32c {:08x} of the page of {column} in bytes {start} to {end}", self.checksum);
        Err(Mismatch { expected, found: format!("crc32c {found:08x}") })
    }
}

/// The pages of one column chunk.
#[derive(Clone, Debug)]
pub(crate) struct ColumnPages {
    pub(crate) dictionary: Option<Page>,
    pub(crate) data: Vec<Page>,
}

impl ColumnPages {
    /// All its pages, in the order of the file.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Page> {
        self.dictionary.iter().chain(&self.data)
    }

    /// The pages that are read for `rows`, which are sorted and apart: the dictionary, then those that hold one of them.
    pub(crate) fn of_rows<'a>(&'a self, rows: &'a [Range<u64>]) -> impl Iterator<Item = &'a Page> {
        let holds = |page: &&Page| {
            let after = rows.partition_point(|range| range.end <= page.rows.start);
            rows.get(after).is_some_and(|range| range.start < page.rows.end)
        };
        let data = self.data.iter().filter(holds);
        self.dictionary.iter().filter(|_| !rows.is_empty()).chain(data)
    }
}

/// All pages of a segment.
#[derive(Clone, Debug)]
pub(crate) struct PageMap {
    groups: Vec<Vec<ColumnPages>>,
}

impl PageMap {
    /// Joins the page index of a file, whose row groups are checked already, with the checksums of its pages. A stored page has
    /// `overhead` bytes more than it has in the clear.
    pub(crate) fn new(metadata: &ParquetMetaData, checksums: &[u32], overhead: u64) -> Result<Self, Error> {
        let index = metadata.page_index().ok_or_else(|| Error::damaged("it has no page index"))?;
        let mut checksums = checksums.iter().copied();
        let mut groups = Vec::with_capacity(metadata.num_row_groups());
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let rows = u64::try_from(group.num_rows()).map_err(Error::damaged)?;
            let mut columns = Vec::with_capacity(group.num_columns());
            for (leaf, chunk) in group.columns().iter().enumerate() {
                let locations = index.page_locations(number, leaf);
                let locations = locations.ok_or_else(|| Error::damaged("a column has no page index"))?;
                let (start, len) = chunk.byte_range();
                let chunk = ChunkPages { leaf, bytes: start..start + len, rows, overhead };
                columns.push(chunk.read(locations, &mut checksums)?);
            }
            for bounded in [column::OFFSET, column::TIMESTAMP] {
                check_bounds(metadata, number, bounded, columns.get(bounded))?;
            }
            groups.push(columns);
        }
        if checksums.next().is_some() {
            return Err(Error::damaged("there are more page checksums than pages"));
        }
        Ok(Self { groups })
    }

    /// Of pages that were listed, by row group and column.
    pub(crate) fn of(groups: Vec<Vec<ColumnPages>>) -> Self {
        Self { groups }
    }

    /// The columns of a row group; none where there is no such row group.
    pub(crate) fn group(&self, number: usize) -> &[ColumnPages] {
        self.groups.get(number).map_or(&[], Vec::as_slice)
    }

    /// Takes the checksums of these bytes of the whole file for right: a forger's table.
    #[cfg(test)]
    pub(crate) fn sign(&mut self, file: &[u8]) {
        for column in self.groups.iter_mut().flatten() {
            for page in column.dictionary.iter_mut().chain(&mut column.data) {
                let at = |byte: u64| usize::try_from(byte).expect("small");
                page.checksum = crc32c(&file[at(page.bytes.start)..at(page.bytes.end)]);
            }
        }
    }
}

/// The lowest and the highest number of each page of a column of 64 bits.
pub(crate) fn bounds(metadata: &ParquetMetaData, group: usize, leaf: usize) -> Option<&PrimitiveColumnIndex<i64>> {
    match metadata.page_index()?.column_index(group, leaf)? {
        ColumnIndexMetaData::INT64(bounds) => Some(bounds),
        _ => None,
    }
}

fn check_bounds(
    metadata: &ParquetMetaData,
    group: usize,
    leaf: usize,
    pages: Option<&ColumnPages>,
) -> Result<(), Error> {
    let pages = pages.map_or(0, |pages| pages.data.len());
    let whole = bounds(metadata, group, leaf)
        .is_some_and(|bounds| bounds.min_values().len() == pages && bounds.max_values().len() == pages);
    if whole || pages == 0 {
        return Ok(());
    }
    let column = STORED.column(leaf).path().string();
    Err(Error::Damaged(format!("the page index of row group {group} has not the bounds of each page of {column}")))
}

/// A column chunk whose pages are being listed.
pub(crate) struct ChunkPages {
    pub(crate) leaf: usize,
    pub(crate) bytes: Range<u64>,
    pub(crate) rows: u64,
    /// Bytes that a stored page has more than it has in the clear.
    pub(crate) overhead: u64,
}

impl ChunkPages {
    /// The pages at `locations`, with the next of `checksums`.
    pub(crate) fn read(
        &self,
        locations: &[PageLocation],
        checksums: &mut impl Iterator<Item = u32>,
    ) -> Result<ColumnPages, Error> {
        let contradiction = || Error::damaged("a page index contradicts its column chunk");
        let field = |value: i64| u64::try_from(value).map_err(|_| contradiction());
        let mut plain_at = self.bytes.start;
        let mut next = |bytes: Range<u64>, rows: Range<u64>, number: usize| {
            let checksum =
                checksums.next().ok_or_else(|| Error::damaged("there are fewer page checksums than pages"))?;
            let len = (bytes.end - bytes.start).checked_sub(self.overhead).filter(|len| *len > 0);
            let plain = plain_at..plain_at + len.ok_or_else(contradiction)?;
            plain_at = plain.end;
            Ok::<_, Error>(Page { bytes, plain, rows, checksum, leaf: self.leaf, number })
        };
        let data_at = locations.first().map_or(Ok(self.bytes.end), |first| field(first.offset))?;
        if data_at < self.bytes.start || data_at > self.bytes.end {
            return Err(contradiction());
        }
        // What precedes the data pages is the dictionary.
        let dictionary = self.bytes.start < data_at;
        let dictionary = if dictionary { Some(next(self.bytes.start..data_at, 0..0, 0)?) } else { None };
        let mut data = Vec::with_capacity(locations.len());
        let (mut at, mut row) = (data_at, 0);
        for (number, location) in locations.iter().enumerate() {
            let end = field(i64::from(location.compressed_page_size))?.checked_add(at).ok_or_else(contradiction)?;
            let last_row = locations.get(number + 1).map_or(Ok(self.rows), |next| field(next.first_row_index))?;
            let begins = (field(location.offset)?, field(location.first_row_index)?);
            if begins != (at, row) || at >= end || row >= last_row {
                return Err(contradiction());
            }
            data.push(next(at..end, row..last_row, number)?);
            (at, row) = (end, last_row);
        }
        if (at, row) == (self.bytes.end, self.rows) {
            Ok(ColumnPages { dictionary, data })
        } else {
            Err(contradiction())
        }
    }
}
