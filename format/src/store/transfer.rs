//! Objects under names nobody else uses: put whole and confirmed, got with size and digest checked.
//!
//! Does not own the retry loops of an outage: an upload is one try, a get a few, and each names what failed.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{FuturesUnordered, TryStreamExt as _};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};

use super::error::Mismatch;
use super::{ErrorKind, StoreError};
use crate::checksum::Sha256;

/// The size of a part, and up to which an object is put in one request: at the 60 s a request may take, 140 kB/s suffice.
pub const PART_BYTES: usize = 8 << 20;
/// S3 refuses an upload whose parts, other than the last, are smaller.
pub(super) const SMALLEST_PART_BYTES: usize = 5 << 20;
const _: () = assert!(PART_BYTES >= SMALLEST_PART_BYTES, "every real store takes parts of this size");
/// Parts of one object under way at once. Callers upload several objects at once; this only hides latency.
const PARTS_IN_FLIGHT: usize = 4;
/// Reads of one object before its bytes count as corrupt: a flipped bit in transit does not come three times.
const READS: u32 = 3;
const PAUSE_BETWEEN_READS: Duration = Duration::from_millis(100);

/// Puts an object under a name that only this writer uses, and confirms by its size that it stands there whole. What is
/// larger than `part_bytes` goes in parts of that size.
///
/// Trying again with the same bytes is safe. Cancelled, it may leave an unfinished multipart upload, which a lifecycle
/// rule of the bucket removes (docs/providers.md).
///
/// # Errors
/// [`StoreError`]; [`ErrorKind::Incomplete`] where the store said done and the object is missing or has another size.
pub async fn upload(
    store: &dyn ObjectStore,
    key: &Path,
    body: Vec<Bytes>,
    part_bytes: usize,
) -> Result<(), StoreError> {
    let size: usize = body.iter().map(Bytes::len).sum();
    if size <= part_bytes {
        let payload = PutPayload::from_iter(body);
        store.put(key, payload).await.map_err(|error| StoreError::writing("put", key, error))?;
    } else {
        upload_parts(store, key, parts(body, part_bytes)).await?;
    }
    confirm(store, key, size as u64).await
}

async fn upload_parts(store: &dyn ObjectStore, key: &Path, parts: Vec<PutPayload>) -> Result<(), StoreError> {
    let failed = |error| StoreError::writing("put", key, error);
    let mut upload = store.put_multipart(key).await.map_err(failed)?;
    let outcome = match put_parts(upload.as_mut(), parts).await {
        Ok(()) => upload.complete().await.map(|_| ()),
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        // Its own failure changes nothing: what is left over is unnamed parts, which the lifecycle rule removes.
        let _aborted = upload.abort().await;
    }
    outcome.map_err(failed)
}

async fn put_parts(upload: &mut dyn MultipartUpload, parts: Vec<PutPayload>) -> object_store::Result<()> {
    let mut in_flight = FuturesUnordered::new();
    for part in parts {
        if in_flight.len() == PARTS_IN_FLIGHT {
            in_flight.try_next().await?;
        }
        in_flight.push(upload.put_part(part));
    }
    in_flight.try_collect().await
}

/// Cuts the body into parts of that size, the last one shorter, without copying. All but the last must be equal for some
/// stores.
fn parts(body: Vec<Bytes>, part_bytes: usize) -> Vec<PutPayload> {
    let mut parts = Vec::new();
    let mut part: Vec<Bytes> = Vec::new();
    let mut room = part_bytes;
    for mut piece in body {
        while !piece.is_empty() {
            let taken = piece.split_to(piece.len().min(room));
            room -= taken.len();
            part.push(taken);
            if room == 0 {
                parts.push(PutPayload::from_iter(std::mem::take(&mut part)));
                room = part_bytes;
            }
        }
    }
    if !part.is_empty() {
        parts.push(PutPayload::from_iter(part));
    }
    parts
}

