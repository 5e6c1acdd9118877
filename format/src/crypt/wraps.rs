//! Backup keys as they are stored: `keys/<number>-<wrap>.json`, each a backup key that a master key wrapped.
//!
//! ```text
//! keys/0000-0000.json   backup key 0, wrapped by the first master key
//! keys/0000-0001.json   the same key, wrapped by another: `rekey`
//! keys/0001-0000.json   backup key 1: made by the first writer under the new master key; it seals from then on
//! ```
//! Owns: these documents, opening the keys in them (`opening`), and making the next one. Does not own when that is done, or the loop around
//! a store or a service that fails. Nothing has to agree with the log: a reader takes whatever wraps its master keys open.
//!
//! Invariants: numbers begin at 0 and have no hole; a backup key is made only by who can open all that there are; what seals was
//! opened again by its own wrap, as it is stored, before. Which key a number is, its first wrap says, with which it was made: who has an
//! earlier master key can wrap a key of his own, and is to hide none by it. Where the first does not open, all others that do must be of
//! one key.

mod opening;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore as _;
use serde::{Deserialize, Serialize};

use self::opening::open_keys;
pub use self::opening::{Locked, Opened, UnlockError, open_each, unlock};
use super::keyring::{KeyRing, bound};
use super::{KeyError, KeyProvider, MasterKeyId, SecretKey, Wrapped};
use crate::document::{self, Document, FORMAT_VERSION, Kind};
use crate::ids::{BackupId, TimestampMs};
use crate::layout::{self, ObjectKey};
use crate::store::Store;
use crate::store::create_once::{CreateError, Outcome, create_once};

/// Documents read at once.
const AT_ONCE: usize = 16;

/// How often a document that seems damaged is read before it counts as damaged: what flipped in transit does not come three times.
const READS: u32 = 3;

/// The most bytes of a wrap, which has some hundred: who starts reads all of them, before anything is known to be true.
const MOST_BYTES: u64 = 64 << 10;

/// How often the next key is made while others make it as well.
const TRIES: u32 = 4;

/// The wrap that a backup key is made with.
const FIRST_WRAP: u32 = 0;

/// A backup key, wrapped by a master key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyWrap {
    /// Always 1 today.
    pub format_version: u32,
    /// Always `keyWrap`.
    pub kind: Kind,
    /// The backup whose key it is.
    pub backup: BackupId,
    /// Which of its keys, counted from 0.
    pub number: u32,
    /// Which wrap of that key, counted from 0.
    pub wrap: u32,
    /// The master key that wrapped it.
    pub master_key: MasterKeyId,
    /// What came of it.
    pub wrapped: String,
    /// When it was made.
    pub created_at: TimestampMs,
}

impl Document for KeyWrap {
    const KIND: Kind = Kind::KeyWrap;
}

impl KeyWrap {
    /// The document of a wrapped key, with its place among those of the backup.
    pub fn new(backup: BackupId, number: u32, wrap: u32, wrapped: Wrapped, created_at: TimestampMs) -> Self {
        let (format_version, kind) = (FORMAT_VERSION, Kind::KeyWrap);
        let Wrapped { master: master_key, text: wrapped } = wrapped;
        Self { format_version, kind, backup, number, wrap, master_key, wrapped, created_at }
    }

    /// What a provider unwraps.
    pub fn wrapped(&self) -> Wrapped {
        Wrapped { master: self.master_key.clone(), text: self.wrapped.clone() }
    }

    /// Where it stands.
    pub fn object(&self) -> ObjectKey {
        layout::key_wrap(self.number, self.wrap)
    }
}

/// The wraps below `keys/`.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that are whole, by number and wrap: one at least of each backup key.
    pub wraps: Vec<KeyWrap>,
    /// Those that are damaged. Another wrap of the same backup key is whole, and is the same key: they are not needed.
    pub ignored: Vec<Ignored>,
}

/// A wrap that is damaged.
#[derive(Debug)]
pub struct Ignored {
    /// Which of the backup keys it is said to be of, counted from 0.
    pub number: u32,
    /// Which wrap of that key, counted from 0.
    pub wrap: u32,
    /// What is wrong with it.
    pub why: document::Error,
}

impl Ignored {
    /// Where it stands.
    pub fn object(&self) -> ObjectKey {
        layout::key_wrap(self.number, self.wrap)
    }
}

impl Found {
    /// The place of the next wrap of a backup key, behind all that there are, damaged or not.
    pub fn next_wrap(&self, number: u32) -> u32 {
        let whole = self.wraps.iter().map(|wrap| (wrap.number, wrap.wrap));
        let taken = whole.chain(self.ignored.iter().map(|ignored| (ignored.number, ignored.wrap)));
        let of_key = taken.filter(|(of, _)| *of == number);
        of_key.map(|(_, wrap)| wrap.saturating_add(1)).max().unwrap_or(FIRST_WRAP)
    }

