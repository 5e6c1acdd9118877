//! How a stored JSON document becomes bytes and back: versioned, compressed, sealed by its digest.
//!
//! ```text
//! <zstd frame: the JSON> <zstd skippable frame, 40 bytes: magic 0x184D2A50, length 32, SHA-256 of the first frame>
//! ```
//! Any zstd tool skips the second frame, so `zstd -dc` prints the JSON; this reader insists on it, so no single changed
//! byte goes unseen even in the newest document, whose digest nobody else has recorded yet.
//!
//! A document of a backup that is encrypted is stored in neither form, but as [`crate::crypt`] seals it; what seals and opens lies below
//! ([`crate::store::sealed()`]), so that bytes get here which are in one of them, or, where a seal did not open, in none.
//!
//! A document that a person reads is plain JSON instead. Where no other document holds its digest, it is *sealed*: its last
//! field is the SHA-256 of all bytes before that field's comma.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::checksum::Sha256;
use crate::crypt::{DOCUMENT_MAGIC, UNOPENED, unknown_key};

/// The newest format this build reads, and the one it writes.
pub const FORMAT_VERSION: u32 = 1;

/// The largest JSON text a document may unpack to, and the largest object that is read as one: a bound against
/// decompression bombs and foreign objects, far above any real document.
pub const MAX_DOCUMENT_BYTES: usize = 512 << 20;

const SKIPPABLE_MAGIC: [u8; 4] = 0x184D_2A50_u32.to_le_bytes();
const TRAILER_BYTES: usize = 40;

/// What stands between the text of a sealed document and the digest of that text, and what ends it.
const SEAL: (&str, &str) = (",\"sha256\":\"", "\"}");

/// Which document it is; the first thing a reader checks after the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// `backup.json`.
    Identity,
    /// A link of the manifest log.
    Manifest,
    /// The state folded up to a manifest.
    Checkpoint,
    /// The live segments of one hour.
    BucketManifest,
    /// A named boundary: where everything stood at a manifest.
    Snapshot,
    /// What a restore reads and writes.
    RestorePlan,
    /// What a restore did.
    RestoreReport,
    /// A backup key that a master key wrapped.
    KeyWrap,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Manifest => "manifest",
            Self::Checkpoint => "checkpoint",
            Self::BucketManifest => "bucketManifest",
            Self::Snapshot => "snapshot",
            Self::RestorePlan => "restorePlan",
            Self::RestoreReport => "restoreReport",
            Self::KeyWrap => "keyWrap",
        }
    }
}

/// Why stored bytes are not the document that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Written by a newer release: upgrade, do not guess.
    #[error("format version {found} is newer than the {FORMAT_VERSION} this release reads; use a newer release")]
    NewerFormat {
        /// The version the document names.
        found: u32,
    },
    /// The bytes are not what was written: cut short, changed, or no document at all.
    #[error("damaged document: {0}")]
    Damaged(String),
    /// Sealed by a backup key that the store does not have ([`crate::store::sealed()`]).
    #[error("it is sealed by backup key {number}, which was not there when keys/ was read: {}", unknown_key(*number))]
    SealedLater {
        /// The number of the backup key.
        number: u32,
    },
    /// Nobody could read it: it was not written.
    #[error(
        "a {kind} document has {bytes} bytes, and no reader takes more than {MAX_DOCUMENT_BYTES}: it was not written; back fewer \
         topics up with one job"
    )]
    TooLarge {
        /// Which document.
        kind: &'static str,
        /// The bytes of its JSON text.
        bytes: usize,
    },
}

impl Error {
    /// What is said of the object that it was found in.
    pub const fn verdict(&self) -> &'static str {
        match self {
            Self::NewerFormat { .. } => "was written by a newer release",
            Self::Damaged(_) => "is damaged",
            Self::SealedLater { .. } => "does not open",
            Self::TooLarge { .. } => "is too large to be written",
        }
    }
}

/// A stored document: it says its version and its kind in its first fields.
pub trait Document: Serialize + DeserializeOwned {
    /// What stands in `kind`.
    const KIND: Kind;
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    format_version: u32,
    /// As text, since a newer format may know kinds that this release does not.
    kind: String,
}

/// The JSON of a document, as `backup.json` is stored.
///
/// # Errors
/// Never for the documents of this crate: their keys are strings and their numbers finite.
pub fn to_json<T: Document>(document: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(document).map_err(damaged)
}

/// Reads what [`to_json`] wrote.
///
/// # Errors
/// [`Error::NewerFormat`] before anything else is looked at, else [`Error::Damaged`].
pub fn from_json<T: Document>(json: &[u8]) -> Result<T, Error> {
    check_header::<T>(json)?;
    serde_json::from_slice(json).map_err(damaged)
}

