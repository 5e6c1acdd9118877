//! Modules of Parquet's own encryption: footer, page indexes, page headers and pages, each sealed for itself.
//!
//! ```text
//! <length, u32 LE> <nonce, 12> <ciphertext> <tag, 16>                        AES-256-GCM under the file's data key
//! AAD: <prefix: backup and object> <unique to the file, 8> <kind, u8> [<row group, i16 LE> <column, i16 LE> [<page, i16 LE>]]
//! ```
//!
//! Owns: sealing and opening one module. Does not own: where modules lie in a file ([`super::sealing`] writes them,
//! [`super::sealed`] reads them), the cipher, the data key and the prefix ([`crate::crypt`]).
//!
//! Invariants: what was moved to another place of its file, or comes from another file, does not open; no nonce is used twice under
//! a key, which seals one file.

use std::fmt;

use super::Error;
use crate::crypt::{Cipher, NONCE_BYTES, SEAL_BYTES, SecretKey, random};

const LENGTH_BYTES: usize = 4;

/// Bytes that a module has more than what it seals.
pub(crate) const MODULE_OVERHEAD: usize = LENGTH_BYTES + SEAL_BYTES;

/// Bytes that a sealed page has more than the page in the clear, once its header takes as many bytes there: header and data are a
/// module each.
pub(crate) const PAGE_OVERHEAD: u64 = 2 * MODULE_OVERHEAD as u64;

/// Bytes of the part of the AAD that is unique to a file.
pub(crate) const UNIQUE_BYTES: usize = 8;

/// Which column chunk of a file, as far as Parquet's encryption can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkAt {
    row_group: i16,
    column: i16,
}

impl ChunkAt {
    /// Column `column` of row group `row_group`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond what Parquet's encryption can count.
    pub(crate) fn new(row_group: usize, column: usize) -> Result<Self, Error> {
        Ok(Self {
            row_group: ordinal("row groups of an encrypted file", row_group)?,
            column: ordinal("columns of an encrypted file", column)?,
        })
    }
}

/// Which page of a column chunk: a data page by its number, or the dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageAt {
    chunk: ChunkAt,
    page: Option<i16>,
}

impl PageAt {
    /// The dictionary of a column chunk.
    pub(crate) fn dictionary(chunk: ChunkAt) -> Self {
        Self { chunk, page: None }
    }

    /// Data page `number` of a column chunk.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond what Parquet's encryption can count.
    pub(crate) fn data(chunk: ChunkAt, number: usize) -> Result<Self, Error> {
        Ok(Self { chunk, page: Some(ordinal("pages of an encrypted column chunk", number)?) })
    }

    /// The module of its header.
    pub(crate) fn header(self) -> Module {
        self.page.map_or(Module::DictionaryPageHeader(self.chunk), |page| Module::DataPageHeader(self.chunk, page))
    }

    /// The module of what follows its header.
    pub(crate) fn content(self) -> Module {
        self.page.map_or(Module::DictionaryPage(self.chunk), |page| Module::DataPage(self.chunk, page))
    }
}

fn ordinal(what: &'static str, number: usize) -> Result<i16, Error> {
    let limit = u64::from(i16::MAX.unsigned_abs()) + 1;
    i16::try_from(number).map_err(|_| Error::TooLarge { what, found: number as u64 + 1, limit })
}

/// A part of a file that is sealed for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Module {
    Footer,
    DataPage(ChunkAt, i16),
    DictionaryPage(ChunkAt),
    DataPageHeader(ChunkAt, i16),
    DictionaryPageHeader(ChunkAt),
    ColumnIndex(ChunkAt),
    OffsetIndex(ChunkAt),
}

impl Module {
    /// What its AAD ends with.
    fn append_to(self, aad: &mut Vec<u8>) {
        let (kind, chunk, page) = match self {
            Self::Footer => (0, None, None),
            Self::DataPage(chunk, page) => (2, Some(chunk), Some(page)),
            Self::DictionaryPage(chunk) => (3, Some(chunk), None),
            Self::DataPageHeader(chunk, page) => (4, Some(chunk), Some(page)),
            Self::DictionaryPageHeader(chunk) => (5, Some(chunk), None),
            Self::ColumnIndex(chunk) => (6, Some(chunk), None),
            Self::OffsetIndex(chunk) => (7, Some(chunk), None),
        };
        aad.push(kind);
        let ordinals = chunk.into_iter().flat_map(|chunk| [chunk.row_group, chunk.column]).chain(page);
        ordinals.for_each(|ordinal| aad.extend_from_slice(&ordinal.to_le_bytes()));
    }
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut of = |what: &str, chunk: &ChunkAt| {
            write!(f, "the {what} of column {} of row group {}", chunk.column, chunk.row_group)
        };
        match self {
            Self::Footer => f.write_str("the footer"),
            Self::DataPage(chunk, page) => of(&format!("content of page {page}"), chunk),
            Self::DictionaryPage(chunk) => of("dictionary", chunk),
            Self::DataPageHeader(chunk, page) => of(&format!("header of page {page}"), chunk),
            Self::DictionaryPageHeader(chunk) => of("header of the dictionary", chunk),
            Self::ColumnIndex(chunk) => of("column index", chunk),
            Self::OffsetIndex(chunk) => of("offset index", chunk),
        }
    }
}

