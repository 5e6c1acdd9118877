//! The snapshots in a store: creating one once, listing them, reading one and asking the log whether it is right.
//!
//! Does not own what a caller does with a snapshot. Every call here is short and bounded; retrying is the caller's.

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::ObjectStore as _;

use super::Snapshot;
use crate::checksum::Sha256;
use crate::document;
use crate::ids::{BackupId, Sequence, SnapshotId, TimestampMs};
use crate::layout::{self, ObjectKey};
use crate::manifest::reader;
use crate::store::Store;
use crate::store::create_once::{CreateError, Outcome, create_once};

/// How often a snapshot that seems damaged is read before it counts as damaged: what flipped in transit does not come
/// three times.
const READS: u32 = 3;

/// How many ids an error shows that are like the one asked for, and how many of the newest.
const SHOWN: usize = 3;

/// Why a snapshot cannot be created or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not give the object; trying again may help.
    #[error("read {object}")]
    Store {
        /// The object, or the folder that was to be listed.
        object: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// Not created yet, or not known: call again with the same snapshot.
    #[error("create {object}")]
    NotYet {
        /// The snapshot's object.
        object: String,
        /// What the store said.
        source: CreateError,
    },
    /// The object is not what was written, or a newer release wrote it.
    #[error("{object} {}", .source.verdict())]
    Document {
        /// The snapshot's object.
        object: String,
        /// What is wrong with it.
        source: document::Error,
    },
    /// The log does not hold the manifest that the snapshot names.
    #[error(
        "{object} names manifest {sequence} with digest {sha256}, and the log does not hold it: newer manifests were lost, or \
         the prefix was exchanged; `strimzi-backup verify` says which"
    )]
    NotInLog {
        /// The snapshot's object.
        object: String,
        /// The manifest's place.
        sequence: Sequence,
        /// The digest of its stored bytes.
        sha256: Sha256,
    },
    /// The manifest that the snapshot names cannot be read.
    #[error(transparent)]
    Log(#[from] reader::Error),
    /// There is no snapshot of that id.
    #[error("there is no snapshot {id:?} under {storage}; {known}", id = .id.as_str())]
    Unknown {
        /// The id asked for.
        id: SnapshotId,
        /// The store, for people.
        storage: String,
        /// What there is.
        known: Known,
    },
    /// A snapshot of that id exists.
    #[error("the snapshot {id:?} exists already: {what}; choose another id, or none", id = .id.as_str())]
    Exists {
        /// The id.
        id: SnapshotId,
        /// What stands there.
        what: String,
    },
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store { .. } => true,
            Self::NotYet { source, .. } => source.is_retryable(),
            Self::Log(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// Whether the object, or the log, is not what was written, or a newer release wrote it: no later call finds it otherwise.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Document { .. } | Self::NotInLog { .. } => true,
            Self::Log(error) => error.is_damage(),
            _ => false,
        }
    }
}

/// The snapshots that an error names in place of one that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The most similar ids, the most similar first.
    pub nearest: Vec<SnapshotId>,
    /// The newest ids, the newest first.
    pub newest: Vec<SnapshotId>,
    /// How many there are.
    pub count: usize,
}

impl Known {
    fn of(id: &SnapshotId, listed: &[Listed]) -> Self {
        let likeness = |other: &SnapshotId| strsim::jaro_winkler(id.as_str(), other.as_str());
        let mut nearest: Vec<&SnapshotId> = listed.iter().map(|listed| &listed.id).collect();
        nearest.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)).then_with(|| b.cmp(a)));
        let newest = listed.iter().rev().map(|listed| &listed.id);
        Self {
            nearest: nearest.into_iter().take(SHOWN).cloned().collect(),
            newest: newest.take(SHOWN).cloned().collect(),
            count: listed.len(),
        }
    }
}

impl std::fmt::Display for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |ids: &[SnapshotId]| ids.iter().map(SnapshotId::as_str).collect::<Vec<_>>().join(", ");
        if self.count == 0 {
            return f.write_str("there is none at all: `strimzi-backup snapshot` makes one");
        }
        let Self { nearest, newest, count } = self;
        write!(f, "of the {count} there, the nearest by name: {}; the newest: {}", list(nearest), list(newest))
    }
}

/// A snapshot as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: SnapshotId,
    /// When its object was created, by the store's clock.
    pub created: TimestampMs,
}

/// One attempt to create a snapshot's object. Calling again with the same snapshot finds out what became of a call that
/// failed or was dropped.
///
/// # Errors
/// [`Error::NotYet`]: call again. [`Error::Exists`] where another stands under its id, which is left as it is.
pub async fn create(store: &Store, snapshot: &Snapshot) -> Result<(), Error> {
    let key = layout::snapshot(&snapshot.id);
    let object = || key.to_string();
    let bytes = document::seal(snapshot).map_err(|source| Error::Document { object: object(), source })?;
    match create_once(store.inner.as_ref(), &key.below(&store.prefix), &bytes).await {
        Ok(Outcome::Created) => Ok(()),
        Ok(Outcome::Occupied(theirs)) => Err(exists(&snapshot.id, &theirs)),
        Err(source) => Err(Error::NotYet { object: object(), source }),
    }
}

