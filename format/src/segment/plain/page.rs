//! Pages as they fill: each value behind its length, with room in front for the levels.

use super::super::headers::put_unsigned;
use super::super::run_lengths::RunLengths;
use super::packed::{FilledPage, Packer};

/// A page ends with the value that reaches this. At levels 1 and 3 zstd is faster over a MiB than over the quarter of one, for as
/// many bytes or fewer (docs/adr/0013-pages-filled-as-records-arrive.md).
pub(crate) const PAGE_BYTES: usize = ROOMY_BYTES - (16 << 10);

/// Small pages are joined up to this, so that who wants one partition of several reads little else. Just below 256 KiB,
/// above which zstd takes a coarser parameter set.
pub(crate) const JOINED_BYTES: usize = 245_760;

/// Rows after which any page ends.
pub(crate) const PAGE_ROWS: usize = 20_000;

/// Room before the values for the levels of a page with few changes between null and not null.
const LEVELS_ROOM: usize = 64;

/// What a page that will be filled allocates at once.
const ROOMY_BYTES: usize = 1 << 20;

/// Bytes before each value.
const LENGTH_BYTES: usize = size_of::<u32>();

/// One page.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlainPage {
    /// Room for the levels, then each value behind its length. Empty as long as the page is.
    bytes: Vec<u8>,
    /// Whether rows are there (not null).
    present: RunLengths<bool>,
    rows: usize,
}

impl PlainPage {
    /// Adds a row.
    pub(crate) fn push(&mut self, value: Option<&[u8]>) {
        if self.bytes.is_empty() {
            self.bytes.resize(LEVELS_ROOM, 0);
        }
        if let Some(value) = value {
            let len = u32::try_from(value.len()).unwrap_or(u32::MAX); // librdkafka delivers no record of 2 GiB
            self.bytes.extend_from_slice(&len.to_le_bytes());
            self.bytes.extend_from_slice(value);
        }
        self.present.push(value.is_some());
        self.rows += 1;
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether the next row belongs to the next page.
    pub(crate) fn is_full(&self) -> bool {
        self.plain_bytes() >= PAGE_BYTES || self.rows >= PAGE_ROWS
    }

    /// Whether no other page is to be appended.
    pub(crate) fn stands_alone(&self) -> bool {
        self.plain_bytes() >= JOINED_BYTES || self.rows >= PAGE_ROWS
    }

    /// Whether the other page may be appended.
    pub(crate) fn has_room_for(&self, other: &Self) -> bool {
        self.plain_bytes() + other.plain_bytes() <= JOINED_BYTES && self.rows + other.rows <= PAGE_ROWS
    }

    /// Adds all rows of another page.
    pub(crate) fn append(&mut self, other: &Self) {
        self.bytes.extend_from_slice(other.bytes.get(LEVELS_ROOM..).unwrap_or_default());
        other.present.iter().for_each(|(present, rows)| self.present.push_rows(present, rows));
        self.rows += other.rows;
    }

    /// Its rows, one by one.
    #[cfg(test)]
    fn values(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut left = self.bytes.get(LEVELS_ROOM..).unwrap_or_default();
        let rows = self.present.iter().flat_map(|(present, rows)| std::iter::repeat_n(present, rows));
        rows.map(move |present| present.then(|| take_value(&mut left)))
    }

    /// Bytes of the values without their lengths.
    pub(crate) fn value_bytes(&self) -> usize {
        let present: usize = self.present.iter().filter_map(|(present, rows)| present.then_some(rows)).sum();
        self.plain_bytes() - present * LENGTH_BYTES
    }

    /// Bytes allocated.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// Removes all rows, and keeps the memory that a page takes.
    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(ROOMY_BYTES);
        self.present = RunLengths::default();
        self.rows = 0;
    }

    /// The page as Parquet wants it before compression: levels, then values.
    pub(crate) fn with_levels(&mut self) -> &[u8] {
        let levels = self.levels();
        let start = match LEVELS_ROOM.checked_sub(levels.len()) {
            Some(start) => {
                self.bytes[start..LEVELS_ROOM].copy_from_slice(&levels);
                start
            }
            None => {
                self.bytes.splice(..LEVELS_ROOM, levels);
                0
            }
        };
        &self.bytes[start..]
    }

    /// Definition levels as Parquet's RLE hybrid, preceded by their length: a run is its length doubled, then the level.
    fn levels(&self) -> Vec<u8> {
        let mut levels = vec![0; 4];
        for (present, rows) in self.present.iter() {
            put_unsigned(&mut levels, (rows as u64) << 1);
            levels.push(u8::from(present));
        }
        let len = u32::try_from(levels.len() - 4).unwrap_or(u32::MAX); // at most three bytes for each row of a page
        levels[..4].copy_from_slice(&len.to_le_bytes());
        levels
    }