/// Opens the modules of one file.
pub(crate) struct FileCipher {
    key: Cipher,
    /// What the AAD of each module begins with.
    file_aad: Vec<u8>,
}

impl fmt::Debug for FileCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileCipher(..)")
    }
}

impl FileCipher {
    /// Of the file whose data key is `key`, with the AAD prefix and with the part that is unique to the file.
    ///
    /// # Errors
    /// [`Error::Key`], for want of memory.
    pub(crate) fn new(key: &SecretKey, aad_prefix: &[u8], unique: &[u8]) -> Result<Self, Error> {
        Ok(Self { key: Cipher::new(key.as_bytes())?, file_aad: [aad_prefix, unique].concat() })
    }

    /// Opens the module that `stored` begins with to the end of `plain`; gives what follows it.
    ///
    /// # Errors
    /// [`Error::Damaged`] where no module is there as a whole, [`Error::NotAuthentic`] where it does not open.
    pub(crate) fn open<'a>(&self, module: Module, stored: &'a [u8], plain: &mut Vec<u8>) -> Result<&'a [u8], Error> {
        let (sealed, rest) = split(stored).ok_or_else(|| Error::Damaged(format!("{module} is cut short")))?;
        let begins = plain.len();
        plain.resize(begins + sealed.len() - SEAL_BYTES, 0);
        if self.key.open(&self.aad(module), sealed, &mut plain[begins..]).is_none() {
            plain.truncate(begins);
            return Err(Error::NotAuthentic(module.to_string()));
        }
        Ok(rest)
    }

    /// Opens the module that `stored` is.
    ///
    /// # Errors
    /// As [`FileCipher::open`], or [`Error::Damaged`] where bytes follow it.
    pub(crate) fn open_whole(&self, module: Module, stored: &[u8]) -> Result<Vec<u8>, Error> {
        let mut plain = Vec::new();
        let rest = self.open(module, stored, &mut plain)?;
        if rest.is_empty() { Ok(plain) } else { Err(Error::Damaged(format!("bytes follow {module}"))) }
    }

    fn aad(&self, module: Module) -> Vec<u8> {
        let mut aad = Vec::with_capacity(self.file_aad.len() + 7);
        aad.extend_from_slice(&self.file_aad);
        module.append_to(&mut aad);
        aad
    }
}

/// What the module that some bytes begin with has sealed, nonce and tag with it, and what follows the module.
fn split(stored: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = stored.split_first_chunk::<LENGTH_BYTES>()?;
    let parts = rest.split_at_checked(u32::from_le_bytes(*length) as usize);
    parts.filter(|(sealed, _)| sealed.len() >= SEAL_BYTES)
}

/// Seals the modules of one file.
pub(crate) struct Sealer {
    cipher: FileCipher,
    nonces: Nonces,
}

impl Sealer {
    /// As [`FileCipher::new`], for a key that has sealed nothing yet but what is thrown away.
    ///
    /// # Errors
    /// As [`FileCipher::new`], or [`Error::Key`] where the operating system gives no random bytes.
    pub(crate) fn new(key: &SecretKey, aad_prefix: &[u8], unique: &[u8]) -> Result<Self, Error> {
        Ok(Self { cipher: FileCipher::new(key, aad_prefix, unique)?, nonces: Nonces::new()? })
    }

    /// Seals what is `plain` to the end of `sealed`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond what one module may hold.
    pub(crate) fn seal(&mut self, module: Module, plain: &[u8], sealed: &mut Vec<u8>) -> Result<(), Error> {
        let (found, limit) = ((plain.len() + SEAL_BYTES) as u64, u64::from(i32::MAX.unsigned_abs()));
        let too_large = || Error::TooLarge { what: "bytes of an encrypted module", found, limit };
        let length = i32::try_from(found).map_err(|_| too_large())?;
        sealed.extend_from_slice(&length.to_le_bytes());
        let (nonce, aad) = (self.nonces.next(), self.cipher.aad(module));
        self.cipher.key.seal_under(nonce, &aad, plain, sealed).map_err(|_| too_large())
    }
}

/// Numbers that are counted on from a random one: the same twice would give away what was sealed.
struct Nonces(u128);

impl Nonces {
    fn new() -> Result<Self, Error> {
        Ok(Self(u128::from_le_bytes(random()?)))
    }

