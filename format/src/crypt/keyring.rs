//! The backup keys of one backup, and what is sealed by them.
//!
//! ```text
//! a document   "SBE1" | number of the backup key, u32 LE | nonce, 12 bytes | ciphertext | tag, 16 bytes
//! a data key   0x01   | number of the backup key, u32 LE | nonce, 12 bytes | 32 bytes   | tag, 16 bytes
//! ```
//! The newest backup key seals; all of them open. What each is bound to is its *additional data*: a purpose, a zero byte, the 16 bytes
//! of the backup's id, the number of the backup key, and the object's key below the prefix.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use bytes::Bytes;
use zeroize::Zeroizing;

use super::aead::{Cipher, SEAL_BYTES};
use super::{Error, SecretKey};
use crate::ids::{BackupId, TopicDigest, TopicName};
use crate::layout::ObjectKey;

/// The first bytes of each sealed document.
pub(crate) const DOCUMENT_MAGIC: [u8; 4] = *b"SBE1";

const NUMBER_BYTES: usize = 4;

/// By how many bytes a sealed document is larger than the plain one.
pub(crate) const DOCUMENT_OVERHEAD: u64 = (DOCUMENT_MAGIC.len() + NUMBER_BYTES + SEAL_BYTES) as u64;

/// The form of key metadata.
const FILE_VERSION: u8 = 1;
const FILE_METADATA_BYTES: usize = 1 + NUMBER_BYTES + SEAL_BYTES + 32;

const DOCUMENT: &str = "strimzi-backup document";
const DATA_KEY: &str = "strimzi-backup data key";
const FILE: &str = "strimzi-backup file";

/// What seals and opens all of one backup.
pub struct KeyRing {
    backup: BackupId,
    keys: BTreeMap<u32, Derived>,
    current: u32,
    names: hmac::Key,
}

/// What is derived from one backup key.
struct Derived {
    documents: Cipher,
    data_keys: Cipher,
}

impl Derived {
    fn of(key: &SecretKey, salt: &[u8]) -> Result<Self, Error> {
        let cipher = |purpose: &[u8]| Cipher::new(key.derive(salt, purpose)?.as_bytes());
        Ok(Self { documents: cipher(b"strimzi-backup documents")?, data_keys: cipher(b"strimzi-backup data keys")? })
    }
}

/// What a new Parquet file is encrypted with.
#[derive(Clone, Debug)]
pub struct FileSeal {
    /// The key of its footer and of all its columns.
    pub data_key: SecretKey,
    /// That key, wrapped: what stands in the file for who reads it.
    pub key_metadata: Vec<u8>,
    /// What every part of it is bound to; does not stand in the file.
    pub aad_prefix: Vec<u8>,
}

/// What opens the data key of one object's file.
#[derive(Clone, Debug)]
pub struct FileOpener {
    /// The backup's keys.
    pub ring: Arc<KeyRing>,
    /// The object.
    pub object: ObjectKey,
}

impl FileOpener {
    /// The data key of the file.
    ///
    /// # Errors
    /// As [`KeyRing::open_file`].
    pub fn open(&self, key_metadata: &[u8]) -> Result<SecretKey, Error> {
        self.ring.open_file(&self.object, key_metadata)
    }

    /// What every part of the file is bound to.
    pub fn aad_prefix(&self) -> Vec<u8> {
        self.ring.aad_prefix(&self.object)
    }
}

impl KeyRing {
    /// The keys of `backup` by their numbers, of which the highest is the one that seals.
    ///
    /// # Errors
    /// [`Error::NoFirst`] without number 0; [`Error::Refused`].
    pub fn new(backup: BackupId, keys: BTreeMap<u32, SecretKey>) -> Result<Self, Error> {
        let (first, newest) = (keys.get(&0), keys.keys().next_back());
        let (Some(first), Some(&current)) = (first, newest) else { return Err(Error::NoFirst) };
        let salt = backup.as_bytes();
        let names = first.derive(salt, b"strimzi-backup topic names")?;
        let names = hmac::Key::new(hmac::HMAC_SHA256, names.as_bytes());
        let derived = keys.iter().map(|(number, key)| Derived::of(key, salt).map(|derived| (*number, derived)));
        Ok(Self { backup, keys: derived.collect::<Result<_, Error>>()?, current, names })
    }

    /// The number of the key that seals.
    pub fn current(&self) -> u32 {
        self.current
    }

    /// Seals the bytes of a document that is to stand under `key`, below the prefix.
    ///
    /// # Errors
    /// [`Error::NoRandomness`] or [`Error::Refused`].
    pub fn seal_document(&self, key: &str, plain: &[u8]) -> Result<Bytes, Error> {
        let number = self.current;
        let mut stored = Vec::with_capacity(DOCUMENT_MAGIC.len() + NUMBER_BYTES + SEAL_BYTES + plain.len());
        stored.extend_from_slice(&DOCUMENT_MAGIC);
        stored.extend_from_slice(&number.to_le_bytes());
        let aad = bound(DOCUMENT, self.backup, Some(number), key);
        self.derived(number, key)?.documents.seal(&aad, plain, &mut stored)?;
        Ok(stored.into())
    }

