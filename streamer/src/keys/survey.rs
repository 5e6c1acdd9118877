//! Which backup keys there are, and who opens them.
//!
//! Owns: what is told of that, and what the current master key does open. Does not own: whether a backup is opened ([`super::open`]), or
//! which of its keys are wrapped anew ([`crate::rekey`]).

use std::collections::BTreeSet;

use serde::Serialize;
use strimzi_backup_format::crypt::MasterKeyId;
use strimzi_backup_format::crypt::wraps::{self, Found, Ignored, KeyWrap};
use strimzi_backup_format::job;
use strimzi_backup_format::store::Store;

use super::{KeysError, Source, source};
use crate::error::Error;

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
pub(super) async fn tried(source: &dyn Source, store: &Store) -> Result<Current, KeysError> {
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

/// A backup key, and who opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupKey {
    /// Its number; the highest seals.
    pub number: u32,
    /// The master keys that wrapped it, the first of them first: any of them opens it.
    pub master_keys: Vec<MasterKeyId>,
}

impl BackupKey {
    /// Who opens it, for people: `a or b`.
    pub(crate) fn openers(&self) -> String {
        self.master_keys.iter().map(MasterKeyId::as_str).collect::<Vec<_>>().join(" or ")
    }
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
    match keys {
        [only] => only.openers(),
        several => {
            let each = several.iter().map(|key| format!("{} for backup key {}", key.openers(), key.number));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}
