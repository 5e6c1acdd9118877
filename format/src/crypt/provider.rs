//! Who has a master key, and wraps backup keys by it: the seam, and the provider whose keys are files.
//!
//! A service that keeps its keys to itself is another implementation: it is asked to wrap and to unwrap, and no key leaves it.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::aead::{Cipher, SEAL_BYTES};
use super::secret::MASTER_SALT;
use super::{Error, MasterKeyId, SecretKey};

/// Who wraps backup keys by a master key, and unwraps them.
#[async_trait]
pub trait KeyProvider: fmt::Debug + Send + Sync {
    /// The master key that wraps now.
    ///
    /// # Errors
    /// [`KeyError`], where it must be asked for.
    async fn current(&self) -> Result<MasterKeyId, KeyError>;

    /// Wraps a key by the current master key, bound to `context`.
    ///
    /// # Errors
    /// [`KeyError`].
    async fn wrap(&self, key: &SecretKey, context: &[u8]) -> Result<Wrapped, KeyError>;

    /// The key that was wrapped, bound to that `context`.
    ///
    /// # Errors
    /// [`KeyError`].
    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<SecretKey, KeyError>;

    /// Whether it may open what this master key wrapped, without asking anybody: a file's key is its own or not; one of a service is
    /// known by its place there, whatever its version.
    fn knows(&self, master: &MasterKeyId) -> bool;
}

/// A key that a master key wrapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wrapped {
    /// The master key that wrapped it.
    #[serde(rename = "masterKey")]
    pub master: MasterKeyId,
    /// What came of it, as that master key's provider writes it.
    #[serde(rename = "wrapped")]
    pub text: String,
}

/// Why a master key does not wrap or unwrap.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Who has the key does not answer: trying again is right.
    #[error("the master key {key} cannot be used now")]
    Unavailable {
        /// The master key, or its place.
        key: String,
        /// What happened.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Who has the key refuses.
    #[error("the master key {key} may not be used: {why}")]
    Denied {
        /// The master key, or its place.
        key: String,
        /// What was answered.
        why: String,
    },
    /// The key, or the version of it, is not there any more.
    #[error("the master key {key} is not there: {why}")]
    Gone {
        /// The master key, or its place.
        key: String,
        /// Where it was looked for.
        why: String,
    },
    /// What was wrapped is not opened by the key that it names.
    #[error("what {key} is said to have wrapped does not open: it was changed, or is of another backup")]
    Wrong {
        /// The master key.
        key: String,
    },
    /// A file that has no key.
    #[error(
        "{} holds {found}; a master key is 32 random bytes, as they are, as 64 hex digits or in base64 (`openssl rand -base64 32` makes \
         one)",
        path.display()
    )]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What it holds, by its length.
        found: String,
    },
    /// A file that cannot be read.
    #[error("read the master key in {}", path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not the key's fault.
    #[error(transparent)]
    Crypt(#[from] Error),
}

impl KeyError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Master keys in files: the current one, and earlier ones that only open.
pub struct FileKeys {
    current: MasterKeyId,
    masters: BTreeMap<MasterKeyId, Cipher>,
}

impl FileKeys {
    /// Whether a file of that content has a key: what looks into Secrets judges as pods will.
    pub fn is_key(content: &[u8]) -> bool {
        decode(content).is_ok()
    }

    /// Reads them, once: 32 bytes as they are, or, with or without white space around, 64 hex digits or base64.
    ///
    /// # Errors
    /// [`KeyError::Unread`] or [`KeyError::BadKey`], with the file.
    pub fn read(current: &Path, previous: &[PathBuf]) -> Result<Self, KeyError> {
        let (current, cipher) = read_master(current)?;
        let mut masters = BTreeMap::from([(current.clone(), cipher)]);
        for path in previous {
            let (id, cipher) = read_master(path)?;
            masters.insert(id, cipher);
        }
        Ok(Self { current, masters })
    }

    fn cipher(&self, master: &MasterKeyId) -> Result<&Cipher, KeyError> {
        let gone = || KeyError::Gone { key: master.to_string(), why: "no key file that was given has it".to_owned() };
        self.masters.get(master).ok_or_else(gone)
    }
}

/// Says which keys it has, and nothing of them.
impl fmt::Debug for FileKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&MasterKeyId> = self.masters.keys().collect();
        f.debug_struct("FileKeys").field("current", &self.current).field("masters", &ids).finish()
    }
}

