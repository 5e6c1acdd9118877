//! The keys of an encrypted backup: from what a document says to a store that opens what it reads and seals what it writes.
//!
//! ```text
//! backup.encryption ─▶ provider.rs ─┬─▶ files
//!                                   └─▶ transit.rs ─▶ vault.rs        a request each, when a process starts
//!                         │
//! backup.json, keys/ ─────┴─▶ KeyRing ─▶ store::sealed                all that is read and written afterwards
//! ```
//! Owns: whether a backup is opened, and with which words it is not; what is told of who opens it (`survey.rs`). Does not own: wraps and
//! keys ([`strimzi_backup_format::crypt`]), what is sealed ([`strimzi_backup_format::store::sealed()`]), or when a writer founds a backup or
//! makes its next key ([`crate::claim`]).
//!
//! Invariants: a backup that is encrypted is never written to without its keys, nor one in the clear with some; a wrong key is named,
//! by its id, before anything is written; no key is in an error or a log.

mod error;
mod once;
mod provider;
mod survey;
mod transit;
mod vault;

use std::sync::Arc;

use strimzi_backup_format::crypt::KeyRing;
use strimzi_backup_format::crypt::wraps::{self, Found};
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
pub use survey::{BackupKey, Current, Survey, current, survey};
pub(crate) use survey::{backup_keys, openers};

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

#[cfg(test)]
pub(crate) mod tests;
