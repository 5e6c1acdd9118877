//! Opening backup keys by their wraps, and which wrap counts.
//!
//! Owns: that the first wrap of a number says which key it is, and that others say nothing where they differ without it. Does not own:
//! reading wraps ([`super::read`]).

use std::collections::BTreeMap;
use std::fmt;

use super::{FIRST_WRAP, KeyWrap, context};
use crate::crypt::{self, KeyError, KeyProvider, KeyRing, MasterKeyId, SecretKey};
use crate::ids::BackupId;
use crate::layout::ObjectKey;

/// Why backup keys do not open.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// A wrap of another backup stands among them.
    #[error("{object} is of backup {found}, and this is {wanted}: somebody put it there")]
    Foreign {
        /// The object.
        object: ObjectKey,
        /// The backup it names.
        found: BackupId,
        /// The backup whose keys were to be opened.
        wanted: BackupId,
    },
    /// Two wraps of a backup key are of different keys, and its first wrap does not say which is right.
    #[error(
        "{object} and {other} open to different keys, and each is said to be backup key {number}: one of them was put there by somebody \
         else; take away the one that does not open what backup key {number} sealed"
    )]
    Differs {
        /// The number of the key.
        number: u32,
        /// The object of one of them.
        object: ObjectKey,
        /// The object of another one.
        other: ObjectKey,
    },
    /// Who has a master key does not answer.
    #[error(transparent)]
    Unavailable(KeyError),
    /// No master key at hand opens them.
    #[error("no master key at hand opens {}; give the one that is named, as the current one or as an earlier one", list(.0))]
    Locked(Vec<Locked>),
    /// They open, and no key can be derived.
    #[error(transparent)]
    Crypt(#[from] crypt::Error),
}

impl UnlockError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// A backup key that does not open.
#[derive(Debug)]
pub struct Locked {
    /// Its number.
    pub number: u32,
    /// The master keys that wrapped it: any of these would do.
    pub masters: Vec<MasterKeyId>,
    /// Why the last one that was tried does not; `None` where none of them is at hand.
    pub tried: Option<KeyError>,
}

impl fmt::Display for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masters: Vec<&str> = self.masters.iter().map(MasterKeyId::as_str).collect();
        write!(f, "backup key {}, which {} opens", self.number, masters.join(" or "))?;
        self.tried.as_ref().map_or(Ok(()), |tried| write!(f, " ({tried})"))
    }
}

fn list(locked: &[Locked]) -> String {
    locked.iter().map(Locked::to_string).collect::<Vec<_>>().join(", nor ")
}

/// Opens every backup key of `wraps` with the master keys that `provider` knows: by its first wrap where that opens, else by all others,
/// which must be of one key.
///
/// # Errors
/// [`UnlockError::Locked`] names every key that does not open, and who would open it; [`UnlockError::Differs`] two wraps of different
/// keys; all others as they say.
pub async fn unlock(backup: BackupId, wraps: &[KeyWrap], provider: &dyn KeyProvider) -> Result<KeyRing, UnlockError> {
    Ok(KeyRing::new(backup, open_keys(backup, wraps, provider).await?)?)
}

/// The backup keys of [`unlock`] by number.
///
/// # Errors
/// As [`unlock`].
pub(super) async fn open_keys(
    backup: BackupId,
    wraps: &[KeyWrap],
    provider: &dyn KeyProvider,
) -> Result<BTreeMap<u32, SecretKey>, UnlockError> {
    let opened = open(backup, wraps, provider, Depth::First).await?;
    Ok(opened.into_iter().map(|(number, opened)| (number, opened.key)).collect())
}

/// A backup key, and who opens it.
#[derive(Debug)]
pub struct Opened {
    /// It.
    pub key: SecretKey,
    /// The master keys by which it was opened.
    pub masters: Vec<MasterKeyId>,
}

/// The backup keys of `wraps` by number, each opened by every wrap that can be: for who wraps them anew, and lets none pass that somebody
/// brought in.
///
/// # Errors
/// As [`unlock`]; [`UnlockError::Differs`] wherever two wraps are of different keys, the first of them or not.
pub async fn open_each(
    backup: BackupId,
    wraps: &[KeyWrap],
    provider: &dyn KeyProvider,
) -> Result<BTreeMap<u32, Opened>, UnlockError> {
    open(backup, wraps, provider, Depth::All).await
}

/// How many wraps of a backup key are opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// The first, and the others only where that does not open.
    First,
    /// All that can be.
    All,
}

async fn open(
    backup: BackupId,
    wraps: &[KeyWrap],
    provider: &dyn KeyProvider,
    depth: Depth,
) -> Result<BTreeMap<u32, Opened>, UnlockError> {
    let mut by_number: BTreeMap<u32, Vec<&KeyWrap>> = BTreeMap::new();
    for wrap in wraps {
        if wrap.backup != backup {
            return Err(UnlockError::Foreign { object: wrap.object(), found: wrap.backup, wanted: backup });
        }
        by_number.entry(wrap.number).or_default().push(wrap);
    }
    let (mut keys, mut locked) = (BTreeMap::new(), Vec::new());
    for (number, mut of_key) in by_number {
        of_key.sort_by_key(|wrap| wrap.wrap);
        match open_key(&of_key, provider, depth).await? {
            Ok(opened) => drop(keys.insert(number, opened)),
            Err(tried) => {
                let masters = of_key.iter().map(|wrap| wrap.master_key.clone()).collect();
                locked.push(Locked { number, masters, tried });
            }
        }
    }
    if locked.is_empty() { Ok(keys) } else { Err(UnlockError::Locked(locked)) }
}

/// Opens one backup key by its wraps, in their order; else why the last one that was tried does not open.
async fn open_key(
    wraps: &[&KeyWrap],
    provider: &dyn KeyProvider,
    depth: Depth,
) -> Result<Result<Opened, Option<KeyError>>, UnlockError> {
    let (mut opened, mut tried) = (Vec::new(), None);
    for wrap in wraps.iter().copied().filter(|wrap| provider.knows(&wrap.master_key)) {
        match provider.unwrap(&wrap.wrapped(), &context(wrap.backup, wrap.number)).await {
            Ok(key) => opened.push((wrap, key)),
            Err(error) if error.is_retryable() => return Err(UnlockError::Unavailable(error)),
            Err(error) => tried = Some(error),
        }
        let by_first = opened.first().is_some_and(|(wrap, _)| wrap.wrap == FIRST_WRAP);
        if by_first && depth == Depth::First {
            break;
        }
    }
    Ok(agreed(&opened)?.ok_or(tried))
}

/// The one key that all of these wraps opened to; `None` where there is none of them.
fn agreed(opened: &[(&KeyWrap, SecretKey)]) -> Result<Option<Opened>, UnlockError> {
    let Some((first, key)) = opened.first() else { return Ok(None) };
    if let Some((other, _)) = opened.iter().find(|(_, other)| other.as_bytes() != key.as_bytes()) {
        let (object, other) = (first.object(), other.object());
        return Err(UnlockError::Differs { number: first.number, object, other });
    }
    let masters = opened.iter().map(|(wrap, _)| wrap.master_key.clone()).collect();
    Ok(Some(Opened { key: key.clone(), masters }))
}
