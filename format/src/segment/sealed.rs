//! Reading a file that is sealed: a view of it as it would be in the clear.
//!
//! ```text
//! stored   PARE │ header¹ page¹ │ header² page² │ …   page indexes │ crypto metadata, footer │ length │ PARE
//!                 module  module                      a module each  in the clear    module
//! plain         │ header¹ page¹ header² page² …    │       a chunk begins where it is stored; its pages follow each other
//! ```
//!
//! Owns: opening footer, page indexes and pages, and the places that all of them have in the view. Does not own: what is read of it
//! ([`super::footer`], [`super::decode`], [`super::copy`]: they know no other file), or how one module is opened ([`super::modular`]).
//!
//! Invariants: the view is that of a file in the clear whose page headers take up as many bytes as those that are sealed; so every
//! page is [`super::modular::PAGE_OVERHEAD`] bytes smaller, which is known before one is opened; nothing is shown that was not authentic; hostile
//! bytes end in an error.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::file::column_crypto_metadata::ColumnCryptoMetaData;
use parquet::file::metadata::page_index::{PageIndexBuilder, PageIndexProvider};
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, ParquetMetaData};
use parquet::file::page_index::offset_index::OffsetIndexMetaData;

use super::Error;
use super::modular::{ChunkAt, FileCipher, MODULE_OVERHEAD, Module, PageAt, UNIQUE_BYTES};
use super::page_map::{ColumnPages, Page, PageMap};
use super::pages::{self, MAX_DEPTH, Thrift};
use super::pieces::Pieces;
use crate::crypt::FileOpener;

/// What stands before the footer, for whoever is to open it: Parquet's `FileCryptoMetaData`.
#[derive(Debug)]
pub(crate) struct CryptoMetadata<'a> {
    pub(crate) key_metadata: &'a [u8],
    /// The part of the AAD that is unique to the file.
    pub(crate) unique: &'a [u8],
    /// Where that stands.
    pub(crate) unique_at: usize,
    /// How many bytes it is; the footer's module follows.
    pub(crate) len: usize,
}

/// The same, as far as Parquet's `AesGcmV1` goes.
struct Unique<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> CryptoMetadata<'a> {
    /// Reads what `bytes` begin with.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let lacks = |what: &str| Error::Damaged(format!("before its footer stands no {what}"));
        let mut rest = bytes;
        let mut thrift = Thrift::new(&mut rest);
        let (mut id, mut unique, mut key_metadata) = (0, None, None);
        while let Some(kind) = thrift.field(&mut id)? {
            match (id, kind) {
                (1, Thrift::STRUCT) => unique = read_algorithm(&mut thrift, bytes.len())?,
                (2, Thrift::BINARY) => key_metadata = Some(thrift.binary()?),
                _ => thrift.skip(kind, MAX_DEPTH)?,
            }
        }
        let len = bytes.len() - thrift.left();
        // One of another length would let the AAD of one part of the file be read as that of another.
        let unique = unique.filter(|unique| unique.bytes.len() == UNIQUE_BYTES);
        let Unique { bytes: unique, at: unique_at } = unique.ok_or_else(|| lacks("identifier of the file"))?;
        Ok(Self { key_metadata: key_metadata.ok_or_else(|| lacks("wrapped key"))?, unique, unique_at, len })
    }
}

/// Reads Parquet's `EncryptionAlgorithm`, of which there is one here.
fn read_algorithm<'a>(thrift: &mut Thrift<'a, '_>, whole: usize) -> Result<Option<Unique<'a>>, Error> {
    let (mut id, mut unique) = (0, None);
    while let Some(kind) = thrift.field(&mut id)? {
        match (id, kind) {
            (1, Thrift::STRUCT) => unique = read_aes_gcm(thrift, whole)?,
            _ => return Err(Error::damaged("it is encrypted with another algorithm than AES_GCM_V1")),
        }
    }
    Ok(unique)
}

fn read_aes_gcm<'a>(thrift: &mut Thrift<'a, '_>, whole: usize) -> Result<Option<Unique<'a>>, Error> {
    let (mut id, mut unique) = (0, None);
    while let Some(kind) = thrift.field(&mut id)? {
        match (id, kind) {
            // Whoever writes a prefix into a file can write another's.
            (1, _) => return Err(Error::damaged("it brings its own AAD prefix, which no file of a backup does")),
            (2, Thrift::BINARY) => {
                let bytes = thrift.binary()?;
                unique = Some(Unique { bytes, at: whole - thrift.left() - bytes.len() });
            }
            _ => thrift.skip(kind, MAX_DEPTH)?,
        }
    }
    Ok(unique)
}