async fn confirm(store: &dyn ObjectStore, key: &Path, size: u64) -> Result<(), StoreError> {
    let action = "confirm";
    let found = match store.head(key).await {
        Ok(meta) if meta.size == size => return Ok(()),
        Ok(meta) => format!("{} bytes", meta.size),
        Err(object_store::Error::NotFound { .. }) => "nothing".to_owned(),
        Err(error) => return Err(StoreError::new(action, key, error)),
    };
    let mismatch = Mismatch { expected: format!("{size} bytes"), found };
    Err(StoreError::found(action, key, ErrorKind::Incomplete, Some(mismatch)))
}

/// Gets an object whose size and digest are known. Bytes that differ, and answers that fail, are asked for again before
/// they are reported. An object of another size is not read.
///
/// # Errors
/// [`StoreError`]; [`ErrorKind::Corrupt`] where the bytes stay wrong, [`ErrorKind::NotFound`] where there are none.
pub async fn get_checked(store: &dyn ObjectStore, key: &Path, size: u64, sha256: Sha256) -> Result<Bytes, StoreError> {
    get_verified(store, key, size, None, &Meter::default(), |bytes| has_digest(bytes, sha256)).await
}

/// Compares the digest of some bytes with the expected one.
pub(crate) fn has_digest(bytes: &[u8], expected: Sha256) -> Result<(), Mismatch> {
    let found = Sha256::of(bytes);
    if found == expected {
        return Ok(());
    }
    Err(Mismatch { expected: format!("sha256 {expected}"), found: format!("sha256 {found}") })
}

/// What was asked of a store, and what came.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Meter {
    /// Requests and bytes so far.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.requests.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// Gets an object of a known size, or a range of it that is not empty, whose bytes `check` accepts; otherwise as
/// [`get_checked`].
pub(crate) async fn get_verified(
    store: &dyn ObjectStore,
    key: &Path,
    size: u64,
    range: Option<Range<u64>>,
    meter: &Meter,
    check: impl Fn(&Bytes) -> Result<(), Mismatch> + Send + Sync,
) -> Result<Bytes, StoreError> {
    let action = "get";
    let corrupt = |mismatch| StoreError::found(action, key, ErrorKind::Corrupt, Some(mismatch));
    let mut read = 1;
    loop {
        let error = match get_once(store, key, size, range.clone(), meter).await {
            Ok(bytes) => match check(&bytes) {
                Ok(()) => return Ok(bytes),
                Err(mismatch) => corrupt(mismatch),
            },
            Err(error) => error,
        };
        let may_pass = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unavailable);
        if !may_pass || read == READS {
            return Err(error);
        }
        tokio::time::sleep(PAUSE_BETWEEN_READS * read).await;
        read += 1;
    }
}

async fn get_once(
    store: &dyn ObjectStore,
    key: &Path,
    size: u64,
    range: Option<Range<u64>>,
    meter: &Meter,
) -> Result<Bytes, StoreError> {
    let action = "get";
    let failed = |error| StoreError::new(action, key, error);
    let corrupt = |expected: u64, found: String| {
        let mismatch = Mismatch { expected: format!("{expected} bytes"), found };
        StoreError::found(action, key, ErrorKind::Corrupt, Some(mismatch))
    };
    let expected = range.as_ref().map_or(size, |range| range.end.saturating_sub(range.start));
    let ranged = range.is_some();
    let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
    meter.requests.fetch_add(1, Ordering::Relaxed);
    let found = match store.get_opts(key, options).await {
        // A range beyond the end is refused in many ways; only the size tells that from a store that does not answer.
        Err(error) if ranged && ErrorKind::of(&error) == ErrorKind::Unavailable => {
            meter.requests.fetch_add(1, Ordering::Relaxed);
            return Err(match store.head(key).await {
                Ok(meta) if meta.size != size => corrupt(size, format!("{} bytes", meta.size)),
                _ => failed(error),
            });
        }
        found => found.map_err(failed)?,
    };
    if found.meta.size != size {
        return Err(corrupt(size, format!("{} bytes", found.meta.size)));
    }
    let bytes = found.bytes().await.map_err(failed)?;
    meter.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    if bytes.len() as u64 != expected {
        return Err(corrupt(expected, format!("{} bytes of body", bytes.len())));
    }
    Ok(bytes)
}