    fn next(&mut self) -> [u8; NONCE_BYTES] {
        self.0 = self.0.wrapping_add(1);
        let [nonce @ .., _, _, _, _] = self.0.to_le_bytes();
        nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"a record";

    fn key(byte: u8) -> SecretKey {
        SecretKey::new([byte; 32])
    }

    fn chunk() -> ChunkAt {
        ChunkAt::new(1, 2).expect("small")
    }

    fn sealed(module: Module) -> Vec<u8> {
        let mut sealed = Vec::new();
        Sealer::new(&key(1), b"prefix", b"uniqueid").expect("sealer").seal(module, PLAIN, &mut sealed).expect("sealed");
        sealed
    }

    fn opened(cipher: &FileCipher, module: Module, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let mut plain = Vec::new();
        cipher.open(module, sealed, &mut plain).map(|_| plain)
    }

    fn cipher() -> FileCipher {
        FileCipher::new(&key(1), b"prefix", b"uniqueid").expect("cipher")
    }

    fn all() -> [Module; 9] {
        let other = ChunkAt::new(2, 1).expect("small");
        [
            Module::Footer,
            Module::DataPage(chunk(), 3),
            Module::DataPage(chunk(), 4),
            Module::DataPage(other, 3),
            Module::DictionaryPage(chunk()),
            Module::DataPageHeader(chunk(), 3),
            Module::DictionaryPageHeader(chunk()),
            Module::ColumnIndex(chunk()),
            Module::OffsetIndex(chunk()),
        ]
    }

    #[test]
    fn a35_a_module_opens_at_its_own_place_alone() {
        for of in all() {
            let sealed = sealed(of);
            assert_eq!(sealed.len(), PLAIN.len() + MODULE_OVERHEAD);
            for at in all() {
                let found = opened(&cipher(), at, &sealed);
                if at == of {
                    assert_eq!(found.expect("its own place"), PLAIN);
                } else {
                    assert!(matches!(found, Err(Error::NotAuthentic(_))), "{of:?} at {at:?}");
                }
            }
        }
    }

    #[test]
    fn a35_no_other_key_prefix_or_file_opens_it() {
        let module = Module::DataPage(chunk(), 3);
        let others = [
            FileCipher::new(&key(2), b"prefix", b"uniqueid"),
            FileCipher::new(&key(1), b"prefiX", b"uniqueid"),
            FileCipher::new(&key(1), b"prefix", b"uniqueiD"),
        ];
        for other in others {
            let error = opened(&other.expect("cipher"), module, &sealed(module)).expect_err("refused").to_string();
            assert!(error.contains("the content of page 3 of column 2 of row group 1"), "{error}");
        }
    }

    #[test]
    fn a35_no_changed_byte_and_no_other_length_opens() {
        let (module, cipher) = (Module::ColumnIndex(chunk()), cipher());
        let sealed = sealed(module);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(opened(&cipher, module, &changed).is_err(), "byte {at}");
            assert!(opened(&cipher, module, &sealed[..at]).is_err(), "cut to {at}");
        }
        assert!(opened(&cipher, module, &[0xff; 64]).is_err(), "longer than what is there");
        let untagged = [&[13, 0, 0, 0][..], &[0; 13]].concat();
        assert!(opened(&cipher, module, &untagged).is_err(), "no room for a tag");
    }

    #[test]
    fn modules_follow_each_other_under_nonces_of_their_own() {
        let (first, second) = (Module::DataPageHeader(chunk(), 0), Module::DataPage(chunk(), 0));
        let mut sealer = Sealer::new(&key(1), b"prefix", b"uniqueid").expect("sealer");
        let mut sealed = Vec::new();
        sealer.seal(first, PLAIN, &mut sealed).expect("sealed");
        sealer.seal(second, b"", &mut sealed).expect("sealed");
        let mut plain = b"before ".to_vec();
        let rest = cipher().open(first, &sealed, &mut plain).expect("opened");
        assert_eq!(plain, b"before a record");
        assert!(cipher().open(second, rest, &mut plain).expect("opened").is_empty());
        let nonce = |at: usize| sealed[at + LENGTH_BYTES..at + LENGTH_BYTES + NONCE_BYTES].to_vec();
        assert_ne!(nonce(0), nonce(PLAIN.len() + MODULE_OVERHEAD));
    }

    /// As the specification has them: a reader of another maker computes the same.
    #[test]
    fn the_aad_of_each_kind_is_pinned() {
        let aad = |module: Module| {
            let mut aad = Vec::new();
            module.append_to(&mut aad);
            aad
        };
        let found = all().map(aad);
        assert_eq!(found[0], [0]);
        assert_eq!(found[1], [2, 1, 0, 2, 0, 3, 0]);
        assert_eq!(found[4], [3, 1, 0, 2, 0]);
        assert_eq!(found[5], [4, 1, 0, 2, 0, 3, 0]);
        assert_eq!(found[6], [5, 1, 0, 2, 0]);
        assert_eq!((&found[7][..1], &found[8][..1]), (&[6][..], &[7][..]));
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        assert!(ChunkAt::new(32_767, 0).is_ok());
        let error = ChunkAt::new(32_768, 0).expect_err("one too many");
        assert!(matches!(error, Error::TooLarge { what: "row groups of an encrypted file", found: 32_769, .. }));
        assert!(matches!(PageAt::data(chunk(), 40_000), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn no_key_is_shown() {
        assert_eq!(format!("{:?}", cipher()), "FileCipher(..)");
    }
}