/// Opens the footer that `stored` is, with what stands before it; gives it in the clear, with what opens the rest.
///
/// # Errors
/// [`Error::Key`] or [`Error::NotAuthentic`] where it does not open, else [`Error::Damaged`].
pub(crate) fn open_footer(stored: &[u8], opener: &FileOpener) -> Result<(FileCipher, Vec<u8>), Error> {
    let crypto = CryptoMetadata::read(stored)?;
    let key = opener.open(crypto.key_metadata)?;
    let cipher = FileCipher::new(&key, &opener.aad_prefix(), crypto.unique)?;
    let footer = cipher.open_whole(Module::Footer, &stored[crypto.len..])?;
    Ok((cipher, footer))
}

/// Opens the page indexes in `stored`, the bytes from `start` to the end of the file. Gives them in the clear, each where its module
/// begins, and the metadata that says so, of a file without encryption.
///
/// # Errors
/// [`Error::NotAuthentic`] where one does not open, else [`Error::Damaged`].
pub(crate) fn open_page_index(
    cipher: &FileCipher,
    metadata: ParquetMetaData,
    stored: &[u8],
    start: u64,
) -> Result<(ParquetMetaData, Bytes), Error> {
    let mut indexes = Indexes { cipher, stored, start, plain: stored.to_vec() };
    let mut builder = metadata.into_builder();
    let mut groups = Vec::new();
    for (number, group) in builder.take_row_groups().into_iter().enumerate() {
        let mut group = group.into_builder();
        let columns = group.take_columns().into_iter().enumerate();
        let columns = columns.map(|(leaf, column)| indexes.open_of(ChunkAt::new(number, leaf)?, column));
        let columns = columns.collect::<Result<_, Error>>()?;
        groups.push(group.set_column_metadata(columns).build().map_err(Error::Decode)?);
    }
    Ok((builder.set_row_groups(groups).build(), indexes.plain.into()))
}

/// Page indexes that are being opened.
struct Indexes<'a> {
    cipher: &'a FileCipher,
    stored: &'a [u8],
    /// Where in the file that begins.
    start: u64,
    plain: Vec<u8>,
}

impl Indexes<'_> {
    fn open_of(&mut self, at: ChunkAt, column: ColumnChunkMetaData) -> Result<ColumnChunkMetaData, Error> {
        if column.crypto_metadata() != Some(&ColumnCryptoMetaData::ENCRYPTION_WITH_FOOTER_KEY) {
            return Err(Error::damaged("a column is not encrypted under the key of the file"));
        }
        let column_index = column.column_index_range().map(|range| self.open(Module::ColumnIndex(at), range));
        let offset_index = column.offset_index_range().map(|range| self.open(Module::OffsetIndex(at), range));
        let built = column
            .into_builder()
            .set_column_index_length(column_index.transpose()?)
            .set_offset_index_length(offset_index.transpose()?)
            .set_column_crypto_metadata(None)
            .build();
        built.map_err(Error::Decode)
    }

    /// Opens one in its place; gives how long it is then.
    fn open(&mut self, module: Module, range: Range<u64>) -> Result<i32, Error> {
        let outside = || Error::damaged("the page index lies outside the file");
        let place = within(&range, self.start).ok_or_else(outside)?;
        let sealed = self.stored.get(place.clone()).ok_or_else(outside)?;
        let plain = self.cipher.open_whole(module, sealed)?;
        let place = self.plain.get_mut(place.start..place.start + plain.len()).ok_or_else(outside)?;
        place.copy_from_slice(&plain);
        i32::try_from(plain.len()).map_err(|_| outside())
    }
}

/// Where a range of the file lies in the part of it that begins at `start`; `None` where it begins before.
pub(crate) fn within(range: &Range<u64>, start: u64) -> Option<Range<usize>> {
    let at = |position: u64| usize::try_from(position.checked_sub(start)?).ok();
    Some(at(range.start)?..at(range.end)?)
}