    /// These, where every backup key has a wrap that is whole.
    fn checked(mut self) -> Result<Self, Error> {
        let is_lost = |ignored: &Ignored| self.wraps.iter().all(|wrap| wrap.number != ignored.number);
        if let Some(place) = self.ignored.iter().position(is_lost) {
            let lost = self.ignored.swap_remove(place);
            return Err(Error::Document { object: lost.object().to_string(), source: lost.why });
        }
        let mut numbers: Vec<u32> = self.wraps.iter().map(|wrap| wrap.number).collect();
        numbers.dedup();
        match (0_u32..).zip(numbers).find(|(wanted, found)| wanted != found) {
            Some((number, later)) => {
                Err(Error::Missing { number, witness: format!("{}/{later:04}-…", layout::key_wraps()) })
            }
            None => Ok(self),
        }
    }
}

/// What the wraps of a backup key are bound to: its backup and its number.
pub fn context(backup: BackupId, number: u32) -> Vec<u8> {
    bound("strimzi-backup backup key", backup, Some(number), "")
}

/// Why the backup keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not give the object; trying again may help.
    #[error("read {object}")]
    Store {
        /// The object, or the folder that was to be listed.
        object: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// The object is not what was written, or a newer release wrote it; no other wrap of its backup key is whole.
    #[error("{object} {}", .source.verdict())]
    Document {
        /// The object.
        object: String,
        /// What is wrong with it.
        source: document::Error,
    },
    /// All wraps of a backup key are gone: what it sealed is lost.
    #[error("backup key {number} is missing below keys/, and {witness} proves that it existed; bring its object back")]
    Missing {
        /// The number of the key.
        number: u32,
        /// An object of a later one.
        witness: String,
    },
    /// Not created yet, or not known: call again.
    #[error("create {object}")]
    NotYet {
        /// The object.
        object: String,
        /// What the store said.
        source: CreateError,
    },
    /// Others created it each time, and the listing does not show theirs: call again.
    #[error("{object} was created by others, and is not listed yet")]
    Raced {
        /// The object.
        object: String,
    },
    /// The keys that there are do not open.
    #[error(transparent)]
    Unlock(#[from] UnlockError),
    /// No key can be made, or wrapped.
    #[error("make a backup key")]
    Make(#[source] KeyError),
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store { .. } | Self::Raced { .. } => true,
            Self::NotYet { source, .. } => source.is_retryable(),
            Self::Unlock(error) => error.is_retryable(),
            Self::Make(error) => error.is_retryable(),
            Self::Document { .. } | Self::Missing { .. } => false,
        }
    }

    /// Whether what lies there is not what was written.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Document { .. } | Self::Missing { .. } => true,
            Self::Unlock(error) => matches!(error, UnlockError::Foreign { .. } | UnlockError::Differs { .. }),
            _ => false,
        }
    }
}

/// All wraps below `keys/`. Objects of other names are passed over; one that says another place than its name is damaged.
///
/// # Errors
/// [`Error::Store`]; [`Error::Document`] where all wraps of a backup key are damaged, or a newer release wrote one;
/// [`Error::Missing`].
pub async fn read(store: &Store) -> Result<Found, Error> {
    let folder = layout::key_wraps();
    let failed = |source| Error::Store { object: folder.to_string(), source };
    let found: Vec<_> = store.inner.list(Some(&folder.below(&store.prefix))).try_collect().await.map_err(failed)?;
    let key = |meta: &object_store::ObjectMeta| layout::key_wrap_number(layout::key_at(&meta.location, &store.prefix)?);
    let mut places: Vec<(u32, u32)> = found.iter().filter_map(key).collect();
    places.sort_unstable();
    let mut loading = futures::stream::iter(places).map(|(number, wrap)| judge(store, number, wrap)).buffered(AT_ONCE);
    let mut found = Found::default();
    while let Some(judged) = loading.try_next().await? {
        match judged {
            Ok(wrap) => found.wraps.push(wrap),
            Err(ignored) => found.ignored.push(ignored),
        }
    }
    found.checked()
}

/// One wrap, or what is wrong with it. One of a newer release is an error: it may say what this one must know.
async fn judge(store: &Store, number: u32, wrap: u32) -> Result<Result<KeyWrap, Ignored>, Error> {
    match load(store, number, wrap).await {
        Err(Error::Document { source: why @ document::Error::Damaged(_), .. }) => {
            Ok(Err(Ignored { number, wrap, why }))
        }
        loaded => loaded.map(Ok),
    }
}