    fn plain_bytes(&self) -> usize {
        self.bytes.len().saturating_sub(LEVELS_ROOM)
    }
}

/// Takes the value off the front.
#[cfg(test)]
fn take_value<'a>(left: &mut &'a [u8]) -> &'a [u8] {
    let split = left.split_first_chunk().and_then(|(len, rest)| {
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        rest.split_at_checked(len)
    });
    let (value, rest) = split.expect("a page holds a length and as many bytes for each row that is there");
    *left = rest;
    value
}

/// A column that is being filled, page after page.
#[derive(Debug, Default)]
pub(crate) struct PlainColumn {
    full: Vec<FilledPage>,
    /// Never full.
    open: PlainPage,
    /// Pages allocate at once what they will hold.
    roomy: bool,
}

impl PlainColumn {
    /// An empty column. `roomy` suits one that fills pages; else memory grows with what comes.
    pub(crate) fn new(roomy: bool) -> Self {
        Self { full: Vec::new(), open: PlainPage::default(), roomy }
    }

    /// Adds a row. A page that it fills is compressed where there is a packer, and its memory filled again.
    pub(crate) fn push(&mut self, value: Option<&[u8]>, packer: Option<&mut Packer>) {
        if self.roomy && self.open.is_empty() {
            self.open.bytes.reserve(ROOMY_BYTES);
        }
        self.open.push(value);
        if !self.open.is_full() {
            return;
        }
        // What cannot be compressed the encoder cannot either, and it says so.
        if let Some(Ok(packed)) = packer.map(|packer| packer.pack(&mut self.open)) {
            self.full.push(FilledPage::Packed(packed));
            self.open.clear();
        } else {
            self.full.push(FilledPage::Plain(std::mem::take(&mut self.open)));
        }
    }

    /// Whether the last page holds no more: a batch that ends here splits no page.
    pub(crate) fn is_at_page_end(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn memory(&self) -> usize {
        self.full.iter().map(FilledPage::memory).sum::<usize>() + self.open.memory()
    }

    /// Its pages; the column is empty afterwards.
    pub(crate) fn finish(&mut self) -> Vec<FilledPage> {
        if !self.open.is_empty() {
            self.full.push(FilledPage::Plain(std::mem::take(&mut self.open)));
        }
        std::mem::take(&mut self.full)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rows of each page, of which none is compressed.
    fn rows(column: &mut PlainColumn) -> Vec<usize> {
        let rows = |page| match page {
            FilledPage::Plain(page) => page.rows(),
            FilledPage::Packed(page) => panic!("packed: {page:?}"),
        };
        column.finish().into_iter().map(rows).collect()
    }

    fn filled(rows: &[Option<Vec<u8>>]) -> PlainPage {
        let mut page = PlainPage::default();
        rows.iter().for_each(|row| page.push(row.as_deref()));
        page
    }

    proptest! {
        #[test]
        fn rows_come_back_also_from_joined_pages(
            first in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..40)), 0..60),
            second in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..40)), 0..60),
        ) {
            let mut page = filled(&first);
            page.push(Some(b"between"));
            page.append(&filled(&second));
            let rows: Vec<_> = page.values().map(|value| value.map(<[u8]>::to_vec)).collect();
            let expected: Vec<_> = first.iter().cloned().chain([Some(b"between".to_vec())]).chain(second.iter().cloned()).collect();
            prop_assert_eq!(&rows, &expected);
            prop_assert_eq!(page.rows(), expected.len());
            prop_assert_eq!(page.value_bytes(), expected.iter().flatten().map(Vec::len).sum::<usize>());
        }
    }

    #[test]
    fn levels_stand_right_before_the_values_however_long_they_are() {
        let few = [Some(b"ab".to_vec()), None];
        assert_eq!(filled(&few).with_levels(), [4, 0, 0, 0, 2, 1, 2, 0, 2, 0, 0, 0, b'a', b'b']);
        let changing: Vec<_> = (0..100).map(|row| (row % 2 == 0).then(|| vec![7])).collect();
        let mut page = filled(&changing);
        let bytes = page.with_levels();
        assert_eq!(bytes.len(), 4 + 100 * 2 + 50 * 5);
        assert_eq!(bytes[..8], [200, 0, 0, 0, 2, 1, 2, 0]);
    }

    #[test]
    fn a_column_ends_each_page_with_the_value_that_fills_it() {
        let mut column = PlainColumn::new(true);
        for _ in 0..1000 {
            column.push(Some(&[1; 5000]), None);
        }
        assert_eq!(rows(&mut column), [207, 207, 207, 207, 172]);
        let mut nulls = PlainColumn::new(false);
        (0..PAGE_ROWS + 1).for_each(|_| nulls.push(None, None));
        assert_eq!(rows(&mut nulls), [PAGE_ROWS, 1]);
    }
}
