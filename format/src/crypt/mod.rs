//! Encryption at rest: which keys there are, what each of them seals, and who can open it.
//!
//! ```text
//! master key, never in the store ──wraps──▶ backup keys: keys/<number>-<wrap>.json
//!      provider                                wraps │
//!                                                    ▼ HKDF-SHA-256 by purpose, with the backup's id as salt
//!                                 keyring   ├─▶ documents: each sealed whole, bound to its key in the store
//!                                           ├─▶ data keys: one for each Parquet file, wrapped in its footer
//!                                           └─▶ names of directories, of backup key 0 alone
//! ```
//! Owns: the keys, their stored forms, and every call of AES-256-GCM, HKDF and HMAC that this project makes itself. Does not own:
//! which objects are sealed ([`crate::store::sealed()`]), the pages of Parquet files ([`crate::segment`]), or a master key that is kept
//! by a service, which is asked by an implementation of [`KeyProvider`] elsewhere.
//!
//! Invariants: a nonce is drawn for each seal, or counted on from one that was drawn for its key; what is sealed is bound to the backup, its
//! purpose, the number of its key and its place; keys are wiped when they are dropped, and no `Debug`, error or log has one.

mod aead;
mod keyring;
#[cfg(test)]
mod printed;
mod provider;
mod secret;
pub mod wraps;

pub(crate) use aead::{Cipher, NONCE_BYTES, SEAL_BYTES, random};
pub(crate) use keyring::{DOCUMENT_MAGIC, DOCUMENT_OVERHEAD};
pub use keyring::{FileOpener, FileSeal, KeyRing};
pub use provider::{FileKeys, KeyError, KeyProvider, Wrapped};
pub use secret::{MasterKeyId, NotAMasterKey, SecretKey};

/// What is said of a seal that does not open.
pub(crate) const UNOPENED: &str = "does not open: it was changed, moved, is of another backup, or was never sealed";

/// What may have become of a backup key that is not known, with the way out.
pub(crate) fn unknown_key(number: u32) -> String {
    format!(
        "the master key was changed since, and who starts anew, with the new one, opens it; or what lay below keys/{number:04}-… was taken \
         away, and has to come back"
    )
}

/// Why something cannot be sealed, or does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not what was sealed for that place.
    #[error("the seal of {object} {UNOPENED}")]
    Unopened {
        /// Its key below the prefix.
        object: String,
    },
    /// No such backup key was read.
    #[error(
        "{object} is sealed by backup key {number}, and the newest one read from keys/ is {newest}: {}", unknown_key(*number)
    )]
    NoKey {
        /// Its key below the prefix.
        object: String,
        /// The number of the backup key.
        number: u32,
        /// The newest one that is known.
        newest: u32,
    },
    /// Nothing is derived without the first backup key.
    #[error("there is no backup key 0 below keys/: either the backup is not encrypted, or its keys were deleted")]
    NoFirst,
    /// Nothing is sealed without.
    #[error("the operating system gives no random bytes")]
    NoRandomness,
    /// A limit of AES-GCM, or no memory.
    #[error("the cryptographic library refuses to {0}")]
    Refused(&'static str),
}