/// What metadata says of a file in the clear whose pages lie where `pages` have them in the view.
///
/// # Errors
/// [`Error::Damaged`] or [`Error::Decode`] where the two contradict each other.
pub(crate) fn plain_view(metadata: ParquetMetaData, pages: &PageMap) -> Result<ParquetMetaData, Error> {
    let missing = || Error::damaged("a column has no page index");
    let stored = metadata.page_index().cloned();
    let columns = metadata.file_metadata().schema_descr().num_columns();
    let mut builder = metadata.into_builder();
    let (row_groups, mut groups) = (builder.take_row_groups(), Vec::new());
    let mut index = PageIndexBuilder::new(row_groups.len(), columns);
    for (number, group) in row_groups.into_iter().enumerate() {
        let mut group = group.into_builder();
        let (mut columns, mut bytes) = (Vec::new(), 0_i64);
        for (leaf, column) in group.take_columns().into_iter().enumerate() {
            let chunk = pages.group(number).get(leaf).ok_or_else(missing)?;
            let of_stored = stored.as_ref().and_then(|stored| stored.offset_index(number, leaf)).ok_or_else(missing)?;
            index.put_offset_index(plain_index(chunk, of_stored)?, number, leaf);
            if let Some(bounds) = stored.as_ref().and_then(|stored| stored.column_index(number, leaf)) {
                index.put_column_index(bounds.clone(), number, leaf);
            }
            let column = plain_chunk(chunk, column)?;
            bytes = bytes.saturating_add(column.uncompressed_size());
            columns.push(column);
        }
        let group = group.set_column_metadata(columns).set_total_byte_size(bytes);
        groups.push(group.build().map_err(Error::Decode)?);
    }
    let index: Arc<dyn PageIndexProvider> = Arc::new(index.build());
    Ok(builder.set_row_groups(groups).set_page_index(Some(index)).build())
}

fn plain_chunk(pages: &ColumnPages, column: ColumnChunkMetaData) -> Result<ColumnChunkMetaData, Error> {
    let bytes = pages.all().map(|page| page.plain.end - page.plain.start).sum::<u64>();
    // In the clear or not, data counts unpacked, and headers as they are stored.
    let headers = pages.all().count() * MODULE_OVERHEAD;
    let unpacked = column.uncompressed_size().saturating_sub(as_i64(headers as u64)?).max(0);
    let data_at = pages.data.first().filter(|_| column.dictionary_page_offset().is_some());
    let data_at = data_at.map_or(Ok(column.data_page_offset()), |page| as_i64(page.plain.start))?;
    let built = column
        .into_builder()
        .set_total_compressed_size(as_i64(bytes)?)
        .set_total_uncompressed_size(unpacked)
        .set_data_page_offset(data_at)
        .build();
    built.map_err(Error::Decode)
}

fn plain_index(pages: &ColumnPages, stored: &OffsetIndexMetaData) -> Result<OffsetIndexMetaData, Error> {
    let mut index = OffsetIndexBuilder::new();
    let unencoded = stored.unencoded_byte_array_data_bytes();
    for (number, Page { plain, rows, .. }) in pages.data.iter().enumerate() {
        let bytes = i32::try_from(plain.end - plain.start).map_err(Error::damaged)?;
        index.append_row_count(as_i64(rows.end - rows.start)?);
        index.append_offset_and_size(as_i64(plain.start)?, bytes);
        index.append_unencoded_byte_array_data_bytes(unencoded.and_then(|bytes| bytes.get(number).copied()));
    }
    Ok(index.build())
}

/// A number as Parquet's metadata has it.
pub(crate) fn as_i64(number: u64) -> Result<i64, Error> {
    i64::try_from(number).map_err(Error::damaged)
}