/// Tells what a seal of [`crate::crypt`] left that did not open, or that nobody opened.
fn check_opened(stored: &[u8]) -> Result<(), Error> {
    let Some(rest) = stored.strip_prefix(&DOCUMENT_MAGIC) else { return Ok(()) };
    match <[u8; 4]>::try_from(rest).map(u32::from_le_bytes) {
        Ok(number) => Err(Error::SealedLater { number }),
        _ if rest.is_empty() => Err(damaged(format!("its seal {UNOPENED}"))),
        Err(_) => Err(damaged("it is sealed, and was read without a key: its backup is encrypted")),
    }
}

/// Looks at version and kind alone, since a newer format may be otherwise in everything else.
fn check_header<T: Document>(json: &[u8]) -> Result<(), Error> {
    check_opened(json)?;
    let header: Header = serde_json::from_slice(json).map_err(damaged)?;
    if header.format_version > FORMAT_VERSION {
        return Err(Error::NewerFormat { found: header.format_version });
    }
    if header.kind != T::KIND.as_str() {
        return Err(Error::Damaged(format!("a {} document stands where a {} belongs", header.kind, T::KIND.as_str())));
    }
    Ok(())
}

/// The JSON of a document, sealed by a last field `sha256`.
///
/// # Errors
/// As [`to_json`].
pub fn seal<T: Document>(document: &T) -> Result<Bytes, Error> {
    let mut json = to_json(document)?;
    json.pop();
    let digest = Sha256::of(&json);
    json.extend_from_slice(format!("{}{digest}{}", SEAL.0, SEAL.1).as_bytes());
    Ok(json.into())
}

/// Reads what [`seal`] wrote.
///
/// # Errors
/// [`Error::NewerFormat`], or [`Error::Damaged`] where a byte is not as it was written.
pub fn unseal<T: Document>(stored: &[u8]) -> Result<T, Error> {
    check_header::<T>(stored)?;
    let seal_bytes = SEAL.0.len() + 64 + SEAL.1.len();
    let Some((text, seal)) = stored.len().checked_sub(seal_bytes).map(|at| stored.split_at(at)) else {
        return Err(Error::Damaged(format!("{} bytes are too few for a sealed document", stored.len())));
    };
    if seal != format!("{}{}{}", SEAL.0, Sha256::of(text), SEAL.1).as_bytes() {
        return Err(Error::Damaged("the bytes do not have the digest recorded at their end".to_owned()));
    }
    serde_json::from_slice(&[text, b"}"].concat()).map_err(damaged)
}

/// Refuses an object that is too big to be a document, before it is read.
///
/// # Errors
/// [`Error::Damaged`].
pub fn check_size(bytes: u64) -> Result<(), Error> {
    if bytes > MAX_DOCUMENT_BYTES as u64 {
        return Err(Error::Damaged(format!(
            "it has {bytes} bytes, and no document has more than {MAX_DOCUMENT_BYTES}"
        )));
    }
    Ok(())
}

fn damaged(error: impl std::fmt::Display) -> Error {
    Error::Damaged(error.to_string())
}

/// The stored form of a document.
///
/// # Errors
/// As [`to_json`]; [`Error::TooLarge`] where [`unpack`] would refuse it; or where zstd refuses, which it does for want of memory
/// only.
pub fn pack<T: Document>(document: &T) -> Result<Bytes, Error> {
    pack_json(T::KIND, &to_json(document)?)
}

fn pack_json(kind: Kind, json: &[u8]) -> Result<Bytes, Error> {
    if json.len() > MAX_DOCUMENT_BYTES {
        return Err(Error::TooLarge { kind: kind.as_str(), bytes: json.len() });
    }
    let mut bytes = zstd::bulk::compress(json, 3).map_err(damaged)?;
    let digest = Sha256::of(&bytes);
    bytes.extend_from_slice(&SKIPPABLE_MAGIC);
    bytes.extend_from_slice(&32_u32.to_le_bytes());
    bytes.extend_from_slice(digest.as_bytes());
    Ok(bytes.into())
}

/// Reads what [`pack`] wrote.
///
/// # Errors
/// [`Error::NewerFormat`], or [`Error::Damaged`] where a byte is not as it was written or the text is too big to be true.
pub fn unpack<T: Document>(stored: &[u8]) -> Result<T, Error> {
    check_opened(stored)?;
    let Some((frame, trailer)) = stored.len().checked_sub(TRAILER_BYTES).map(|at| stored.split_at(at)) else {
        return Err(Error::Damaged(format!("{} bytes are too few for a document", stored.len())));
    };
    let (magic, digest) = trailer.split_at(8);
    if magic[..4] != SKIPPABLE_MAGIC || magic[4..] != 32_u32.to_le_bytes() {
        return Err(Error::Damaged("the trailing frame with the digest is missing".to_owned()));
    }
    if Sha256::of(frame).as_bytes() != digest {
        return Err(Error::Damaged("the bytes do not have the digest recorded with them".to_owned()));
    }
    from_json(&unpack_json(frame)?)
}

