//! A key of 32 bytes, and what a master key is called.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Error;

/// The salt of what is derived from a master key, which belongs to no backup.
pub(super) const MASTER_SALT: &[u8] = b"strimzi-backup master key";

/// A key of AES-256, wiped when it is dropped and never printed.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// Draws a key.
    ///
    /// # Errors
    /// [`Error::NoRandomness`].
    pub fn generate() -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        rand::fill(&mut bytes[..]).map_err(|_| Error::NoRandomness)?;
        Ok(Self(bytes))
    }

    /// Wraps bytes that the caller has.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Takes bytes that were opened into memory that is wiped.
    pub(super) fn of(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// The bytes: for what encrypts, and for nothing that prints.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key for one purpose: HKDF-SHA-256.
    ///
    /// # Errors
    /// [`Error::Refused`], for want of memory.
    pub(super) fn derive(&self, salt: &[u8], purpose: &[u8]) -> Result<Self, Error> {
        let key = Salt::new(HKDF_SHA256, salt).extract(&self.0[..]);
        let info = [purpose];
        let mut derived = Zeroizing::new([0_u8; 32]);
        let filled = key.expand(&info, HKDF_SHA256).and_then(|key| key.fill(&mut derived[..]));
        filled.map_err(|_| Error::Refused("derive a key"))?;
        Ok(Self(derived))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// What tells master keys apart, and says nothing of the key: `file:<16 hex digits>` for one in a file,
/// `transit:<mount>/<name>:v<version>` for one of Vault's transit engine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MasterKeyId(String);

/// Not the id of a master key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the id of a master key (file:<16 hex digits> or transit:<mount>/<name>:v<version>)")]
pub struct NotAMasterKey(String);

impl MasterKeyId {
    /// The id of a key in a file: derived from it, so that the same key has the same id in whatever file.
    ///
    /// # Errors
    /// [`Error::Refused`], for want of memory.
    pub fn of_file(key: &SecretKey) -> Result<Self, Error> {
        let id = key.derive(MASTER_SALT, b"strimzi-backup key id")?;
        Ok(Self(format!("file:{}", hex::encode(&id.as_bytes()[..8]))))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_legal(id: &str) -> bool {
    if let Some(digits) = id.strip_prefix("file:") {
        return digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    }
    let transit = id.strip_prefix("transit:").and_then(|rest| rest.rsplit_once(":v"));
    let Some(((mount, name), version)) = transit.and_then(|(key, version)| Some((key.rsplit_once('/')?, version)))
    else {
        return false;
    };
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    let is_number = version.starts_with(|c: char| ('1'..='9').contains(&c)) && version.parse::<u32>().is_ok();
    is_name(mount) && is_name(name) && is_number
}

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MasterKeyId {
    type Err = NotAMasterKey;
    fn from_str(text: &str) -> Result<Self, NotAMasterKey> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for MasterKeyId {
    type Error = NotAMasterKey;
    fn try_from(text: String) -> Result<Self, NotAMasterKey> {
        if is_legal(&text) { Ok(Self(text)) } else { Err(NotAMasterKey(text)) }
    }
}

impl From<MasterKeyId> for String {
    fn from(id: MasterKeyId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5869, test case 1, as far as 32 bytes go; its key is shorter than ours, so the library is asked as [`SecretKey::derive`] asks it.
    #[test]
    fn a34_keys_are_derived_by_hkdf_sha_256() {
        let (key, salt, info) = ([0x0b; 22], hex::decode("000102030405060708090a0b0c").expect("hex"), [0xf0_u8, 0xf1]);
        let info: Vec<u8> = info.into_iter().chain(0xf2..=0xf9).collect();
        let mut derived = [0; 32];
        let extracted = Salt::new(HKDF_SHA256, &salt).extract(&key);
        extracted.expand(&[info.as_slice()], HKDF_SHA256).expect("length").fill(&mut derived).expect("derived");
        assert_eq!(hex::encode(derived), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");

        let key = SecretKey::new(std::array::from_fn(|at| 0x20 + u8::try_from(at).expect("few")));
        let salt = hex::decode("0a3f048de48e42b89c7b3e654a060dde").expect("hex");
        let derived = key.derive(&salt, b"strimzi-backup documents").expect("derived");
        assert_eq!(hex::encode(derived.as_bytes()), "c1d7fd401efc011e88e58fd8a2464e308124e362998df6c633acd1f92fe54780");
    }

    #[test]
    fn a33_a_key_is_drawn_anew_each_time_and_never_printed() {
        let (one, two) = (SecretKey::generate().expect("drawn"), SecretKey::generate().expect("drawn"));
        assert_ne!(one.as_bytes(), two.as_bytes());
        assert_eq!(format!("{one:?} {:?}", Some(&two)), "SecretKey(..) Some(SecretKey(..))");
    }

    #[test]
    fn ids_of_master_keys_are_of_one_of_two_forms() {
        for legal in ["file:0123456789abcdef", "transit:transit/orders:v1", "transit:kms/eu/orders:v12"] {
            let id: MasterKeyId = legal.parse().expect(legal);
            assert_eq!((id.to_string(), serde_json::json!(id)), (legal.to_owned(), serde_json::json!(legal)));
        }
        for illegal in [
            "",
            "file:",
            "file:0123456789ABCDEF",
            "file:0123456789abcde",
            "transit:orders:v1",
            "transit:/orders:v1",
            "transit:transit/:v1",
            "transit:transit/orders",
            "transit:transit/orders:v0",
            "transit:transit/orders:v+1",
            "transit:transit/or ders:v1",
            "aws:x",
        ] {
            let error = illegal.parse::<MasterKeyId>().expect_err(illegal).to_string();
            assert!(error.contains(&format!("{illegal:?}")) && error.contains("file:<16 hex digits>"), "{error}");
        }
    }
}