/// Reads one wrap. What seems damaged, or was listed and is not there, is read again before that is believed.
async fn load(store: &Store, number: u32, wrap: u32) -> Result<KeyWrap, Error> {
    let mut read = 1;
    loop {
        match load_once(store, number, wrap).await {
            Err(Error::Document { .. }) if read < READS => read += 1,
            done => return done,
        }
    }
}

async fn load_once(store: &Store, number: u32, wrap: u32) -> Result<KeyWrap, Error> {
    let key = layout::key_wrap(number, wrap);
    let object = || key.to_string();
    let failed = |source| Error::Store { object: object(), source };
    let damaged = |source| Error::Document { object: object(), source };
    let gone = || document::Error::Damaged("it was listed, and is gone".to_owned());
    let found = store.find(&key).await.map_err(failed)?.ok_or_else(|| damaged(gone()))?;
    if found.meta.size > MOST_BYTES {
        let why = format!("it has {} bytes, and no wrapped key has more than {MOST_BYTES}", found.meta.size);
        return Err(damaged(document::Error::Damaged(why)));
    }
    let bytes = found.bytes().await.map_err(failed)?;
    decode(&bytes, number, wrap).map_err(damaged)
}

fn decode(stored: &[u8], number: u32, wrap: u32) -> Result<KeyWrap, document::Error> {
    let read: KeyWrap = document::unseal(stored)?;
    if (read.number, read.wrap) != (number, wrap) {
        let why = format!("it says that it is wrap {} of backup key {}", read.wrap, read.number);
        return Err(document::Error::Damaged(why));
    }
    Ok(read)
}

/// One attempt to create the object of a wrap. Calling again with the same one finds out what became of a call that failed.
///
/// # Errors
/// [`Error::NotYet`].
pub async fn create(store: &Store, wrap: &KeyWrap) -> Result<Outcome, Error> {
    let key = wrap.object();
    let object = || key.to_string();
    let bytes = document::seal(wrap).map_err(|source| Error::Document { object: object(), source })?;
    let created = create_once(store.inner.as_ref(), &key.below(&store.prefix), &bytes).await;
    created.map_err(|source| Error::NotYet { object: object(), source })
}

/// The keys for who writes: those that there are, of which the newest was made for the current master key. Where it was not, the next one
/// is made: the first of a new backup, or, under a new master key, one that who has the old one cannot open. The newest is opened by the
/// wrap that it was made with and by no other, also where that one does not open: what was brought in beside it is not to seal.
///
/// Not cancel safe in one way only: a dropped call may have made a key; the next one finds it.
///
/// # Errors
/// [`Error`]; nothing was written where keys that there are do not open.
pub async fn found_or_rotate(
    store: &Store,
    backup: BackupId,
    provider: &dyn KeyProvider,
    now: TimestampMs,
) -> Result<KeyRing, Error> {
    let mut tries = 1;
    loop {
        let mut wraps = read(store).await?.wraps;
        let current = provider.current().await.map_err(Error::Make)?;
        let newest = wraps.last().map(|wrap| wrap.number);
        // Its first wrap is by the master key that it was made for; later ones only let others read.
        let is_current =
            |wrap: &KeyWrap| Some(wrap.number) == newest && wrap.wrap == FIRST_WRAP && wrap.master_key == current;
        if wraps.iter().any(is_current) {
            return Ok(unlock(backup, &by_first_wrap(wraps), provider).await?);
        }
        let number = newest.map_or(0, |newest| newest.saturating_add(1));
        // Who cannot read what there is writes nothing to it.
        open_keys(backup, &wraps, provider).await?;
        let key = SecretKey::generate().map_err(|error| Error::Make(error.into()))?;
        let wrapped = provider.wrap(&key, &context(backup, number)).await.map_err(Error::Make)?;
        let wrap = KeyWrap::new(backup, number, FIRST_WRAP, wrapped, now);
        match create(store, &wrap).await? {
            Outcome::Created => {
                // Listed already or not, it is there. What it opens seals, and not the key that was drawn.
                wraps.push(wrap);
                return Ok(unlock(backup, &by_first_wrap(wraps), provider).await?);
            }
            Outcome::Occupied(_) if tries < TRIES => tries += 1,
            Outcome::Occupied(_) => return Err(Error::Raced { object: wrap.object().to_string() }),
        }
    }
}

/// These wraps, of the newest backup key none but the first.
fn by_first_wrap(mut wraps: Vec<KeyWrap>) -> Vec<KeyWrap> {
    let newest = wraps.iter().map(|wrap| wrap.number).max();
    wraps.retain(|wrap| Some(wrap.number) != newest || wrap.wrap == FIRST_WRAP);
    wraps
}

#[cfg(test)]
mod tests;