fn unpack_json(frame: &[u8]) -> Result<Vec<u8>, Error> {
    use std::io::Read as _;
    let limit = u64::try_from(MAX_DOCUMENT_BYTES).unwrap_or(u64::MAX);
    let mut json = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(frame).map_err(damaged)?;
    decoder.take(limit + 1).read_to_end(&mut json).map_err(damaged)?;
    if json.len() > MAX_DOCUMENT_BYTES {
        return Err(Error::Damaged(format!("unpacks to more than {MAX_DOCUMENT_BYTES} bytes")));
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Text {
        format_version: u32,
        kind: Kind,
        text: String,
    }

    impl Document for Text {
        const KIND: Kind = Kind::Manifest;
    }

    fn text() -> Text {
        let text = "some text, some text, some text".to_owned();
        Text { format_version: FORMAT_VERSION, kind: Kind::Manifest, text }
    }

    #[test]
    fn a60_every_flipped_bit_and_every_cut_is_seen() {
        let stored = pack(&text()).expect("pack");
        assert_eq!(unpack::<Text>(&stored).expect("unpack"), text());
        for at in 0..stored.len() {
            assert!(unpack::<Text>(&stored[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut changed = stored.to_vec();
                changed[at] ^= 1 << bit;
                assert!(unpack::<Text>(&changed).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn a60_every_flipped_bit_and_every_cut_of_a_sealed_document_is_seen() {
        let stored = seal(&text()).expect("seal");
        assert_eq!(unseal::<Text>(&stored).expect("unseal"), text());
        let json: serde_json::Value = serde_json::from_slice(&stored).expect("plain JSON");
        assert_eq!((&json["text"], json["sha256"].as_str().map(str::len)), (&text().text.into(), Some(64)));
        for at in 0..stored.len() {
            assert!(unseal::<Text>(&stored[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut changed = stored.to_vec();
                changed[at] ^= 1 << bit;
                assert!(unseal::<Text>(&changed).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn a35_what_a_seal_left_is_told_whatever_the_form() {
        for (stored, told) in
            [(&b"SBE1"[..], "its seal does not open"), (&b"SBE1\x07\0\0\0 and more"[..], "read without a key")]
        {
            let errors =
                [unpack::<Text>(stored), unseal(stored), from_json(stored)].map(|read| read.expect_err("sealed"));
            for error in errors {
                assert!(matches!(&error, Error::Damaged(why) if why.contains(told)), "{error}");
            }
        }
        let later = b"SBE1\x07\0\0\0";
        for error in [unpack::<Text>(later), unseal(later), from_json(later)].map(|read| read.expect_err("sealed")) {
            assert!(matches!(error, Error::SealedLater { number: 7 }), "{error}");
            assert!(error.to_string().contains("sealed by backup key 7") && error.to_string().contains("keys/0007-"));
        }
    }

    #[test]
    fn a60_a_decompression_bomb_is_refused_within_its_bound() {
        let mut bomb = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("encoder");
        for _ in 0..=(MAX_DOCUMENT_BYTES >> 20) {
            std::io::Write::write_all(&mut bomb, &vec![b' '; 1 << 20]).expect("write");
        }
        let error = unpack_json(&bomb.finish().expect("finish")).expect_err("too big");
        assert!(error.to_string().contains("unpacks to more than"), "{error}");
    }

    #[test]
    fn what_no_reader_would_take_is_not_written() {
        let text = vec![b' '; MAX_DOCUMENT_BYTES + 1];
        let error = pack_json(Kind::Checkpoint, &text).expect_err("too large");
        assert!(matches!(error, Error::TooLarge { kind: "checkpoint", bytes } if bytes == text.len()), "{error}");
        let stored = pack_json(Kind::Checkpoint, &text[1..]).expect("the largest there is");
        let read = unpack_json(&stored[..stored.len() - TRAILER_BYTES]).expect("what was written is read");
        assert_eq!(read.len(), MAX_DOCUMENT_BYTES);
    }

    #[test]
    fn a12_a_newer_format_is_refused_by_number() {
        let error = from_json::<Text>(br#"{"formatVersion":2,"kind":"somethingNew","x":1}"#).expect_err("newer");
        assert!(matches!(error, Error::NewerFormat { found: 2 }), "{error}");
        let error = unseal::<Text>(br#"{"formatVersion":3,"kind":"somethingNew"}"#).expect_err("newer");
        assert!(matches!(error, Error::NewerFormat { found: 3 }), "{error}");
        let other = br#"{"formatVersion":1,"kind":"checkpoint","text":"x"}"#;
        assert!(matches!(from_json::<Text>(other), Err(Error::Damaged(_))));
    }
}
