//! The keys of an encrypted backup: from what a document says to a store that opens what it reads and seals what it writes.
//!
//! ```text
//! backup.encryption ─▶ provider.rs ─┬─▶ files
//!                                   └─▶ transit.rs ─▶ vault.rs        a request each, when a process starts
//!                         │
//! backup.json, keys/ ─────┴─▶ KeyRing ─▶ store::sealed                all that is read and written afterwards
//! ```
//! Owns: whether a backup is opened, and with which words it is not. Does not own: wraps and keys ([`strimzi_backup_format::crypt`]), what is
//! sealed ([`strimzi_backup_format::store::sealed()`]), or when a writer founds a backup or makes its next key ([`crate::claim`]).
//!
//! Invariants: a backup that is encrypted is never written to without its keys, nor one in the clear with some; a wrong key is named,
//! by its id, before anything is written; no key is in an error or a log.

mod error;
mod once;
mod provider;
mod transit;
mod vault;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use strimzi_backup_format::crypt::wraps::{self, Found, Ignored, KeyWrap};
use strimzi_backup_format::crypt::{KeyRing, MasterKeyId};
use strimzi_backup_format::document;
use strimzi_backup_format::identity::Identity;
use strimzi_backup_format::ids::BackupId;
use strimzi_backup_format::job;
use strimzi_backup_format::manifest::reader;
use strimzi_backup_format::store::{self, Store};

use crate::error::{Error, exit};
pub use error::KeysError;
pub(crate) use once::Once;
pub use provider::Source;

/// How often what seems damaged is read before it counts as damaged: what flipped in transit does not come three times.
const READS: u32 = 3;

/// Opens the storage of a job for reading, and the backup in it where that is encrypted. Where there is none, or only its reader can say
/// what is wrong, the store is as [`store::open`] gives it.
///
/// # Errors
/// [`Error::Open`], [`Error::NoBackup`], [`Error::NoStore`] where the store fails; [`Error::Read`] or [`Error::Keys`].
pub async fn open(storage: &job::Storage) -> Result<Store, Error> {
    let store = store::open(storage)?;
    unlocked(store.clone(), source(storage)).await.map_err(|error| error.of_store(&store))
}

/// Where the master keys of a job are; `None` where it has none.
pub fn source(storage: &job::Storage) -> Option<&dyn Source> {
    storage.encryption.as_ref().map(|encryption| &encryption.provider as &dyn Source)
}

/// The master key that would wrap now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// Its id.
    pub master: MasterKeyId,
    /// The numbers of the backup keys that it has opened.
    pub opens: BTreeSet<u32>,
}

/// The current master key of a job, and which backup keys in its store it opens; `None` where a job has none.
///
/// # Errors
/// [`Error::Keys`], where who has it does not say, or wraps cannot be read.
pub async fn current(storage: &job::Storage, store: &Store) -> Result<Option<Current>, Error> {
    let Some(source) = source(storage) else { return Ok(None) };
    Ok(Some(tried(source, store).await?))
}

/// Tries what the current master key opens: that a wrap names it proves nothing, and an earlier one is let go by what is said of it.
async fn tried(source: &dyn Source, store: &Store) -> Result<Current, KeysError> {
    let provider = source.provider()?;
    let (master, mut opens) = (provider.current().await?, BTreeSet::new());
    for wrap in wraps::read(store).await?.wraps.iter().filter(|wrap| wrap.master_key == master) {
        match provider.unwrap(&wrap.wrapped(), &wraps::context(wrap.backup, wrap.number)).await {
            Ok(_) => {
                opens.insert(wrap.number);
            }
            Err(error) if error.is_retryable() => return Err(error.into()),
            Err(_) => {}
        }
    }
    Ok(Current { master, opens })
}

/// Whose backup lies under a prefix, as far as keys go.
enum Whose {
    /// Nobody's, or nobody knows: its reader says why.
    Unknown,
    /// One in the clear.
    Open,
    /// One that is encrypted.
    Encrypted(Box<Identity>),
}

/// The same place as who has the keys sees it.
///
/// # Errors
/// As [`open`].
pub(crate) async fn unlocked(store: Store, source: Option<&dyn Source>) -> Result<Store, Error> {
    let mut read = 1;
    loop {
        match unlock(store.clone(), source).await {
            // An identity that was read wrong is of another backup than its keys.
            Err(Error::Keys(error)) if read < READS && error.exit_code() == exit::DAMAGED => read += 1,
            done => return done,
        }
    }
}

