//! Bugs planted between the writer and its store, to show that the simulation would find them in the writer.
//!
//! Each is what a plausible mistake in the product looks like from the store's side, so that no product code needs a
//! switch for it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use strimzi_backup_format::document;
use strimzi_backup_format::snapshot::Snapshot;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Segments count as uploaded before they are: the manifest comes first.
    CommitBeforeUpload,
    /// "Already exists" is taken for "mine, the answer was lost", without looking.
    NoReadBack,
    /// Manifests are written whatever stands in their slot.
    NoFence,
    /// Reading goes on an offset too late after a restart.
    ResumeElsewhere,
    /// With what may go, something goes that is needed.
    DeleteAnother,
    /// A base misses a key: its first record is hidden from the oracle.
    BaseMissesKey,
    /// Refining drops a run, and its own check makes the same mistake: the last run is hidden from the oracle, with its records.
    RefineDropsRun,
    /// Retention does not look at where snapshots end.
    CutsIgnored,
    /// Retention does not look at which snapshots are kept for ever.
    ForeverForgotten,
}

/// A store with a planted bug before it.
pub struct SabotagedStore {
    inner: Arc<dyn ObjectStore>,
    sabotage: Sabotage,
    /// What the writer is made to believe stands there.
    pretended: Mutex<BTreeMap<Path, Bytes>>,
}

impl SabotagedStore {
    /// Plants `sabotage` before `inner`.
    pub fn new(inner: Arc<dyn ObjectStore>, sabotage: Sabotage) -> Self {
        Self { inner, sabotage, pretended: Mutex::default() }
    }

    fn pretend(&self, location: &Path, payload: PutPayload) {
        self.pretended.lock().insert(location.clone(), Bytes::from(payload));
    }

    fn misreads(&self, location: &Path) -> bool {
        let is_planted = matches!(self.sabotage, Sabotage::CutsIgnored | Sabotage::ForeverForgotten);
        is_planted && location.as_ref().starts_with("snapshots/")
    }

    /// A snapshot without what the planted mistake does not look at.
    fn misread(&self, stored: Bytes) -> Bytes {
        let Ok(mut snapshot) = document::unseal::<Snapshot>(&stored) else { return stored };
        match self.sabotage {
            Sabotage::CutsIgnored => snapshot.positions.clear(),
            _ => snapshot.keep = None,
        }
        document::seal(&snapshot).unwrap_or(stored)
    }
}

fn done() -> PutResult {
    PutResult { e_tag: None, version: None, extensions: object_store::Extensions::default() }
}

fn answer(bytes: Bytes, meta: ObjectMeta) -> GetResult {
    let size = bytes.len() as u64;
    GetResult {
        payload: GetResultPayload::Stream(stream::iter([Ok(bytes)]).boxed()),
        meta: ObjectMeta { size, ..meta },
        range: 0..size,
        attributes: object_store::Attributes::default(),
        extensions: object_store::Extensions::default(),
    }
}

fn is_manifest(location: &Path) -> bool {
    location.as_ref().contains("manifests/")
}

#[async_trait]
impl ObjectStore for SabotagedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        match self.sabotage {
            Sabotage::CommitBeforeUpload if location.as_ref().ends_with(".parquet") => {
                let (inner, key) = (Arc::clone(&self.inner), location.clone());
                self.pretend(location, payload.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    // The planted mistake does not look at the outcome either.
                    drop(inner.put(&key, payload).await);
                });
                return Ok(done());
            }
            Sabotage::NoReadBack if is_manifest(location) => {
                let answer = self.inner.put_opts(location, payload.clone(), options).await;
                if matches!(answer, Err(object_store::Error::AlreadyExists { .. })) {
                    self.pretend(location, payload);
                }
                return answer;
            }
            Sabotage::NoFence if is_manifest(location) => options.mode = PutMode::Overwrite,
            _ => {}
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if self.misreads(location) {
            let found = self.inner.get_opts(location, options).await?;
            let meta = found.meta.clone();
            return Ok(answer(self.misread(found.bytes().await?), meta));
        }
        let pretended = self.pretended.lock().get(location).cloned();
        let Some(bytes) = pretended else { return self.inner.get_opts(location, options).await };
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: std::time::SystemTime::UNIX_EPOCH.into(),
            size: 0,
            e_tag: None,
            version: None,
        };
        Ok(answer(bytes, meta))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        if self.sabotage != Sabotage::DeleteAnother {
            return self.inner.delete_stream(locations);
        }
        let inner = Arc::clone(&self.inner);
        let all = async move {
            let mut all: Vec<Result<Path>> = locations.collect().await;
            let folder = Path::from("topics");
            let listed: Vec<_> = inner.list(Some(&folder)).collect().await;
            all.extend(listed.into_iter().filter_map(Result::ok).map(|meta| Ok(meta.location)).next_back());
            inner.delete_stream(stream::iter(all).boxed())
        };
        stream::once(all).flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl fmt::Display for SabotagedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SabotagedStore({:?})", self.sabotage)
    }
}

impl fmt::Debug for SabotagedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SabotagedStore").field("sabotage", &self.sabotage).finish_non_exhaustive()
    }
}