/// Fails where a snapshot of that id exists, so that nobody waits for a commit in vain. Another may still be faster.
///
/// # Errors
/// [`Error::Exists`] or [`Error::Store`].
pub async fn check_free(store: &Store, id: &SnapshotId) -> Result<(), Error> {
    match get(store, &layout::snapshot(id)).await? {
        Some(theirs) => Err(exists(id, &theirs)),
        None => Ok(()),
    }
}

fn exists(id: &SnapshotId, theirs: &Bytes) -> Error {
    let what = match document::unseal::<Snapshot>(theirs) {
        Ok(Snapshot { manifest, asked_at, .. }) => {
            let (asked, observed) = (asked_at.to_rfc3339(), manifest.observed_at.to_rfc3339());
            format!("manifest {}, asked for {asked} and observed {observed}", manifest.sequence)
        }
        Err(document::Error::NewerFormat { .. }) => "a newer release wrote it".to_owned(),
        Err(_) => "an object that is no snapshot".to_owned(),
    };
    Error::Exists { id: id.clone(), what }
}

/// All snapshots, oldest first. Objects of other names are passed over.
///
/// # Errors
/// [`Error::Store`].
pub async fn list(store: &Store) -> Result<Vec<Listed>, Error> {
    let folder = layout::snapshots();
    let failed = |source| Error::Store { object: folder.to_string(), source };
    let found: Vec<_> = store.inner.list(Some(&folder.below(&store.prefix))).try_collect().await.map_err(failed)?;
    let mut listed: Vec<Listed> = found
        .iter()
        .filter_map(|meta| {
            // Rebuilt from the name, since the prefix is not part of a key.
            let id = layout::snapshot_id(&format!("{folder}/{}", meta.location.filename()?))?;
            let created = TimestampMs::new(meta.last_modified.timestamp_millis());
            (meta.location == layout::snapshot(&id).below(&store.prefix)).then_some(Listed { id, created })
        })
        .collect();
    listed.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.id.cmp(&b.id)));
    Ok(listed)
}

/// Reads the document of a snapshot of that backup; `None` where there is none. Does not ask the log.
///
/// # Errors
/// [`Error::Document`] where it is damaged, of a newer release or of another backup, or [`Error::Store`].
pub async fn load(store: &Store, backup: BackupId, id: &SnapshotId) -> Result<Option<Snapshot>, Error> {
    let key = layout::snapshot(id);
    let mut read = 1;
    loop {
        let Some(bytes) = get(store, &key).await? else { return Ok(None) };
        match decode(&bytes, backup, id) {
            Ok(snapshot) => return Ok(Some(snapshot)),
            Err(_) if read < READS => read += 1,
            Err(source) => return Err(Error::Document { object: key.to_string(), source }),
        }
    }
}

/// Reads the bytes of a snapshot, which must be of that backup and bear that id.
///
/// # Errors
/// [`document::Error`].
pub fn decode(stored: &[u8], backup: BackupId, id: &SnapshotId) -> Result<Snapshot, document::Error> {
    let snapshot: Snapshot = document::unseal(stored)?;
    if snapshot.backup != backup {
        return Err(document::Error::Damaged(format!("it is of backup {}, and this is {backup}", snapshot.backup)));
    }
    if snapshot.id != *id {
        return Err(document::Error::Damaged(format!("it says that its id is {:?}", snapshot.id.as_str())));
    }
    Ok(snapshot)
}

/// Reads a snapshot of that backup that the log confirms: the manifest that it names is there, with its digest.
///
/// # Errors
/// [`Error::Unknown`] where there is none of that id; all others as they say.
pub async fn read(store: &Store, backup: BackupId, id: &SnapshotId) -> Result<Snapshot, Error> {
    let Some(snapshot) = load(store, backup, id).await? else {
        let known = Known::of(id, &list(store).await?);
        return Err(Error::Unknown { id: id.clone(), storage: store.description.clone(), known });
    };
    let crate::state::Head { sequence, sha256, .. } = snapshot.manifest;
    match reader::manifest(store, snapshot.shard, sequence).await? {
        Some((_, found)) if found == sha256 => Ok(snapshot),
        _ => Err(Error::NotInLog { object: layout::snapshot(id).to_string(), sequence, sha256 }),
    }
}

/// The bytes of an object that may be a snapshot; `None` where there is none.
async fn get(store: &Store, key: &ObjectKey) -> Result<Option<Bytes>, Error> {
    let failed = |source| Error::Store { object: key.to_string(), source };
    let Some(found) = store.find(key).await.map_err(failed)? else { return Ok(None) };
    document::check_size(found.meta.size).map_err(|source| Error::Document { object: key.to_string(), source })?;
    found.bytes().await.map(Some).map_err(failed)
}