async fn unlock(store: Store, source: Option<&dyn Source>) -> Result<Store, Error> {
    let whose = whose(&store).await?;
    let source = match (&whose, source) {
        (Whose::Encrypted(identity), None) => return Err(no_key(&store, identity).await.into()),
        (_, None) => return Ok(store),
        (Whose::Open, Some(_)) => return Err(KeysError::NotEncrypted { place: store.description }.into()),
        (_, Some(source)) => source,
    };
    let wraps = read_wraps(&store).await?.wraps;
    // Where `backup.json` is gone or damaged, its keys still say whose they are: enough for who reads without it.
    let backup: Option<BackupId> = match &whose {
        Whose::Encrypted(identity) => Some(identity.backup),
        _ => wraps.first().map(|wrap| wrap.backup),
    };
    let Some(backup) = backup else { return Ok(store) };
    if wraps.is_empty() {
        return Err(KeysError::NoWraps { place: store.description }.into());
    }
    let provider = source.provider()?;
    let ring = wraps::unlock(backup, &wraps, provider.as_ref()).await.map_err(KeysError::from)?;
    Ok(sealed_by(&store, ring))
}

/// A store that is sealed by these keys.
pub(crate) fn sealed_by(store: &Store, ring: KeyRing) -> Store {
    store::sealed(store, Arc::new(ring))
}

async fn whose(store: &Store) -> Result<Whose, Error> {
    match reader::identity(store).await {
        Ok(Some(identity)) if identity.encryption.is_some() => Ok(Whose::Encrypted(Box::new(identity))),
        Ok(Some(_)) => Ok(Whose::Open),
        Ok(None) | Err(reader::Error::Document { source: document::Error::Damaged(_), .. }) => Ok(Whose::Unknown),
        Err(error) => Err(error.into()),
    }
}

/// Says which master keys would open a backup: those that wrap its keys, or the one that it was founded with.
async fn no_key(store: &Store, identity: &Identity) -> KeysError {
    let masters = match read_wraps(store).await {
        Ok(found) if !found.wraps.is_empty() => openers(&backup_keys(&found.wraps)),
        _ => identity.encryption.as_ref().map_or_else(String::new, |encryption| encryption.master_key.to_string()),
    };
    KeysError::NoKey { place: store.description.clone(), masters }
}

/// A backup key, and who opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupKey {
    /// Its number; the highest seals.
    pub number: u32,
    /// The master keys that wrapped it, the first of them first: any of them opens it.
    pub master_keys: Vec<MasterKeyId>,
}

/// What lies below `keys/`.
#[derive(Debug)]
pub struct Survey {
    /// The backup keys.
    pub keys: Vec<BackupKey>,
    /// Wraps of them that are damaged, beside others that are whole.
    pub damaged: Vec<Ignored>,
}

/// The backup keys of a store that was opened with keys; `None` for one in the clear.
///
/// # Errors
/// [`KeysError::Wraps`], where their wraps cannot be read.
pub async fn survey(store: &Store) -> Result<Option<Survey>, KeysError> {
    if store.keys.is_none() {
        return Ok(None);
    }
    let Found { wraps, ignored: damaged } = wraps::read(store).await?;
    Ok(Some(Survey { keys: backup_keys(&wraps), damaged }))
}

/// The wraps below `keys/`; of those that are damaged, and not needed, the log tells.
///
/// # Errors
/// [`KeysError::Wraps`].
pub(crate) async fn read_wraps(store: &Store) -> Result<Found, KeysError> {
    let found = wraps::read(store).await?;
    for ignored in &found.ignored {
        tracing::warn!(
            object = %ignored.object(),
            reason = %ignored.why,
            "wrapped key ignored; another one of the same backup key is read instead"
        );
    }
    Ok(found)
}

/// The backup keys that wraps, in their order, are of.
pub(crate) fn backup_keys(wraps: &[KeyWrap]) -> Vec<BackupKey> {
    let mut keys: Vec<BackupKey> = Vec::new();
    for wrap in wraps {
        let master = wrap.master_key.clone();
        match keys.last_mut().filter(|key| key.number == wrap.number) {
            Some(key) if key.master_keys.contains(&master) => {}
            Some(key) => key.master_keys.push(master),
            None => keys.push(BackupKey { number: wrap.number, master_keys: vec![master] }),
        }
    }
    keys
}

/// Who opens backup keys, for people: `a or b`, or by key where there are several.
pub(crate) fn openers(keys: &[BackupKey]) -> String {
    let any = |key: &BackupKey| key.master_keys.iter().map(MasterKeyId::as_str).collect::<Vec<_>>().join(" or ");
    match keys {
        [only] => any(only),
        several => {
            let each = several.iter().map(|key| format!("{} for backup key {}", any(key), key.number));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
