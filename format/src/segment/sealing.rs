//! Writing a file that is sealed: row groups that were encoded in the clear, and the end of the file.
//!
//! ```text
//! chunks in the clear ──▶ pages ──▶ header and content sealed ──▶ chunks, appended as they are
//! end of the file, as the Parquet crate sealed it ──▶ opened ──▶ sealed anew, in its place
//! ```
//!
//! Owns: sealing pages that this project writes itself, and under which part of the AAD all of a file is sealed: the Parquet crate
//! draws one and tells nobody before the end, so one that is drawn here takes its place. Does not own: one module
//! ([`super::modular`]), encoding ([`super::row_group`]), where the bytes go ([`super::encode`]).
//!
//! Invariants: what is appended is what the Parquet crate would have written itself under this key, but for nonces; nothing of a row
//! group gets into the file in the clear.

use bytes::Bytes;
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, ParquetMetaData};
use parquet::file::page_index::offset_index::PageLocation;

use super::encode::EncodeOptions;
use super::footer::{End, TAIL_BYTES};
use super::modular::{ChunkAt, FileCipher, MODULE_OVERHEAD, Module, PageAt, Sealer, UNIQUE_BYTES};
use super::options::new_file;
use super::pieces::Pieces;
use super::row_group::{Chunk, PagesChunk};
use super::sealed::{CryptoMetadata, as_i64, within};
use super::{Error, pages};
use crate::crypt::{FileSeal, random};

/// What a page may take more than its size in the clear: two modules, and a longer number in its header.
const ROOM_PER_PAGE: usize = 2 * MODULE_OVERHEAD + 4;

/// Seals one file.
pub(crate) struct Sealing {
    options: EncodeOptions,
    seal: FileSeal,
    unique: [u8; UNIQUE_BYTES],
    sealer: Sealer,
}

impl Sealing {
    /// Of a file of `options`, under its own key.
    ///
    /// # Errors
    /// [`Error::Key`] where the operating system gives no random bytes, or no memory.
    pub(crate) fn new(options: &EncodeOptions, seal: FileSeal) -> Result<Self, Error> {
        let unique: [u8; UNIQUE_BYTES] = random()?;
        let sealer = Sealer::new(&seal.data_key, &seal.aad_prefix, &unique)?;
        Ok(Self { options: options.clone(), seal, unique, sealer })
    }

    /// Seals row group `number`, whose chunks have `bytes` bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond what Parquet's encryption can count, [`Error::Encode`] where the Parquet writer fails.
    pub(crate) fn row_group(&mut self, number: u32, chunks: Vec<Chunk>, bytes: u64) -> Result<Vec<Chunk>, Error> {
        let closed: Vec<ColumnCloseResult> = chunks.iter().map(|chunk| chunk.close().clone()).collect();
        // The Parquet crate gives the bytes of its chunks to no one but a file.
        let room = usize::try_from(bytes).map_err(Error::damaged)?.saturating_add(TAIL_BYTES);
        let mut file = new_file(Vec::<u8>::with_capacity(room), &self.options, None)?;
        let mut group = file.next_row_group().map_err(Error::Encode)?;
        chunks.into_iter().try_for_each(|chunk| chunk.append_to(&mut group)).map_err(Error::Encode)?;
        let written = group.close().map_err(Error::Encode)?;
        file.flush().map_err(|error| Error::Encode(error.into()))?;
        let plain = std::mem::take(file.inner_mut());
        let columns = written.columns().iter().zip(closed).enumerate();
        let sealed = columns.map(|(leaf, (column, close))| {
            let at = ChunkAt::new(number as usize, leaf)?;
            self.chunk(at, &plain, column, close)
        });
        sealed.collect()
    }

    /// Seals one chunk, which lies in `plain` where `column` says.
    fn chunk(
        &mut self,
        at: ChunkAt,
        plain: &[u8],
        column: &ColumnChunkMetaData,
        close: ColumnCloseResult,
    ) -> Result<Chunk, Error> {
        let other = || Error::damaged("a column chunk has other pages than the Parquet writer said");
        let index = close.offset_index.as_ref().ok_or_else(other)?;
        let (locations, unencoded) = (index.page_locations(), index.unencoded_byte_array_data_bytes());
        let (mut left, dictionary) = pages_of(plain, column, locations).ok_or_else(other)?;
        let room = left.len() + dictionary.len() + ROOM_PER_PAGE * (locations.len() + 1);
        let (mut sealed, mut grown) = (Vec::with_capacity(room), 0);
        if !dictionary.is_empty() {
            grown += self.page(PageAt::dictionary(at), dictionary, &mut sealed)?;
        }
        let data_at = sealed.len();
        let mut pages = OffsetIndexBuilder::new();
        for (number, location) in locations.iter().enumerate() {
            let size = usize::try_from(location.compressed_page_size).map_err(|_| other())?;
            let (page, rest) = left.split_at_checked(size).ok_or_else(other)?;
            let begins = sealed.len();
            grown += self.page(PageAt::data(at, number)?, page, &mut sealed)?;
            left = rest;
            let last_row =
                locations.get(number + 1).map_or(as_i64(close.rows_written), |next| Ok(next.first_row_index));
            pages.append_row_count(last_row? - location.first_row_index);
            let size = i32::try_from(sealed.len() - begins).map_err(Error::damaged)?;
            pages.append_offset_and_size(as_i64(begins as u64)?, size);
            pages.append_unencoded_byte_array_data_bytes(unencoded.and_then(|bytes| bytes.get(number).copied()));
        }
        let metadata = column
            .clone()
            .into_builder()
            .set_total_compressed_size(as_i64(sealed.len() as u64)?)
            .set_total_uncompressed_size(column.uncompressed_size() + grown)
            .set_dictionary_page_offset((data_at > 0).then_some(0))
            .set_data_page_offset(as_i64(data_at as u64)?)
            .build()
            .map_err(Error::Encode)?;
        let bytes_written = sealed.len() as u64;
        let close = ColumnCloseResult { bytes_written, metadata, offset_index: Some(pages.build()), ..close };
        let pages = Pieces::of_blocks(vec![Bytes::from(sealed)]);
        Ok(Chunk::Pages(PagesChunk { pages, close }))
    }

