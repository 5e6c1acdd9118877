//! The bytes of a file in pieces, so that none of them ever has to lie in one place.
//!
//! Owns: [`Blocks`], which bytes are written to one after the other, and [`Pieces`], which are read by their place. Does not own:
//! what is in them.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::Error;
use super::page_map::Page;

/// Bytes are kept in blocks of this size.
const BLOCK_BYTES: usize = 256 << 10;

/// Collects bytes in blocks: a large buffer that grows is moved again and again, each time to memory that was never touched.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    full: Vec<Bytes>,
    current: Vec<u8>,
}

impl Blocks {
    /// Adds bytes at the end.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.current.capacity() == 0 && !self.full.is_empty() {
                self.current.reserve_exact(BLOCK_BYTES);
            }
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.current.len()));
            self.current.extend_from_slice(now);
            if self.current.len() == BLOCK_BYTES {
                self.full.push(std::mem::take(&mut self.current).into());
            }
            bytes = later;
        }
    }

    /// All bytes, in order.
    pub(crate) fn finish(mut self) -> Vec<Bytes> {
        if !self.current.is_empty() {
            // What is small must not hold on to a whole block.
            self.current.shrink_to_fit();
            self.full.push(self.current.into());
        }
        self.full
    }
}

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Pieces of a file, addressed by their place in it, or by that in the view of an encrypted one.
#[derive(Clone, Debug)]
pub(crate) struct Pieces {
    pieces: Arc<[(u64, Bytes)]>,
    file_size: u64,
}

impl Pieces {
    /// Pieces with the places they begin at, sorted and apart.
    pub(crate) fn new(file_size: u64, pieces: Vec<(u64, Bytes)>) -> Self {
        Self { pieces: pieces.into(), file_size }
    }

    /// All of a file, which is `blocks` one after the other.
    pub(crate) fn of_blocks(blocks: Vec<Bytes>) -> Self {
        let mut end = 0;
        let place = |block: Bytes| {
            let start = end;
            end += block.len() as u64;
            (start, block)
        };
        let pieces = blocks.into_iter().map(place).collect();
        Self { pieces, file_size: end }
    }

    /// What the piece with that byte holds from there on, and which piece is next.
    fn from(&self, start: u64) -> Result<(Bytes, usize), ParquetError> {
        let after = self.pieces.partition_point(|(piece, _)| *piece <= start);
        let found = after.checked_sub(1).and_then(|at| self.pieces.get(at)).and_then(|(piece, bytes)| {
            let at = usize::try_from(start - piece).ok()?;
            (at <= bytes.len()).then(|| bytes.slice(at..))
        });
        let found = found.ok_or_else(|| ParquetError::EOF(format!("byte {start} is outside what was fetched")))?;
        Ok((found, after))
    }

    /// A page as it is stored.
    pub(crate) fn stored(&self, page: &Page) -> Result<Bytes, Error> {
        self.range(&page.bytes)
    }

    /// A page in the clear.
    pub(crate) fn page(&self, page: &Page) -> Result<Bytes, Error> {
        self.range(&page.plain)
    }

    fn range(&self, range: &Range<u64>) -> Result<Bytes, Error> {
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        self.get_bytes(range.start, len).map_err(Error::Decode)
    }
}

impl Length for Pieces {
    fn len(&self) -> u64 {
        self.file_size
    }
}

impl ChunkReader for Pieces {
    type T = PiecesReader;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let (current, next) = self.from(start)?;
        let end = start + current.len() as u64;
        Ok(PiecesReader { pieces: Arc::clone(&self.pieces), next, current, end })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let (mut bytes, _) = self.from(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are outside what was fetched")));
        }
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// Reads on from piece to piece, as long as one begins where the one before ends.
#[derive(Debug)]
pub(crate) struct PiecesReader {
    pieces: Arc<[(u64, Bytes)]>,
    next: usize,
    /// What is left of the piece before the next.
    current: Bytes,
    /// Where that ends.
    end: u64,
}

impl Read for PiecesReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty()
            && let Some((place, bytes)) = self.pieces.get(self.next)
            && *place == self.end
        {
            self.current = bytes.clone();
            self.end += bytes.len() as u64;
            self.next += 1;
        }
        let bytes = into.len().min(self.current.len());
        self.current.copy_to_slice(&mut into[..bytes]);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes of which no two near each other are the same.
    fn bytes(len: usize) -> Vec<u8> {
        (0..251).cycle().take(len).collect()
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_from_any_place(
            writes in prop::collection::vec(0..BLOCK_BYTES * 3 / 2, 0..6),
            at in any::<prop::sample::Index>(),
        ) {
            let all = bytes(writes.iter().sum());
            let mut blocks = Blocks::default();
            let mut left = all.as_slice();
            for length in writes {
                let (now, later) = left.split_at(length);
                blocks.append(now);
                left = later;
            }
            let blocks = blocks.finish();
            prop_assert!(blocks.iter().rev().skip(1).all(|block| block.len() == BLOCK_BYTES));
            prop_assert_eq!(blocks.concat(), &all[..]);
            let pieces = Pieces::of_blocks(blocks);
            prop_assert_eq!(pieces.len(), all.len() as u64);
            if !all.is_empty() {
                let (at, mut read) = (at.index(all.len()), Vec::new());
                pieces.get_read(at as u64).expect("there").read_to_end(&mut read).expect("read");
                prop_assert_eq!(read, &all[at..]);
            }
        }
    }

    #[test]
    fn a_reader_ends_where_the_next_piece_was_not_fetched() {
        let piece = |at: u64, text: &'static str| (at, Bytes::from_static(text.as_bytes()));
        let pieces = Pieces::new(100, vec![piece(10, "one"), piece(13, "two"), piece(17, "four")]);
        let mut read = String::new();
        pieces.get_read(11).expect("there").read_to_string(&mut read).expect("read");
        assert_eq!(read, "netwo");
        assert!(pieces.get_read(9).is_err());
        assert!(pieces.get_read(50).is_err());
    }
}