    /// The plain bytes of a document that stands under `key`, below the prefix.
    ///
    /// # Errors
    /// [`Error::Unopened`] where it is not what was sealed for there; [`Error::NoKey`].
    pub fn open_document(&self, key: &str, stored: &[u8]) -> Result<Bytes, Error> {
        let unopened = || Error::Unopened { object: key.to_owned() };
        let rest = stored.strip_prefix(&DOCUMENT_MAGIC).ok_or_else(unopened)?;
        let (number, sealed) = rest.split_first_chunk::<NUMBER_BYTES>().ok_or_else(unopened)?;
        let number = u32::from_le_bytes(*number);
        let mut plain = vec![0; sealed.len().checked_sub(SEAL_BYTES).ok_or_else(unopened)?];
        let aad = bound(DOCUMENT, self.backup, Some(number), key);
        self.derived(number, key)?.documents.open(&aad, sealed, &mut plain).ok_or_else(unopened)?;
        Ok(plain.into())
    }

    /// What a new file of that object is encrypted with: a data key of its own.
    ///
    /// # Errors
    /// [`Error::NoRandomness`] or [`Error::Refused`].
    pub fn seal_file(&self, object: &ObjectKey) -> Result<FileSeal, Error> {
        let (number, data_key) = (self.current, SecretKey::generate()?);
        let mut key_metadata = Vec::with_capacity(FILE_METADATA_BYTES);
        key_metadata.push(FILE_VERSION);
        key_metadata.extend_from_slice(&number.to_le_bytes());
        let aad = bound(DATA_KEY, self.backup, Some(number), object.as_str());
        let cipher = &self.derived(number, object.as_str())?.data_keys;
        cipher.seal(&aad, data_key.as_bytes(), &mut key_metadata)?;
        Ok(FileSeal { data_key, key_metadata, aad_prefix: self.aad_prefix(object) })
    }

    /// The data key of that object's file, by the key metadata in it.
    ///
    /// # Errors
    /// [`Error::Unopened`] where it is not what was wrapped for there; [`Error::NoKey`].
    pub fn open_file(&self, object: &ObjectKey, key_metadata: &[u8]) -> Result<SecretKey, Error> {
        let unopened = || Error::Unopened { object: object.to_string() };
        let number = Self::file_key_number(key_metadata).ok_or_else(unopened)?;
        let aad = bound(DATA_KEY, self.backup, Some(number), object.as_str());
        let cipher = &self.derived(number, object.as_str())?.data_keys;
        let mut key = Zeroizing::new([0_u8; 32]);
        cipher.open(&aad, &key_metadata[1 + NUMBER_BYTES..], &mut key[..]).ok_or_else(unopened)?;
        Ok(SecretKey::of(key))
    }

    /// Which backup key wraps the data key of a file with that key metadata; `None` where it is none of ours.
    pub fn file_key_number(key_metadata: &[u8]) -> Option<u32> {
        let rest = key_metadata.strip_prefix(&[FILE_VERSION])?;
        let (number, _) = rest.split_first_chunk::<NUMBER_BYTES>()?;
        (key_metadata.len() == FILE_METADATA_BYTES).then_some(u32::from_le_bytes(*number))
    }

    /// What every part of the file of that object is bound to.
    pub fn aad_prefix(&self, object: &ObjectKey) -> Vec<u8> {
        bound(FILE, self.backup, None, object.as_str())
    }

    /// What stands for a topic in keys of objects: the same for all time, whatever key seals.
    pub fn topic_digest(&self, topic: &TopicName) -> TopicDigest {
        let code = hmac::sign(&self.names, topic.as_str().as_bytes());
        let (half, _) = code.as_ref().split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        TopicDigest::new(*half)
    }

    fn derived(&self, number: u32, object: &str) -> Result<&Derived, Error> {
        let newest = self.current;
        self.keys.get(&number).ok_or_else(|| Error::NoKey { object: object.to_owned(), number, newest })
    }
}

/// Says which keys it has, and nothing of them.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<&u32> = self.keys.keys().collect();
        f.debug_struct("KeyRing").field("backup", &self.backup).field("numbers", &numbers).finish_non_exhaustive()
    }
}

/// Additional data: a purpose, the backup, the number of a key where there is one, and a place.
pub(super) fn bound(purpose: &str, backup: BackupId, number: Option<u32>, place: &str) -> Vec<u8> {
    let number = number.map_or_else(Vec::new, |number| number.to_le_bytes().to_vec());
    [purpose.as_bytes(), &[0], backup.as_bytes().as_slice(), number.as_slice(), place.as_bytes()].concat()
}

#[cfg(test)]
mod tests;