    /// Seals one page to the end of `sealed`; gives by how much its header has grown, which counts as unpacked too.
    fn page(&mut self, at: PageAt, page: &[u8], sealed: &mut Vec<u8>) -> Result<i64, Error> {
        let (header, content) = pages::split(page)?;
        let announced = pages::announcing(header, content.len() + MODULE_OVERHEAD)?;
        self.sealer.seal(at.header(), &announced, sealed)?;
        self.sealer.seal(at.content(), content, sealed)?;
        Ok(as_i64((announced.len() + MODULE_OVERHEAD) as u64)? - as_i64(header.len() as u64)?)
    }

    /// Seals the end of the file anew: `tail`, from byte `at` on, which the Parquet writer describes by `metadata`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where the footer is; [`Error::Damaged`], [`Error::NotAuthentic`] or [`Error::TailTooShort`] where the Parquet
    /// writer wrote something else than it says.
    pub(crate) fn end(&mut self, tail: &mut [u8], at: u64, metadata: &ParquetMetaData) -> Result<(), Error> {
        let other = || Error::damaged("the Parquet writer ended the file in another way than it said");
        let (footer_bytes, end) = (End::of(tail)?.footer()?.len(), tail.len() - TAIL_BYTES);
        let footer = end - footer_bytes..end;
        let crypto = CryptoMetadata::read(&tail[footer.clone()])?;
        let theirs = FileCipher::new(&self.seal.data_key, &self.seal.aad_prefix, crypto.unique)?;
        let unique_at = footer.start + crypto.unique_at;
        let unique = unique_at..unique_at + crypto.unique.len();
        let footer = footer.start + crypto.len..footer.end;
        for (number, group) in metadata.row_groups().iter().enumerate() {
            for (leaf, column) in group.columns().iter().enumerate() {
                let chunk = ChunkAt::new(number, leaf)?;
                let indexes = [
                    (Module::ColumnIndex(chunk), column.column_index_range()),
                    (Module::OffsetIndex(chunk), column.offset_index_range()),
                ];
                for (module, range) in indexes {
                    let Some(range) = range else { continue };
                    let stored = within(&range, at).and_then(|place| tail.get_mut(place)).ok_or_else(other)?;
                    self.anew(&theirs, module, stored)?;
                }
            }
        }
        self.anew(&theirs, Module::Footer, &mut tail[footer])?;
        let place = tail.get_mut(unique).filter(|place| place.len() == UNIQUE_BYTES).ok_or_else(other)?;
        place.copy_from_slice(&self.unique);
        Ok(())
    }

    /// Seals one module anew that `theirs` opens, in its place.
    fn anew(&mut self, theirs: &FileCipher, module: Module, stored: &mut [u8]) -> Result<(), Error> {
        let (plain, mut sealed) = (theirs.open_whole(module, stored)?, Vec::with_capacity(stored.len()));
        self.sealer.seal(module, &plain, &mut sealed)?;
        // As long as it was: nothing follows the module, and a seal adds the same to the same.
        stored.copy_from_slice(&sealed);
        Ok(())
    }
}

/// The data pages of a chunk, and its dictionary before them, which is empty where it has none.
fn pages_of<'a>(
    plain: &'a [u8],
    column: &ColumnChunkMetaData,
    locations: &[PageLocation],
) -> Option<(&'a [u8], &'a [u8])> {
    let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    let (start, len) = (usize::try_from(start).ok()?, usize::try_from(column.compressed_size()).ok()?);
    let chunk = plain.get(start..start.checked_add(len)?)?;
    let data = locations
        .iter()
        .try_fold(0_usize, |sum, page| sum.checked_add(usize::try_from(page.compressed_page_size).ok()?))?;
    let (dictionary, data) = chunk.split_at_checked(len.checked_sub(data)?)?;
    Some((data, dictionary))
}