/// Opens the pages of `rows` of row group `number`, whose columns are `columns`. Gives them where they lie in the view, sorted;
/// pages that follow each other are one piece.
///
/// # Errors
/// [`Error::NotAuthentic`] where one does not open, [`Error::Decode`] where one is not in `stored`, else [`Error::Damaged`].
pub(crate) fn open_pages(
    cipher: &FileCipher,
    (number, columns): (usize, &[ColumnPages]),
    stored: &Pieces,
    rows: &[Range<u64>],
) -> Result<Vec<(u64, Bytes)>, Error> {
    let mut opened: Vec<(u64, Bytes)> = Vec::new();
    for (leaf, column) in columns.iter().enumerate() {
        let chunk = ChunkAt::new(number, leaf)?;
        let wanted: Vec<&Page> = column.of_rows(rows).collect();
        for run in wanted.chunk_by(|page, next| page.plain.end == next.plain.start) {
            let bytes = run.iter().map(|page| page.plain.end - page.plain.start).sum::<u64>();
            let mut plain = Vec::with_capacity(usize::try_from(bytes).map_err(Error::damaged)?);
            run.iter().try_for_each(|page| open_page(cipher, chunk, page, &stored.stored(page)?, &mut plain))?;
            opened.extend(run.first().map(|page| (page.plain.start, plain.into())));
        }
    }
    opened.sort_by_key(|(start, _)| *start);
    Ok(opened)
}

/// Opens one page to the end of `plain`.
fn open_page(
    cipher: &FileCipher,
    chunk: ChunkAt,
    page: &Page,
    stored: &[u8],
    plain: &mut Vec<u8>,
) -> Result<(), Error> {
    let at = if page.is_dictionary() { PageAt::dictionary(chunk) } else { PageAt::data(chunk, page.number)? };
    let begins = plain.len();
    let sealed = cipher.open(at.header(), stored, plain)?;
    let header_ends = plain.len();
    let rest = cipher.open(at.content(), sealed, plain)?;
    let bytes = (plain.len() - begins) as u64;
    if !rest.is_empty() || bytes != page.plain.end - page.plain.start {
        return Err(Error::damaged("a page has another size than the page index says"));
    }
    // The header speaks of what is sealed, and a reader of the view goes by it.
    let content = plain.len() - header_ends;
    pages::announce_within(&mut plain[begins..header_ends], sealed.len(), content)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// `FileCryptoMetaData` as the Parquet crate writes it: an algorithm with these fields, and a key's metadata.
    fn metadata(algorithm: &[u8]) -> Vec<u8> {
        [&[0x1c, 0x1c][..], algorithm, &[0, 0], &[0x18, 3, 7, 8, 9], &[0], b"footer"].concat()
    }

    const UNIQUE: &[u8] = &[0x28, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0x11];

    #[test]
    fn what_stands_before_a_footer_is_read() {
        let bytes = metadata(UNIQUE);
        let read = CryptoMetadata::read(&bytes).expect("read");
        assert_eq!((read.key_metadata, read.unique), (&[7, 8, 9][..], &[1, 2, 3, 4, 5, 6, 7, 8][..]));
        assert_eq!(&bytes[read.unique_at..read.unique_at + 8], read.unique);
        assert_eq!(&bytes[read.len..], b"footer");
    }

    #[test]
    fn a35_a_stored_prefix_another_algorithm_and_missing_fields_are_refused() {
        let error = |bytes: &[u8]| CryptoMetadata::read(bytes).expect_err("refused").to_string();
        assert!(error(&metadata(&[&[0x18, 1, b'p'][..], &[0x18, 8], &[1; 8]].concat())).contains("AAD prefix"));
        assert!(error(&[&[0x1c, 0x2c][..], UNIQUE, &[0, 0, 0]].concat()).contains("AES_GCM_V1"));
        assert!(error(&metadata(&[])).contains("identifier"));
        for len in [0, 7, 9, 14] {
            let other = metadata(&[&[0x28, len][..], &vec![1; usize::from(len)]].concat());
            assert!(error(&other).contains("identifier"), "{len} bytes");
        }
        assert!(error(&[&[0x1c, 0x1c][..], UNIQUE, &[0, 0, 0]].concat()).contains("wrapped key"));
        assert!(error(&[0x1c, 0x1c, 0x28, 0xff, 0xff, 0xff, 0xff, 0x7f]).contains("cut short"));
    }

    proptest! {
        #[test]
        fn a60_noise_before_a_footer_ends_in_an_error_or_is_read(noise in vec(any::<u8>(), 0..100)) {
            if let Ok(read) = CryptoMetadata::read(&noise) {
                prop_assert_eq!(&noise[read.unique_at..read.unique_at + read.unique.len()], read.unique);
                prop_assert!(read.len <= noise.len());
            }
        }
    }
}
