//! The form with keys: what opens each file of an encrypted backup, for who reads it without this program.
//!
//! Owns: reading the wrapped key at the end of each file. Does not own: unwrapping it ([`KeyRing`]).
//!
//! What is printed opens these files and no other, nor does it say anything of the backup's own keys. It is a secret all the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStoreExt as _;
use serde::Serialize;
use strimzi_backup_format::crypt::KeyRing;
use strimzi_backup_format::layout::ObjectKey;
use strimzi_backup_format::segment;
use strimzi_backup_format::segment::wrapped_key::key_metadata;
use strimzi_backup_format::store::Store;

use super::Entry;
use crate::error::Error;
use crate::keys::KeysError;

/// Bytes from the end of a file that are read first: most footers are no larger.
const TAIL_BYTES: u64 = 64 << 10;

/// Files read at once.
const AT_ONCE: usize = 16;

/// A file with what opens it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Opened {
    #[serde(flatten)]
    entry: Entry,
    /// The key of footer and columns, base64: 32 bytes of AES-256.
    data_key: String,
    /// What every part of the file is bound to and its reader must be told, base64.
    aad_prefix: String,
}

/// JSON of these files, with their keys.
///
/// # Errors
/// [`Error::Store`] where the store does not give the end of a file, [`Error::Segment`] or [`Error::Keys`] where that has no key of
/// this backup.
pub(super) async fn render(store: &Store, ring: &KeyRing, entries: Vec<Entry>) -> Result<String, Error> {
    let opened: Vec<Opened> = futures::stream::iter(entries)
        .map(|entry| async move { open(store, ring, entry).await })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let files = opened.len();
    tracing::warn!(files, "what is printed opens these files: whoever has it and them reads their records");
    Ok(serde_json::to_string_pretty(&opened).unwrap_or_default() + "\n")
}

async fn open(store: &Store, ring: &KeyRing, entry: Entry) -> Result<Opened, Error> {
    let object = &entry.object;
    let metadata = wrapped(store, object, entry.bytes).await?;
    let key = ring.open_file(object, &metadata).map_err(KeysError::from)?;
    let (data_key, aad_prefix) = (BASE64.encode(key.as_bytes()), BASE64.encode(ring.aad_prefix(object)));
    Ok(Opened { data_key, aad_prefix, entry })
}

/// The wrapped key in a file of that size.
async fn wrapped(store: &Store, object: &ObjectKey, size: u64) -> Result<Vec<u8>, Error> {
    let path = object.below(&store.prefix);
    let mut wanted = TAIL_BYTES;
    loop {
        let range = size.saturating_sub(wanted)..size;
        let tail = store.inner.get_range(&path, range).await;
        let tail = tail.map_err(|source| Error::Store { object: object.to_string(), source })?;
        match key_metadata(&tail) {
            Ok(metadata) => return Ok(metadata),
            Err(segment::Error::TailTooShort { needed }) if wanted < needed.min(size) => wanted = needed,
            Err(source) => return Err(Error::Segment { object: object.to_string(), source }),
        }
    }
}
