//! Why a backup is not opened, and with which exit code.

use strimzi_backup_format::crypt::wraps::{self, UnlockError};
use strimzi_backup_format::crypt::{self, KeyError};
use strimzi_backup_format::store::ErrorKind;

use crate::error::{Error, exit};

/// Why keys cannot be had, or must not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The backup is encrypted, and the document names no key.
    #[error(
        "the backup under {place} is encrypted, and no key was given: it takes {masters}; name where that is in backup.encryption of the \
         job document, or in encryption of a restore document"
    )]
    NoKey {
        /// The place.
        place: String,
        /// The master keys that open it, for people.
        masters: String,
    },
    /// The document names a key, and the backup is in the clear.
    #[error("the backup under {place} is not encrypted; take another prefix, or leave backup.encryption out")]
    NotEncrypted {
        /// The place.
        place: String,
    },
    /// Its wrapped keys are gone.
    #[error(
        "the backup under {place} is encrypted, and there is no wrapped key below keys/: nothing of it can be read without; bring these \
         objects back as they were"
    )]
    NoWraps {
        /// The place.
        place: String,
    },
    /// A master key cannot be used.
    #[error(transparent)]
    Master(#[from] KeyError),
    /// The wrapped keys cannot be read, opened or made.
    #[error(transparent)]
    Wraps(#[from] wraps::Error),
    /// Something does not open, or cannot be sealed.
    #[error(transparent)]
    Crypt(#[from] crypt::Error),
}

impl From<UnlockError> for KeysError {
    fn from(error: UnlockError) -> Self {
        Self::Wraps(error.into())
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Self::Keys(error.into())
    }
}

impl From<wraps::Error> for Error {
    fn from(error: wraps::Error) -> Self {
        Self::Keys(error.into())
    }
}

impl KeysError {
    /// Whether who has the master key does not answer: waiting is right, for as long as it takes.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Master(error) | Self::Wraps(wraps::Error::Make(error)) => error.is_retryable(),
            Self::Wraps(wraps::Error::Unlock(error)) => error.is_retryable(),
            _ => false,
        }
    }

    /// What a store has answered, where it is that which failed.
    pub fn store_kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Wraps(wraps::Error::Store { source, .. }) => Some(ErrorKind::of(source)),
            Self::Wraps(wraps::Error::NotYet { source, .. }) => Some(source.kind()),
            // It takes until the listing shows what is there.
            Self::Wraps(wraps::Error::Raced { .. }) => Some(ErrorKind::Incomplete),
            _ => None,
        }
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoKey { .. } | Self::NotEncrypted { .. } => exit::USAGE,
            Self::NoWraps { .. } => exit::DAMAGED,
            Self::Master(error) | Self::Wraps(wraps::Error::Make(error)) => of_master(error),
            Self::Wraps(wraps::Error::Unlock(UnlockError::Locked(locked))) => {
                let tried = locked.iter().filter_map(|key| key.tried.as_ref());
                tried.map(of_master).max().unwrap_or(exit::USAGE)
            }
            Self::Wraps(error) if error.is_damage() => exit::DAMAGED,
            Self::Crypt(crypt::Error::Unopened { .. }) => exit::DAMAGED,
            Self::Wraps(_) | Self::Crypt(_) => exit::FAILED,
        }
    }
}

/// A right can be granted, and a service come back, without anything changed here. A key that is not there, or is none, is the
/// document's fault.
fn of_master(error: &KeyError) -> u8 {
    match error {
        KeyError::Unavailable { .. } | KeyError::Denied { .. } | KeyError::Crypt(_) => exit::FAILED,
        KeyError::Gone { .. } | KeyError::BadKey { .. } | KeyError::Unread { .. } => exit::USAGE,
        KeyError::Wrong { .. } => exit::DAMAGED,
    }
}
