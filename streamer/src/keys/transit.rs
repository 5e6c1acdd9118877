//! The key provider `transit`: a master key in the transit engine of HashiCorp Vault or OpenBao, which never leaves it.
//!
//! ```text
//! current:  GET  <mount>/keys/<name>     ─▶ latest_version
//! wrap:     POST <mount>/encrypt/<name>  ─▶ vault:v<version>:<ciphertext>    associated_data: what the wrap is bound to
//! unwrap:   POST <mount>/decrypt/<name>  ◀─ vault:v<version>:<ciphertext>
//! ```
//! Owns: these requests. Does not own: the API they are requests of ([`super::vault`]).
//!
//! `associated_data` needs Vault 1.9 or OpenBao, and a key of type `aes256-gcm96` (the default), `aes128-gcm96` or
//! `chacha20-poly1305`. A key whose `derived` is set is refused by the server, in its own words.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use strimzi_backup_format::crypt::{KeyError, KeyProvider, MasterKeyId, SecretKey, Wrapped};
use strimzi_backup_format::job::Transit;
use zeroize::Zeroizing;

use super::vault::{Fault, PATIENCE, Secret, Vault};

/// A key of the transit engine, in all its versions.
#[derive(Debug)]
pub(super) struct TransitKeys {
    vault: Vault,
    mount: String,
    name: String,
}

/// What every answer of the engine is wrapped in.
#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Key {
    latest_version: u32,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: String,
}

#[derive(Serialize)]
struct Encrypt<'a> {
    plaintext: &'a str,
    associated_data: String,
}

#[derive(Serialize)]
struct Decrypt<'a> {
    ciphertext: &'a str,
    associated_data: String,
}

impl TransitKeys {
    /// A key that nobody was asked for yet.
    ///
    /// # Errors
    /// [`KeyError::Denied`] where the CA certificates cannot be used.
    pub(super) fn new(settings: &Transit) -> Result<Self, KeyError> {
        Self::with_patience(settings, PATIENCE)
    }

    fn with_patience(settings: &Transit, patience: Duration) -> Result<Self, KeyError> {
        let (mount, name) = (settings.mount.trim_matches('/').to_owned(), settings.key.clone());
        let all = format!("transit:{mount}/{name}");
        let vault = Vault::new(settings, patience).map_err(|fault| told(all, &settings.address, fault))?;
        Ok(Self { vault, mount, name })
    }

    /// The id of the key without a version.
    fn all_versions(&self) -> String {
        format!("transit:{}/{}", self.mount, self.name)
    }

    fn version(&self, version: &str) -> Result<MasterKeyId, Fault> {
        let id = format!("{}:v{version}", self.all_versions());
        id.parse().map_err(|_| Fault::Away(format!("it speaks of version {version:?} of the key")))
    }

    /// What came instead of an answer about `master`.
    fn failed(&self, master: String) -> impl FnOnce(Fault) -> KeyError {
        let address = self.vault.address().to_owned();
        move |fault| told(master, &address, fault)
    }

    async fn latest(&self) -> Result<MasterKeyId, Fault> {
        let path = format!("{}/keys/{}", self.mount, self.name);
        let Answer { data: Key { latest_version } } = self.vault.get(&path).await.map_err(|fault| match fault {
            // Its own answer to that has no words.
            Fault::Gone(said) => Fault::Gone(format!("there is no such key, or no such mount: {said}")),
            other => other,
        })?;
        self.version(&latest_version.to_string())
    }

    async fn encrypt(&self, key: &SecretKey, context: &[u8]) -> Result<Wrapped, Fault> {
        let path = format!("{}/encrypt/{}", self.mount, self.name);
        let plaintext = Secret::new(BASE64.encode(key.as_bytes()));
        let fields = Encrypt { plaintext: &plaintext, associated_data: BASE64.encode(context) };
        let Answer { data: Encrypted { ciphertext } } = self.vault.post(&path, &fields, &plaintext).await?;
        let version = version_of(&ciphertext);
        let version = version.ok_or_else(|| Fault::Away("its ciphertext does not name a version".to_owned()))?;
        Ok(Wrapped { master: self.version(version)?, text: ciphertext })
    }

    async fn decrypt(&self, ciphertext: &str, context: &[u8]) -> Result<SecretKey, Fault> {
        let path = format!("{}/decrypt/{}", self.mount, self.name);
        let fields = Decrypt { ciphertext, associated_data: BASE64.encode(context) };
        let Answer { data: Decrypted { plaintext } } = self.vault.post(&path, &fields, "").await?;
        let plaintext = Secret::new(plaintext);
        let no_key = || Fault::Wrong("what it opens is no backup key".to_owned());
        let bytes = BASE64.decode(plaintext.as_bytes()).map(Zeroizing::new).map_err(|_| no_key())?;
        let bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| no_key())?;
        Ok(SecretKey::new(bytes))
    }
}

#[async_trait]
impl KeyProvider for TransitKeys {
    async fn current(&self) -> Result<MasterKeyId, KeyError> {
        self.latest().await.map_err(self.failed(self.all_versions()))
    }

    async fn wrap(&self, key: &SecretKey, context: &[u8]) -> Result<Wrapped, KeyError> {
        self.encrypt(key, context).await.map_err(self.failed(self.all_versions()))
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<SecretKey, KeyError> {
        // Vault goes by the version in the ciphertext, all else by the id beside it, and nothing else binds the two.
        let named = version_of(&wrapped.text).and_then(|version| self.version(version).ok());
        if named.as_ref() != Some(&wrapped.master) {
            return Err(KeyError::Wrong { key: wrapped.master.to_string() });
        }
        self.decrypt(&wrapped.text, context).await.map_err(self.failed(wrapped.master.to_string()))
    }

    fn knows(&self, master: &MasterKeyId) -> bool {
        master.as_str().rsplit_once(":v").is_some_and(|(key, _)| key == self.all_versions())
    }
}

/// The version of the key that a ciphertext names.
fn version_of(ciphertext: &str) -> Option<&str> {
    let (version, _) = ciphertext.strip_prefix("vault:v")?.split_once(':')?;
    Some(version)
}

/// A fault as whoever asked for the key is told of it.
fn told(key: String, address: &str, fault: Fault) -> KeyError {
    match fault {
        Fault::Away(why) => KeyError::Unavailable { key, source: format!("{address}: {why}").into() },
        Fault::Denied(why) => KeyError::Denied { key, why: format!("{address}: {why}") },
        Fault::Gone(why) => KeyError::Gone { key, why: format!("{address}: {why}") },
        Fault::Wrong(_) => KeyError::Wrong { key },
    }
}

#[cfg(test)]
mod tests;
