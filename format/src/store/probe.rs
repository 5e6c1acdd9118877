//! Proves, before a writer's first claim, that the store does what the manifest log rests on.
//!
//! One small object, `probe/create-once` below the prefix, is created where it is missing and never deleted or replaced:
//! that a second create is refused is as provable on an old object as on a new one, two writers may probe at once, no
//! permission to delete is asked for, and a thousand starts leave one object.
//!
//! Steps: create it (or find it) → create it again with another body, which must be refused → read it whole and by range →
//! list it. What it does not prove: durability, and behaviour under a race (the conformance suite does that in tests).

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::create_once::{CreateError, Outcome, create_once};
use super::{ErrorKind, StoreError};
use crate::layout;

/// The two bodies: whichever stands, the other is the one that must be refused.
const BODIES: [&[u8]; 2] = [
    b"strimzi-backup probe 1: this object shows that the store refuses to overwrite\n",
    b"strimzi-backup probe 2: this object shows that the store refuses to overwrite\n",
];
/// Tries of a step whose answer settles nothing, as a 409 that wrote nothing does.
const TRIES: u32 = 3;
const RANGE: std::ops::Range<u64> = 5..21;

/// Why the store may not be used, or could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It overwrote an object that it was told to create only if absent: two writers would destroy each other's log.
    #[error(
        "the store ignores conditional writes (If-None-Match: *): it overwrote {object}; use a store or version that \
         honours them (docs/providers.md lists those proven), and look for a proxy that strips the header"
    )]
    IgnoresCreate {
        /// The object that was overwritten.
        object: Path,
    },
    /// It says itself that it cannot create only if absent.
    #[error("the store does not support conditional writes (If-None-Match: *), tried on {object}")]
    Unsupported {
        /// The object.
        object: Path,
        /// What the store answered.
        source: object_store::Error,
    },
    /// A permission is missing.
    #[error("the credentials are not valid, or lack the permission to {permission}, tried on {object}")]
    Denied {
        /// What is not allowed, with its name at the providers.
        permission: &'static str,
        /// The object.
        object: Path,
        /// What the store answered.
        source: object_store::Error,
    },
    /// What stands under the probe's name is not a probe's.
    #[error("{object} is not what a probe wrote: another program uses this prefix; choose another, or remove it")]
    Foreign {
        /// The object.
        object: Path,
    },
    /// What was read is not what stands there.
    #[error("the store answered a read of {object} with other bytes than it holds ({what})")]
    WrongBytes {
        /// The object.
        object: Path,
        /// Which read.
        what: &'static str,
    },
    /// It could not be judged now.
    #[error("the store could not be probed")]
    Unavailable(#[source] StoreError),
}

impl ProbeError {
    /// Whether probing again may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(error) => error.is_retryable(),
            // Permissions are granted, and keys replaced, while a process waits.
            Self::Denied { .. } => true,
            Self::WrongBytes { .. } => true,
            Self::IgnoresCreate { .. } | Self::Unsupported { .. } | Self::Foreign { .. } => false,
        }
    }
}

const READ: &str = "read objects (s3:GetObject, Storage Blob Data Contributor, storage.objects.get)";
const WRITE: &str = "write objects (s3:PutObject, Storage Blob Data Contributor, storage.objects.create)";
const LIST: &str = "list objects (s3:ListBucket, Storage Blob Data Contributor, storage.objects.list)";

/// Probes the store below `prefix`. Writers do so once, before they claim; readers need not.
///
/// # Errors
/// [`ProbeError`]; what is not retryable needs a person.
pub async fn probe(store: &dyn ObjectStore, prefix: &Path) -> Result<(), ProbeError> {
    let object = layout::probe().below(prefix);
    let folder = Path::from_iter(prefix.parts().chain(Path::from("probe").parts()));
    let standing = first_create(store, &object).await?;
    let other = BODIES.into_iter().find(|body| *body != standing).unwrap_or(BODIES[1]);
    second_create(store, &object, other).await?;
    read_back(store, &object, standing, other).await?;
    list(store, &folder).await
}

/// Has the object there, and says which of the bodies it has.
async fn first_create(store: &dyn ObjectStore, object: &Path) -> Result<&'static [u8], ProbeError> {
    let mut tries = 1;
    loop {
        match create_once(store, object, &Bytes::from_static(BODIES[0])).await {
            Ok(Outcome::Created) => return Ok(BODIES[0]),
            Ok(Outcome::Occupied(found)) => {
                let known = BODIES.into_iter().find(|body| found == *body);
                return known.ok_or_else(|| ProbeError::Foreign { object: object.clone() });
            }
            Err(error) if tries < TRIES && error.kind() == ErrorKind::Unavailable => tries += 1,
            Err(CreateError::NotWritten { source, .. }) => {
                return Err(failed("put", WRITE, object, source, true));
            }
            Err(CreateError::Unknown { source, .. }) => {
                return Err(failed("get", READ, object, source, false));
            }
        }
    }
}

/// Sends a create that must be refused. Whether it was, reading back tells beyond doubt; the answer only settles a "yes".
async fn second_create(store: &dyn ObjectStore, object: &Path, other: &'static [u8]) -> Result<(), ProbeError> {
    let mut tries = 1;
    loop {
        let payload = PutPayload::from_static(other);
        let error = match store.put_opts(object, payload, PutOptions::from(PutMode::Create)).await {
            Ok(_) => {
                return Err(ProbeError::IgnoresCreate { object: object.clone() });
            }
            Err(error) => error,
        };
        match ErrorKind::of_write(&error) {
            ErrorKind::Precondition => return Ok(()),
            ErrorKind::Unavailable if tries < TRIES => tries += 1,
            _ => return Err(failed("put", WRITE, object, error, true)),
        }
    }
}

async fn read_back(
    store: &dyn ObjectStore,
    object: &Path,
    standing: &'static [u8],
    other: &'static [u8],
) -> Result<(), ProbeError> {
    let failed = |error| failed("get", READ, object, error, false);
    let wrong = |what| Err(ProbeError::WrongBytes { object: object.clone(), what });
    let whole = store.get(object).await.map_err(failed)?.bytes().await.map_err(failed)?;
    if whole == other {
        return Err(ProbeError::IgnoresCreate { object: object.clone() });
    }
    if whole != standing {
        return wrong("the whole object");
    }
    let part = store.get_range(object, RANGE).await.map_err(failed)?;
    let expected = usize::try_from(RANGE.start)
        .ok()
        .zip(usize::try_from(RANGE.end).ok())
        .and_then(|(start, next)| standing.get(start..next));
    if Some(part.as_ref()) != expected {
        return wrong("a range of it");
    }
    Ok(())
}

/// Whether listing is allowed. What it shows decides nothing: a store's listing may lag.
async fn list(store: &dyn ObjectStore, folder: &Path) -> Result<(), ProbeError> {
    let first = store.list(Some(folder)).try_next().await;
    first.map(drop).map_err(|error| failed("list", LIST, folder, error, false))
}

fn failed(
    action: &'static str,
    permission: &'static str,
    object: &Path,
    source: object_store::Error,
    writing: bool,
) -> ProbeError {
    let object = object.clone();
    match ErrorKind::of(&source) {
        ErrorKind::Denied => ProbeError::Denied { permission, object, source },
        ErrorKind::Refused => ProbeError::Unsupported { object, source },
        _ if writing => ProbeError::Unavailable(StoreError::writing(action, &object, source)),
        _ => ProbeError::Unavailable(StoreError::new(action, &object, source)),
    }
}
