//! CRC-32C of each page as it is stored, so that who fetches only some pages can check them.
//!
//! Owns: computing them while a segment is written, and their table in the footer. Does not own: which bytes are a page
//! when a segment is read ([`super::page_map`]). The page header has a field for this, which the Parquet crate does not
//! write.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::{CrcAlgorithm, Digest};

use super::Error;

/// The CRC-32C (Castagnoli) of some stored bytes.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Checksums of pages that pass by in the order of the file.
pub(crate) struct PageDigests {
    /// Bytes of the pages to come; the first is open.
    expected: VecDeque<u64>,
    open: Digest,
    /// Bytes of the open page that passed already.
    passed: u64,
    done: Vec<u32>,
}

impl Default for PageDigests {
    fn default() -> Self {
        let open = Digest::new(CrcAlgorithm::Crc32Iscsi);
        Self { expected: VecDeque::new(), open, passed: 0, done: Vec::new() }
    }
}

impl PageDigests {
    /// Says that pages of these sizes follow. What passes while none is expected belongs to no page.
    pub(crate) fn expect(&mut self, sizes: impl IntoIterator<Item = u64>) {
        self.expected.extend(sizes.into_iter().filter(|size| *size > 0));
    }

    /// Takes the next bytes in.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while let Some(size) = self.expected.front() {
            let missing = usize::try_from(size - self.passed).unwrap_or(usize::MAX);
            let Some((end, rest)) = bytes.split_at_checked(missing) else {
                self.open.update(bytes);
                self.passed += bytes.len() as u64;
                return;
            };
            self.open.update(end);
            // A CRC of 32 bits in a wider integer.
            self.done.push(u32::try_from(self.open.finalize_reset()).unwrap_or_default());
            self.expected.pop_front();
            (self.passed, bytes) = (0, rest);
        }
    }

    /// The checksums of all pages that passed, which must be all that were expected.
    pub(crate) fn finish(self) -> Result<Vec<u32>, Error> {
        if self.expected.is_empty() {
            return Ok(self.done);
        }
        Err(Error::damaged("the Parquet writer wrote fewer bytes than it said"))
    }
}

/// The table as the footer's metadata holds it.
pub(crate) fn to_text(checksums: &[u32]) -> String {
    BASE64.encode(checksums.iter().flat_map(|checksum| checksum.to_le_bytes()).collect::<Vec<u8>>())
}

/// Reads the table.
pub(crate) fn from_text(text: &str) -> Result<Vec<u32>, Error> {
    let bytes = BASE64.decode(text).map_err(Error::damaged)?;
    let (checksums, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Error::damaged("the table of page checksums ends within one"));
    }
    Ok(checksums.iter().map(|checksum| u32::from_le_bytes(*checksum)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_the_crc_of_iscsi() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(to_text(&[1, 0xe306_9283]), "AQAAAIOSBuM=");
        assert!(from_text("AQAAAIM=").is_err() && from_text("!").is_err());
    }

    proptest! {
        #[test]
        fn pages_are_told_apart_however_their_bytes_pass(
            pages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..9), step in 1..70usize,
        ) {
            let mut digests = PageDigests::default();
            digests.update(b"PAR1");
            digests.expect(pages.iter().map(|page| page.len() as u64));
            pages.concat().chunks(step).for_each(|bytes| digests.update(bytes));
            digests.update(b"what follows");
            let expected: Vec<u32> = pages.iter().filter(|page| !page.is_empty()).map(|page| crc32c(page)).collect();
            let found = digests.finish().expect("all passed");
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(from_text(&to_text(&found)).expect("own text"), found);
        }
    }
}
