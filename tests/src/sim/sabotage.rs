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

use super::keys::Keys;

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
    /// Who retires and who prunes does not look for restores under way.
    PinsIgnored,
    /// Of an encrypted backup, checkpoints go down in the clear; who reads them with the same mistake notices nothing.
    CheckpointInTheClear,
    /// Of an encrypted backup, manifests are sealed, and opened, for the folder that they lie in, so that any may stand for any other.
    SealedForItsFolder,
}

/// A store with a planted bug before it.
pub struct SabotagedStore {
    inner: Arc<dyn ObjectStore>,
    sabotage: Sabotage,
    /// Who has the master keys; `None` where nothing is encrypted.
    keys: Option<Keys>,
    /// What the writer is made to believe stands there.
    pretended: Mutex<BTreeMap<Path, Bytes>>,
}

impl SabotagedStore {
    /// Plants `sabotage` before `inner`.
    pub fn new(inner: Arc<dyn ObjectStore>, sabotage: Sabotage, keys: Option<Keys>) -> Self {
        Self { inner, sabotage, keys, pretended: Mutex::default() }
    }

    fn pretend(&self, location: &Path, payload: PutPayload) {
        self.pretended.lock().insert(location.clone(), Bytes::from(payload));
    }

    fn misreads(&self, location: &Path) -> bool {
        match self.sabotage {
            Sabotage::CutsIgnored | Sabotage::ForeverForgotten => location.as_ref().starts_with("snapshots/"),
            _ => self.seals_wrongly(location),
        }
    }

    fn seals_wrongly(&self, location: &Path) -> bool {
        let folder = match self.sabotage {
            Sabotage::CheckpointInTheClear => "checkpoints/",
            Sabotage::SealedForItsFolder => "manifests/",
            _ => return false,
        };
        self.keys.is_some() && location.as_ref().starts_with(folder)
    }

    /// What is stored instead of a document that is sealed as it should be; itself where that cannot be made.
    async fn misseal(&self, location: &Path, stored: Bytes) -> Bytes {
        let key: &str = location.as_ref();
        let Some(plain) = self.open(key, &stored).await else { return stored };
        let instead = match self.sabotage {
            Sabotage::SealedForItsFolder => self.seal(folder_of(key), &plain).await,
            _ => Some(plain),
        };
        instead.unwrap_or(stored)
    }

    /// What the planted mistake makes of a document that is read; itself where it cannot be read.
    async fn misread(&self, location: &Path, stored: Bytes) -> Bytes {
        let key: &str = location.as_ref();
        let plain = match self.sabotage {
            Sabotage::CheckpointInTheClear => Some(stored.clone()),
            Sabotage::SealedForItsFolder => self.open(folder_of(key), &stored).await,
            _ => self.open(key, &stored).await.and_then(|plain| self.overlook(&plain)),
        };
        match plain {
            Some(plain) => self.seal(key, &plain).await.unwrap_or(stored),
            None => stored,
        }
    }

    /// A snapshot without what the planted mistake does not look at.
    fn overlook(&self, plain: &[u8]) -> Option<Bytes> {
        let mut snapshot: Snapshot = document::unseal(plain).ok()?;
        match self.sabotage {
            Sabotage::CutsIgnored => snapshot.positions.clear(),
            _ => snapshot.keep = None,
        }
        document::seal(&snapshot).ok()
    }

    /// The bytes of a document as the layers above have them; `None` where they do not open.
    async fn open(&self, key: &str, stored: &Bytes) -> Option<Bytes> {
        let Some(keys) = &self.keys else { return Some(stored.clone()) };
        keys.ring().await.ok()??.open_document(key, stored).ok()
    }

    /// The same as they are stored.
    async fn seal(&self, key: &str, plain: &Bytes) -> Option<Bytes> {
        let Some(keys) = &self.keys else { return Some(plain.clone()) };
        keys.ring().await.ok()??.seal_document(key, plain).ok()
    }
}

fn folder_of(key: &str) -> &str {
    key.rsplit_once('/').map_or(key, |(folder, _)| folder)
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
            _ if self.seals_wrongly(location) => {
                let instead = self.misseal(location, payload.into()).await;
                return self.inner.put_opts(location, instead.into(), options).await;
            }
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
        if self.misreads(location) && !options.head {
            let found = self.inner.get_opts(location, options).await?;
            let meta = found.meta.clone();
            return Ok(answer(self.misread(location, found.bytes().await?).await, meta));
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
        let is_of_restores = prefix.is_some_and(|prefix| prefix.as_ref() == "restores");
        if self.sabotage == Sabotage::PinsIgnored && is_of_restores {
            return stream::empty().boxed();
        }
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
