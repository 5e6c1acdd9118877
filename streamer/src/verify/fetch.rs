//! Reading for a verification: what may pass is asked for again, a bounded number of times, before it is believed.
//!
//! Does not own what a failure means for the report. Invariant: "not there" and "not what was written" are answers of the
//! store, given more than once; everything else is [`StoreError`], of which nothing follows for the backup.

use std::time::Duration;

use bytes::Bytes;
use object_store::{ObjectMeta, ObjectStoreExt as _};
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::document;
use strimzi_backup_format::layout::ObjectKey;
use strimzi_backup_format::manifest::Segment;
use strimzi_backup_format::store::{ErrorKind, Store, StoreError, get_checked};

/// Tries of a call that the store does not answer: with the pauses between them a store that restarts is back.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Reads of a document before it counts as damaged or, where it was seen in a listing, as missing.
const READS: u32 = 3;
const PAUSE_BETWEEN_READS: Duration = Duration::from_millis(100);

/// A document as it was read.
#[derive(Debug)]
pub(super) enum Found<T> {
    /// As it was written, with its digest.
    Good(T, Sha256),
    /// Not as it was written, however often it was read.
    Damaged(document::Error),
    /// Not there.
    Missing,
}

/// Calls `attempt` again while the store does not answer.
pub(super) async fn patiently<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match attempt().await {
            // Denied does not pass by waiting a second: someone has to change a permission.
            Err(error) if error.is_retryable() && error.kind() != ErrorKind::Denied => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            answer => return answer,
        }
    }
    attempt().await
}

/// Reads a document and what `decode` makes of it. `listed` says that it must be there.
pub(super) async fn document<T>(
    store: &Store,
    key: &ObjectKey,
    listed: bool,
    decode: impl Fn(&Bytes) -> Result<T, document::Error>,
) -> Result<Found<T>, StoreError> {
    let mut read = 1;
    loop {
        let found = match patiently(|| get(store, key)).await? {
            None => Found::Missing,
            Some(bytes) => match bytes.and_then(|bytes| Ok((decode(&bytes)?, Sha256::of(&bytes)))) {
                Ok((document, digest)) => return Ok(Found::Good(document, digest)),
                Err(error) => Found::Damaged(error),
            },
        };
        let final_answer = match &found {
            Found::Missing => !listed,
            Found::Damaged(document::Error::NewerFormat { .. }) => true,
            _ => false,
        };
        if final_answer || read == READS {
            return Ok(found);
        }
        tokio::time::sleep(PAUSE_BETWEEN_READS * read).await;
        read += 1;
    }
}

/// The bytes of an object that may be a document.
async fn get(store: &Store, key: &ObjectKey) -> Result<Option<Result<Bytes, document::Error>>, StoreError> {
    let path = key.below(&store.prefix);
    let failed = |error| StoreError::new("get", &path, error);
    let Some(found) = store.find(key).await.map_err(failed)? else { return Ok(None) };
    match document::check_size(found.meta.size) {
        Ok(()) => found.bytes().await.map(|bytes| Some(Ok(bytes))).map_err(failed),
        Err(error) => Ok(Some(Err(error))),
    }
}

/// What the store says of an object; `None` where it is not there.
pub(super) async fn head(store: &Store, key: &ObjectKey) -> Result<Option<ObjectMeta>, StoreError> {
    let path = key.below(&store.prefix);
    patiently(|| async {
        match store.inner.head(&path).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(StoreError::new("look at", &path, error)),
        }
    })
    .await
}

/// The bytes of a segment, of the size and the digest that its manifest names. `listed` says that it must be there.
pub(super) async fn segment(store: &Store, segment: &Segment, listed: bool) -> Result<Bytes, StoreError> {
    let path = segment.object.below(&store.prefix);
    let mut read = 1;
    loop {
        let get = || get_checked(store.inner.as_ref(), &path, segment.bytes, segment.sha256);
        match patiently(get).await {
            Err(error) if error.kind() == ErrorKind::NotFound && listed && read < READS => {
                tokio::time::sleep(PAUSE_BETWEEN_READS * read).await;
                read += 1;
            }
            answer => return answer,
        }
    }
}
