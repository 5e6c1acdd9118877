//! The bytes of a file in pieces, so that none of them ever has to lie in one place.
//!
//! Owns: [`Blocks`], which bytes are written to one after the other, [`Pieces`], which are read by their place, and [`Placeholder`],
//! which only says how many there are. Does not own: what is in them.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::Error;
use super::page_map::Page;

/// Bytes are collected in blocks of this size.
const BLOCK_BYTES: usize = 256 << 10;

/// Bytes that lie in one place already are copied where they are fewer than this, so that blocks are few.
const KEPT_BYTES: usize = 16 << 10;

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

    /// Adds bytes at the end, where they lie already.
    pub(crate) fn keep(&mut self, bytes: Bytes) {
        if bytes.len() < KEPT_BYTES {
            self.append(&bytes);
        } else {
            self.end_block();
            self.full.push(bytes);
        }
    }

    /// All bytes, in order.
    pub(crate) fn finish(mut self) -> Vec<Bytes> {
        self.end_block();
        self.full
    }

    fn end_block(&mut self) {
        if !self.current.is_empty() {
            // What is small must not hold on to a whole block.
            self.current.shrink_to_fit();
            self.full.push(std::mem::take(&mut self.current).into());
        }
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

    /// So many bytes from one on, where they lie.
    pub(crate) fn cut(&self, mut start: u64, mut length: u64) -> Result<Vec<Bytes>, ParquetError> {
        let mut cut = Vec::new();
        while length > 0 {
            let (mut bytes, _) = self.from(start)?;
            bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            if bytes.is_empty() {
                return Err(ParquetError::EOF(format!("byte {start} is outside what was fetched")));
            }
            start += bytes.len() as u64;
            length -= bytes.len() as u64;
            cut.push(bytes);
        }
        Ok(cut)
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

/// So many bytes for a writer whose sink has them already and looks at none of these.
pub(crate) struct Placeholder(pub(crate) u64);

impl Length for Placeholder {
    fn len(&self) -> u64 {
        self.0
    }
}

impl ChunkReader for Placeholder {
    type T = io::Take<io::Repeat>;

    fn get_read(&self, _: u64) -> Result<Self::T, ParquetError> {
        Ok(io::repeat(0).take(self.0))
    }

    fn get_bytes(&self, start: u64, _: usize) -> Result<Bytes, ParquetError> {
        Err(ParquetError::EOF(format!("nothing lies at {start}")))
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
            writes in prop::collection::vec((any::<bool>(), 0..BLOCK_BYTES * 3 / 2), 0..6),
            at in any::<prop::sample::Index>(),
        ) {
            let all = Bytes::from(bytes(writes.iter().map(|(_, length)| length).sum()));
            let (mut blocks, mut kept) = (Blocks::default(), Vec::new());
            let mut left = all.clone();
            for (keep, length) in writes {
                let now = left.split_to(length);
                if keep && length >= KEPT_BYTES {
                    kept.push(now.as_ptr());
                }
                if keep { blocks.keep(now) } else { blocks.append(&now) }
            }
            let blocks = blocks.finish();
            prop_assert!(kept.iter().all(|kept| blocks.iter().any(|block| block.as_ptr() == *kept)), "where they lay");
            prop_assert_eq!(blocks.concat(), &all[..]);
            let pieces = Pieces::of_blocks(blocks);
            prop_assert_eq!(pieces.len(), all.len() as u64);
            if !all.is_empty() {
                let (at, mut read) = (at.index(all.len()), Vec::new());
                pieces.get_read(at as u64).expect("there").read_to_end(&mut read).expect("read");
                prop_assert_eq!(&read, &all[at..]);
                prop_assert_eq!(pieces.cut(at as u64, (all.len() - at) as u64).expect("there").concat(), read);
                prop_assert!(pieces.cut(at as u64, (all.len() - at + 1) as u64).is_err());
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
        assert_eq!(pieces.cut(11, 4).expect("there"), [&b"ne"[..], b"tw"]);
        assert!(pieces.cut(11, 6).is_err());
        assert!(pieces.get_read(9).is_err());
        assert!(pieces.get_read(50).is_err());
    }
}
