//! A layer over the store of a backup that is encrypted: documents are plain above it, and sealed below.
//!
//! Owns: which objects are documents, and what becomes of one that does not open. Does not own: the seal ([`crate::crypt`]), or Parquet
//! files, which carry their own and pass as they are, since they are read in ranges.
//!
//! | object | below |
//! | --- | --- |
//! | `backup.json`, `keys/…`, `probe/…` | as it is: whose backup it is, and who opens it, is read before there is a key |
//! | `….parquet` | as it is |
//! | every other one below the prefix | sealed under its key, and larger by [`DOCUMENT_OVERHEAD`] |
//!
//! Invariants: no document goes down plain; one that is plain below, or was sealed for another place, comes up as bytes that no reader
//! takes, so that damage is told where damage is told, with the object. Sizes and ranges above are those of the plain bytes.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use super::Store;
use crate::crypt::{self, DOCUMENT_MAGIC, DOCUMENT_OVERHEAD, KeyRing};

/// The same place, of a backup that is encrypted with these keys. `store` is not sealed yet.
pub fn sealed(store: &Store, ring: Arc<KeyRing>) -> Store {
    let layer = SealedStore { inner: Arc::clone(&store.inner), prefix: store.prefix.clone(), ring: Arc::clone(&ring) };
    Store { inner: Arc::new(layer), keys: Some(ring), ..store.clone() }
}

/// The layer. Clones share store and keys.
#[derive(Clone)]
struct SealedStore {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    ring: Arc<KeyRing>,
}

/// Whether an object is sealed whole.
fn is_document(key: &str) -> bool {
    let is_open = key == "backup.json" || key.starts_with("keys/") || key.starts_with("probe/");
    !is_open && !key.ends_with(".parquet")
}

impl SealedStore {
    /// The key of a document below the prefix; `None` where what lies there passes as it is.
    fn document(&self, location: &Path) -> Option<String> {
        let below = location.as_ref().strip_prefix(self.prefix.as_ref())?;
        let key = if self.prefix.is_root() { below } else { below.strip_prefix('/')? };
        is_document(key).then(|| key.to_owned())
    }

    fn seal(&self, key: &str, payload: PutPayload) -> Result<PutPayload> {
        let plain = Bytes::from(payload);
        let stored = self.ring.seal_document(key, &plain);
        stored.map(PutPayload::from_bytes).map_err(|source| Error::Generic { store: NAME, source: source.into() })
    }

    /// The plain bytes of a document, or in their place what no reader takes.
    fn open(&self, key: &str, stored: &[u8]) -> Bytes {
        match self.ring.open_document(key, stored) {
            Ok(plain) => plain,
            Err(crypt::Error::NoKey { number, .. }) => [DOCUMENT_MAGIC, number.to_le_bytes()].concat().into(),
            Err(_) => Bytes::from_static(&DOCUMENT_MAGIC),
        }
    }

    /// What is known of an object, with the size of its plain bytes.
    fn plain(&self, meta: ObjectMeta) -> ObjectMeta {
        match self.document(&meta.location) {
            Some(_) => ObjectMeta { size: meta.size.saturating_sub(DOCUMENT_OVERHEAD), ..meta },
            None => meta,
        }
    }

    fn plain_all(&self, listed: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        let this = self.clone();
        listed.map_ok(move |meta| this.plain(meta)).boxed()
    }

    /// A document does not open elsewhere.
    fn check_moves(&self, from: &Path, to: &Path) -> Result<()> {
        match self.document(from).or_else(|| self.document(to)) {
            Some(key) => Err(Error::NotSupported { source: format!("{key} is sealed for its place").into() }),
            None => Ok(()),
        }
    }
}

const NAME: &str = "sealed";

/// A part of the plain bytes of a document, of which there are so many by the store; what does not open has another size, and is given as
/// it is.
fn cut(plain: &Bytes, size: u64, range: &Range<u64>) -> Bytes {
    let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
    let (from, to) = (at(range.start), at(range.end));
    if plain.len() as u64 == size && to <= plain.len() { plain.slice(from..to) } else { plain.clone() }
}

fn out_of_range(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic { store: NAME, source: Box::new(source) }
}

#[async_trait]
impl ObjectStore for SealedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let payload = match self.document(location) {
            Some(key) => self.seal(&key, payload)?,
            None => payload,
        };
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if self.document(location).is_none() {
            return self.inner.put_multipart_opts(location, options).await;
        }
        Ok(Box::new(SealedUpload { store: self.clone(), location: location.clone(), options, parts: Vec::new() }))
    }

    /// Nothing of the body is read before the caller does, who looks at the size first.
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let Some(key) = self.document(location) else { return self.inner.get_opts(location, options).await };
        let (wanted, is_head) = (options.range.clone(), options.head);
        let mut found = self.inner.get_opts(location, GetOptions { range: None, ..options }).await?;
        found.meta = self.plain(found.meta);
        let size = found.meta.size;
        let range = match wanted {
            Some(wanted) => wanted.as_range(size).map_err(out_of_range)?,
            None => 0..size,
        };
        if is_head {
            return Ok(GetResult { range, ..found });
        }
        let (meta, attributes, extensions) = (found.meta.clone(), found.attributes.clone(), found.extensions.clone());
        let (this, part) = (self.clone(), range.clone());
        let body = async move {
            let stored = found.bytes().await?;
            Ok::<_, Error>(cut(&this.open(&key, &stored), size, &part))
        };
        let payload = GetResultPayload::Stream(stream::once(body.boxed()).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if self.document(location).is_none() {
            return self.inner.get_ranges(location, ranges).await;
        }
        let found = self.get(location).await?;
        let size = found.meta.size;
        let ranges = ranges
            .iter()
            .map(|range| object_store::GetRange::Bounded(range.clone()).as_range(size).map_err(out_of_range));
        let ranges = ranges.collect::<Result<Vec<_>>>()?;
        let plain = found.bytes().await?;
        Ok(ranges.iter().map(|range| cut(&plain, size, range)).collect())
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.plain_all(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.plain_all(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listed = self.inner.list_with_delimiter(prefix).await?;
        listed.objects = listed.objects.into_iter().map(|meta| self.plain(meta)).collect();
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.check_moves(from, to)?;
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.check_moves(from, to)?;
        self.inner.rename_opts(from, to, options).await
    }
}

impl fmt::Display for SealedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for SealedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({}, {:?})", self.inner, self.ring)
    }
}

/// A document that comes in parts, and goes down whole.
struct SealedUpload {
    store: SealedStore,
    location: Path,
    options: PutMultipartOptions,
    parts: Vec<PutPayload>,
}

impl fmt::Debug for SealedUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedUpload").field("location", &self.location).finish_non_exhaustive()
    }
}

#[async_trait]
impl MultipartUpload for SealedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.push(data);
        Box::pin(async { Ok(()) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let PutMultipartOptions { tags, attributes, extensions } = self.options.clone();
        let options = PutOptions { tags, attributes, extensions, ..PutOptions::default() };
        let whole: PutPayload = self.parts.iter().flat_map(PutPayload::iter).cloned().collect();
        self.store.put_opts(&self.location, whole, options).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