#[async_trait]
impl KeyProvider for FileKeys {
    async fn current(&self) -> Result<MasterKeyId, KeyError> {
        Ok(self.current.clone())
    }

    async fn wrap(&self, key: &SecretKey, context: &[u8]) -> Result<Wrapped, KeyError> {
        let mut sealed = Vec::with_capacity(SEAL_BYTES + 32);
        self.cipher(&self.current)?.seal(context, key.as_bytes(), &mut sealed)?;
        Ok(Wrapped { master: self.current.clone(), text: BASE64.encode(&sealed) })
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<SecretKey, KeyError> {
        let wrong = || KeyError::Wrong { key: wrapped.master.to_string() };
        let cipher = self.cipher(&wrapped.master)?;
        let sealed = BASE64.decode(&wrapped.text).map_err(|_| wrong())?;
        let mut key = Zeroizing::new([0_u8; 32]);
        cipher.open(context, &sealed, &mut key[..]).ok_or_else(wrong)?;
        Ok(SecretKey::of(key))
    }

    fn knows(&self, master: &MasterKeyId) -> bool {
        self.masters.contains_key(master)
    }
}

/// Standard base64, with or without its padding where it is read.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// No file with a key is larger, whatever white space is around it.
const MOST_FILE_BYTES: u64 = 4096;

fn read_master(path: &Path) -> Result<(MasterKeyId, Cipher), KeyError> {
    let unread = |source| KeyError::Unread { path: path.to_owned(), source };
    // As large as it may get, so that no part of it is left where it was before it grew.
    let mut content = Zeroizing::new(Vec::<u8>::with_capacity(8192));
    File::open(path).map_err(unread)?.take(MOST_FILE_BYTES + 1).read_to_end(&mut content).map_err(unread)?;
    let key = decode(&content).map_err(|found| KeyError::BadKey { path: path.to_owned(), found })?;
    let wraps = key.derive(MASTER_SALT, b"strimzi-backup wraps")?;
    Ok((MasterKeyId::of_file(&key)?, Cipher::new(wraps.as_bytes())?))
}

/// The key in a file, or what is there instead.
fn decode(content: &[u8]) -> Result<SecretKey, String> {
    let text = content.trim_ascii();
    let is_hex = !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    // 32 hex digits are a key of half the length, and would be taken for one of the whole.
    if let (false, Ok(key)) = (is_hex, <[u8; 32]>::try_from(content)) {
        return Ok(SecretKey::new(key));
    }
    if content.len() as u64 > MOST_FILE_BYTES {
        return Err(format!("more than {MOST_FILE_BYTES} bytes"));
    }
    let mut key = Zeroizing::new([0_u8; 32]);
    if hex::decode_to_slice(text, &mut key[..]).is_ok() {
        return Ok(SecretKey::of(key));
    }
    if is_hex {
        return Err(format!("{} hex digits", text.len()));
    }
    let decoded = Zeroizing::new(BASE64.decode(text).unwrap_or_default());
    match <[u8; 32]>::try_from(decoded.as_slice()) {
        Ok(key) => Ok(SecretKey::new(key)),
        Err(_) if decoded.is_empty() => Err(format!("{} bytes", content.len())),
        Err(_) => Err(format!("{} bytes of base64, which are {}", text.len(), decoded.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> [u8; 32] {
        std::array::from_fn(|at| 0x40 + u8::try_from(at).expect("few"))
    }

    fn decoded(content: impl AsRef<[u8]>) -> Result<[u8; 32], String> {
        decode(content.as_ref()).map(|key| *key.as_bytes())
    }

    #[test]
    fn a33_a_key_is_32_bytes_as_they_are_in_hex_or_in_base64() {
        let (hex, base64) = (hex::encode(bytes()), BASE64.encode(bytes()));
        assert_eq!((hex.len(), base64.len()), (64, 44));
        let unpadded = base64.trim_end_matches('=');
        let texts = [hex.clone(), hex.to_uppercase(), base64.clone(), unpadded.to_owned()];
        for text in texts {
            for written in [text.clone(), format!("{text}\n"), format!(" \t{text}\r\n\n")] {
                assert_eq!(decoded(&written), Ok(bytes()), "{written:?}");
            }
        }
        assert_eq!(decoded(bytes()), Ok(bytes()));
        let spaces = [b' '; 32];
        assert_eq!(decoded(spaces), Ok(spaces), "nothing is cut off from bytes as they are");
    }

    #[test]
    fn a33_a_key_of_another_length_is_told_with_its_file_and_length_and_never_shown() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        for (content, found) in [
            (Vec::new(), "0 bytes"),
            (vec![0xff; 31], "31 bytes"),
            (vec![0xff; 33], "33 bytes"),
            (vec![b'a'; 32], "32 hex digits"),
            (vec![b'a'; 63], "63 hex digits"),
            (vec![b'z'; 44], "44 bytes of base64, which are 33"),
            (vec![b'!'; 44], "44 bytes"),
            (vec![b' '; 5000], "more than 4096 bytes"),
        ] {
            std::fs::write(&path, &content).expect("write");
            let error = FileKeys::read(&path, &[]).expect_err(found);
            let said = error.to_string();
            assert!(said.contains(&format!("{} holds {found}; ", path.display())), "{said}");
            assert!(!error.is_retryable() && !said.contains("zzzz") && !said.contains("aaaa"), "{said}");
        }
        let error = FileKeys::read(&folder.path().join("none"), &[]).expect_err("no file").to_string();
        assert!(error.contains("none"), "{error}");
    }

    fn wrote(folder: &tempfile::TempDir, name: &str, content: &[u8]) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("write");
        path
    }

    #[tokio::test]
    async fn a34_what_another_implementation_wrapped_is_unwrapped() {
        let folder = tempfile::tempdir().expect("folder");
        let keys = FileKeys::read(&wrote(&folder, "key", &bytes()), &[]).expect("a key");
        let master = keys.current().await.expect("known");
        assert_eq!(master.as_str(), "file:6e02b3e5927d8435");
        let text = "AAECAwQFBgcICQoLgv3J2R/zRX50KsX9x2v4KRHYjajTCJZthG2mR+O1o9563igteLgcp9YRYtqVjXvV".to_owned();
        let backup = "0a3f048d-e48e-42b8-9c7b-3e654a060dde".parse().expect("a UUID");
        let context = super::super::wraps::context(backup, 1);
        let key = keys.unwrap(&Wrapped { master, text }, &context).await.expect("unwrapped");
        assert_eq!(key.as_bytes()[..4], [0x20, 0x21, 0x22, 0x23]);
    }

    #[tokio::test]
    async fn a34_earlier_keys_open_and_the_current_one_wraps() {
        let folder = tempfile::tempdir().expect("folder");
        let (old, new) = (wrote(&folder, "old", &[1; 32]), wrote(&folder, "new", &[2; 32]));
        let before = FileKeys::read(&old, &[]).expect("a key");
        let after = FileKeys::read(&new, &[old]).expect("two keys");
        let key = SecretKey::generate().expect("drawn");
        let wrapped = before.wrap(&key, b"here").await.expect("wrapped");
        assert_eq!(after.unwrap(&wrapped, b"here").await.expect("unwrapped").as_bytes(), key.as_bytes());
        let anew = after.wrap(&key, b"here").await.expect("wrapped");
        assert_eq!(anew.master, after.current().await.expect("known"));
        assert_ne!(anew.master, wrapped.master);
        assert!(after.knows(&wrapped.master) && !before.knows(&anew.master));
        let error = before.unwrap(&anew, b"here").await.expect_err("not its own");
        assert!(matches!(&error, KeyError::Gone { key, .. } if *key == anew.master.to_string()), "{error}");
        for (text, context) in [(wrapped.text.clone(), "there"), (anew.text, "here"), ("%".to_owned(), "here")] {
            let wrong = Wrapped { master: wrapped.master.clone(), text };
            let error = after.unwrap(&wrong, context.as_bytes()).await.expect_err("wrong");
            assert!(matches!(error, KeyError::Wrong { .. }), "{error}");
        }
        let printed = format!("{after:?}");
        assert!(printed.contains("current: MasterKeyId(\"file:") && !printed.contains("2, 2"), "{printed}");
    }

    #[test]
    fn a_wrapped_key_is_written_as_in_its_document() {
        let wrapped = Wrapped { master: "transit:t/k:v3".parse().expect("legal"), text: "vault:v3:x".to_owned() };
        let json = serde_json::json!({"masterKey": "transit:t/k:v3", "wrapped": "vault:v3:x"});
        assert_eq!(serde_json::to_value(&wrapped).expect("json"), json);
        assert_eq!(serde_json::from_value::<Wrapped>(json).expect("read"), wrapped);
    }
}
