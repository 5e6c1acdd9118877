//! `rekey`: the current master key opens all of a backup, too.
//!
//! ```text
//! keys/ ─▶ each backup key that has no wrap by the current master key ─▶ unwrap by an earlier one ─▶ wrap ─▶ one more document
//! ```
//! Owns: which backup keys are wrapped anew. Does not own: the documents ([`strimzi_backup_format::crypt::wraps`]), making the next backup
//! key, which the next writer does ([`crate::claim`]).
//!
//! Invariants: nothing but `keys/` is written, and nothing there is changed: a wrap is created once, under the next number, beside the
//! log, so a streamer may run meanwhile, and so may another `rekey`. Before the first one is written, every backup key was opened; a master
//! key is said to open one that it did open.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use strimzi_backup_format::crypt::wraps::{self, KeyWrap, Opened};
use strimzi_backup_format::crypt::{KeyProvider, MasterKeyId, SecretKey};
use strimzi_backup_format::ids::{BackupId, TimestampMs};
use strimzi_backup_format::job::Storage;
use strimzi_backup_format::manifest::reader;
use strimzi_backup_format::store::{self, Store};

use crate::clock::{Backoff, Clock};
use crate::error::Error;
use crate::keys::{self, BackupKey, KeysError, Source};

/// How often what may pass is tried: a minute, about.
const ATTEMPTS: u64 = 10;

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rekeyed {
    /// Where, for people.
    pub storage: String,
    /// The backup.
    pub backup: BackupId,
    /// The master key that opens all of it now.
    pub current: MasterKeyId,
    /// The backup keys that it was made to open.
    pub added: Vec<u32>,
    /// All backup keys, and who opens them.
    pub backup_keys: Vec<BackupKey>,
    /// Master keys that open nothing that the current one does not.
    pub not_needed: Vec<MasterKeyId>,
}

/// Wraps every backup key by the current master key that is not yet.
///
/// Killed at any point, the next run goes on.
///
/// # Errors
/// [`Error::Usage`] where the job names no key; [`Error::NoBackup`], [`Error::Read`], [`Error::Keys`].
pub async fn run(storage: &Storage, clock: &impl Clock) -> Result<Rekeyed, Error> {
    let Some(source) = keys::source(storage) else {
        return Err(Error::Usage("the job names no master key: set backup.encryption".to_owned()));
    };
    let store = store::open(storage)?;
    rekey(&store, source, clock).await.map_err(|error| error.of_store(&store))
}

async fn rekey(store: &Store, source: &dyn Source, clock: &impl Clock) -> Result<Rekeyed, Error> {
    let identity = reader::identity(store).await?.ok_or_else(|| Error::NoBackup(store.description.clone()))?;
    if identity.encryption.is_none() {
        return Err(KeysError::NotEncrypted { place: store.description.clone() }.into());
    }
    let provider = source.provider()?;
    let work = Work { store, backup: identity.backup, provider: provider.as_ref(), now: clock.now() };
    let (backoff, mut added) = (Backoff::new(), BTreeSet::new());
    loop {
        match work.pass(&mut added).await {
            Ok(done) => return Ok(work.tell(done, added)),
            Err(error) if may_pass(&error) && backoff.attempts() < ATTEMPTS => {
                tracing::warn!(error = crate::error::chain(&error), "trying again");
                tokio::time::sleep(backoff.next(clock)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn may_pass(error: &KeysError) -> bool {
    error.is_unavailable() || error.store_kind().is_some_and(|kind| kind.is_retryable())
}

/// What a pass found, and who wraps.
struct Pass {
    current: MasterKeyId,
    wraps: Vec<KeyWrap>,
}

struct Work<'a> {
    store: &'a Store,
    backup: BackupId,
    provider: &'a dyn KeyProvider,
    now: TimestampMs,
}

impl Work<'_> {
    /// Wraps what is not yet, and gives all wraps that there are then. What a wrap was created for is noted at once.
    async fn pass(&self, added: &mut BTreeSet<u32>) -> Result<Pass, KeysError> {
        let current = self.provider.current().await?;
        let mut found = keys::read_wraps(self.store).await?;
        if found.wraps.is_empty() {
            return Err(KeysError::NoWraps { place: self.store.description.clone() });
        }
        // All of them, although the first may do: who cannot open the rest learns of it before anything is written. Each wrap that can be:
        // that one names a master key proves nothing, and an earlier one is let go by what is said here.
        let opened = wraps::open_each(self.backup, &found.wraps, self.provider).await?;
        for (number, Opened { key, .. }) in opened.into_iter().filter(|(_, key)| !key.masters.contains(&current)) {
            let wrap = self.add(number, found.next_wrap(number), &key).await?;
            added.insert(number);
            found.wraps.push(wrap);
        }
        let mut wraps = found.wraps;
        wraps.sort_by_key(|wrap| (wrap.number, wrap.wrap));
        Ok(Pass { current, wraps })
    }

    /// Creates the next wrap of a backup key.
    async fn add(&self, number: u32, next: u32, key: &SecretKey) -> Result<KeyWrap, KeysError> {
        let wrapped = self.provider.wrap(key, &wraps::context(self.backup, number)).await?;
        let wrap = KeyWrap::new(self.backup, number, next, wrapped, self.now);
        match wraps::create(self.store, &wrap).await? {
            store::create_once::Outcome::Created => Ok(wrap),
            // Another one was faster: the next pass sees what it has done.
            store::create_once::Outcome::Occupied(_) => {
                Err(wraps::Error::Raced { object: wrap.object().to_string() }.into())
            }
        }
    }

    fn tell(&self, Pass { current, wraps }: Pass, added: BTreeSet<u32>) -> Rekeyed {
        let others: BTreeSet<MasterKeyId> =
            wraps.iter().map(|wrap| wrap.master_key.clone()).filter(|master| *master != current).collect();
        Rekeyed {
            storage: self.store.description.clone(),
            backup: self.backup,
            current,
            added: added.into_iter().collect(),
            backup_keys: keys::backup_keys(&wraps),
            not_needed: others.into_iter().collect(),
        }
    }
}

impl Rekeyed {
    /// As JSON.
    pub fn to_json(&self) -> String {
        // Text keys and finite numbers only, which is all that serde_json asks for.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

impl fmt::Display for Rekeyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { storage, backup, current, added, backup_keys, not_needed } = self;
        writeln!(f, "backup      {backup}, under {storage}")?;
        for key in backup_keys {
            let by = key.openers();
            let what = if added.contains(&key.number) { "wrapped anew" } else { "as it was" };
            writeln!(f, "backup key  {}: {what}, opened by {by}", key.number)?;
        }
        writeln!(f, "needed      {current}: opens all of it")?;
        for master in not_needed {
            writeln!(
                f,
                "not needed  {master}, once no streamer starts with it as its current key; what it has opened before, it still opens"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
