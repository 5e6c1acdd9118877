//! What a store's failure means for the caller.

use std::error::Error;
use std::fmt;
use std::io;

use object_store::path::Path;

/// What the caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The object is not there.
    NotFound,
    /// The bucket, container or root directory is not there: stop and tell; it is never created silently.
    NoBucket,
    /// The credentials do not allow it. They may be replaced while the process runs, so trying again is right.
    Denied,
    /// The condition of the request did not hold.
    Precondition,
    /// No room: quota or disk. Trying again is right once someone made room.
    Full,
    /// The bytes are not the expected ones, after repeated reading.
    Corrupt,
    /// An upload was answered with success, and the object is not there or has another size: upload it again.
    Incomplete,
    /// The store cannot do this at all, or the request was malformed.
    Refused,
    /// Transport, time-out, busy: the outcome is unknown, trying again is right.
    Unavailable,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "it is not there",
            Self::NoBucket => "the bucket or root is not there",
            Self::Denied => "the credentials do not allow it",
            Self::Precondition => "the condition does not hold",
            Self::Full => "the store has no room",
            Self::Corrupt => "the bytes are not the expected ones",
            Self::Incomplete => "the store said done, but the object is not whole there",
            Self::Refused => "the store does not support it",
            Self::Unavailable => "the store did not answer as it should",
        })
    }
}

/// A call to the store that failed: what was being done, to which object, and what kind of failure it is.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {object}: {kind}")]
pub struct StoreError {
    action: &'static str,
    object: Path,
    kind: ErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// Judges a reading, listing or deleting call's error.
    pub fn new(action: &'static str, object: &Path, source: object_store::Error) -> Self {
        Self { action, object: object.clone(), kind: ErrorKind::of(&source), source: Some(Box::new(source)) }
    }

    /// Judges a writing call's error: nothing but the bucket can be missing there.
    pub fn writing(action: &'static str, object: &Path, source: object_store::Error) -> Self {
        Self { action, object: object.clone(), kind: ErrorKind::of_write(&source), source: Some(Box::new(source)) }
    }

    /// A failure that no call answered with.
    pub(super) fn found(action: &'static str, object: &Path, kind: ErrorKind, detail: Option<Mismatch>) -> Self {
        Self { action, object: object.clone(), kind, source: detail.map(|detail| Box::new(detail) as _) }
    }

    /// What the caller does next.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.kind.is_retryable()
    }
}

/// What was expected of an object, and what came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub(crate) struct Mismatch {
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl ErrorKind {
    /// Whether the same call may succeed later without a change to this process.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Full | Self::Denied | Self::Incomplete)
    }

    /// The kind of a reading, listing or deleting call's error.
    pub fn of(error: &object_store::Error) -> Self {
        use object_store::Error as E;
        match error {
            E::NotFound { .. } => Self::NotFound,
            E::AlreadyExists { .. } | E::Precondition { .. } | E::NotModified { .. } => Self::Precondition,
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => Self::Denied,
            E::NotSupported { .. } | E::NotImplemented { .. } | E::InvalidPath { .. } => Self::Refused,
            E::UnknownConfigurationKey { .. } => Self::Refused,
            _ => io_kind(error),
        }
    }

    /// The kind of a writing call's error.
    pub fn of_write(error: &object_store::Error) -> Self {
        match Self::of(error) {
            Self::NotFound => Self::NoBucket,
            kind => kind,
        }
    }
}

/// A local file system's error is generic in `object_store`; the operating system's own is in its chain.
fn io_kind(error: &(dyn Error + 'static)) -> ErrorKind {
    let mut cause = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => return ErrorKind::Full,
            Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                return ErrorKind::Denied;
            }
            _ => cause = error.source(),
        }
    }
    ErrorKind::Unavailable
}
