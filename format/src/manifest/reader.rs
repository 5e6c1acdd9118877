//! Reading a backup's log: newest good checkpoint plus the tail, or the whole log where no checkpoint is good.
//!
//! Everything read is checked against what came before it; the first contradiction stops the reader with the name of
//! the object (P9). Requests do not grow with the length of the history: one list of checkpoints, one checkpoint, and
//! the manifests after it. Where they end, `tail` finds out: who only reads asks for a list, who is about to write or to delete for
//! the objects themselves.

mod listing;
mod tail;

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::ObjectStore;

use super::invariants::Violation;
use super::{Manifest, Segment};
use crate::checkpoint::{Block, Checkpoint};
use crate::checksum::Sha256;
use crate::document::{self, Document};
use crate::errors;
use crate::identity::Identity;
use crate::ids::{BackupId, Sequence, Shard, TimestampMs};
use crate::job::Anchor;
use crate::layout::{self, ObjectKey};
use crate::seal::Sealed;
use crate::state::State;
use crate::store::Store;
pub use listing::{Listing, read_block, read_bucket};
use tail::Search;

/// How many manifests are fetched at once.
const WINDOW: u64 = 32;

/// How often a log that seems damaged is read before it counts as damaged: what flipped in transit does not come three
/// times, what is damaged in the store does.
const READS: u32 = 3;

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not give the object; trying again may help.
    #[error("read {object}")]
    Store {
        /// The object.
        object: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// An object is not what was written, or a newer release wrote it.
    #[error("{object} {}", .source.verdict())]
    Document {
        /// The object.
        object: String,
        /// What is wrong with it.
        source: document::Error,
    },
    /// The backup key that an object is sealed by was made since the store was opened: who opens it anew has that one, too.
    #[error(
        "{object} is sealed by backup key {number}, which was made since this began: the master key was changed meanwhile, and nothing is \
         damaged; start again, with the new one"
    )]
    Rotated {
        /// The object.
        object: String,
        /// The number of the backup key.
        number: u32,
    },
    /// An object that must be there is not.
    #[error("{object} is missing, and {witness} proves that it existed")]
    Missing {
        /// The object.
        object: String,
        /// What proves it.
        witness: String,
    },
    /// A manifest contradicts those before it.
    #[error("{object} breaks the log")]
    Broken {
        /// The manifest.
        object: String,
        /// How.
        source: Violation,
    },
    /// The job's anchor is not in the log.
    #[error(
        "the log does not hold manifest {sequence} with digest {sha256}, as storage.anchor says (ChainMismatch): the prefix \
         was rolled back or exchanged; bring the newer objects back, or take the anchor out to go on from here"
    )]
    Anchor {
        /// The anchor's manifest.
        sequence: Sequence,
        /// The anchor's digest.
        sha256: Sha256,
    },
    /// Not the backup that the job's anchor names.
    #[error(
        "the prefix holds backup {found}, and storage.anchor names {wanted}; somebody emptied or exchanged the prefix"
    )]
    AnotherBackup {
        /// The id in the store.
        found: BackupId,
        /// The anchor's.
        wanted: BackupId,
    },
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Store { .. })
    }

    /// Whether what lies there is not what was written, or a newer release wrote it: no later start finds it otherwise.
    pub fn is_damage(&self) -> bool {
        !matches!(self, Self::Store { .. } | Self::Rotated { .. })
    }
}

/// A backup's log as far as it was read.
#[derive(Debug)]
pub struct Log {
    /// The identity document.
    pub identity: Identity,
    /// The folded state up to the newest manifest.
    pub state: State,
    /// What is sealed by hour, as the checkpoint read has it.
    pub sealed: Option<Sealed>,
    /// The blocks that list what is not sealed, up to that of the checkpoint read, oldest first.
    pub blocks: Vec<Block>,
    /// The segments that the checkpoint read lists itself: those of the last block.
    pub block_segments: Arc<Vec<Segment>>,
    /// The manifests after the checkpoint.
    pub tail: Vec<Manifest>,
    /// Checkpoints that were not believed, with the reason; harmless, since they are derived.
    pub ignored: Vec<(String, String)>,
}

/// Reads the log of `shard`, for who only reads; `None` where nothing was ever written under the prefix. What the store's
/// anchor names must be in it. Six requests, and one for each manifest after the newest checkpoint; where listing is no cheaper than
/// looking, as many as [`open_to_write`] makes.
///
/// # Errors
/// [`Error`], which names the object.
pub async fn open(store: &Store, shard: Shard) -> Result<Option<Log>, Error> {
    open_by(store, shard, Search::for_reading(store)).await
}

/// The same for who goes on to write there, or deletes what the log does not name. No listing is relied on for where the log ends.
///
/// # Errors
/// As [`open`].
pub async fn open_to_write(store: &Store, shard: Shard) -> Result<Option<Log>, Error> {
    open_by(store, shard, Search::Look).await
}

async fn open_by(store: &Store, shard: Shard, search: Search) -> Result<Option<Log>, Error> {
    let mut read = 1;
    loop {
        match open_anchored(store, shard, search).await {
            Err(error) if read < READS && !error.is_retryable() => read += 1,
            Err(error) => return Err(judged(store, error).await),
            done => return done,
        }
    }
}

/// The same error, or, where the backup key that something is sealed by was made since, that. The number of the key stands in the clear,
/// and may be damaged as any byte: `keys/` says whether there is such a one.
async fn judged(store: &Store, error: Error) -> Error {
    let (object, number) = match error {
        Error::Document { object, source: document::Error::SealedLater { number } } => (object, number),
        other => return other,
    };
    let first = layout::key_wrap(number, 0);
    match store.find(&first).await {
        Ok(Some(_)) => Error::Rotated { object, number },
        Ok(None) => Error::Document { object, source: document::Error::SealedLater { number } },
        Err(source) => Error::Store { object: first.to_string(), source },
    }
}

async fn open_anchored(store: &Store, shard: Shard, search: Search) -> Result<Option<Log>, Error> {
    let log = open_once(store, shard, search).await?;
    if let Some(anchor) = store.anchor {
        check_anchor(store, shard, log.as_ref(), anchor).await?;
    }
    Ok(log)
}

async fn open_once(store: &Store, shard: Shard, search: Search) -> Result<Option<Log>, Error> {
    let identity_key = layout::identity();
    let Some((identity, bytes)) = stored_identity(store).await? else {
        return match get(store, &layout::manifest(shard, Sequence::FIRST)).await? {
            None => Ok(None),
            Some(_) => Err(Error::Missing {
                object: identity_key.to_string(),
                witness: layout::manifest(shard, Sequence::FIRST).to_string(),
            }),
        };
    };
    let mut log = start(store, shard, identity, Sha256::of(&bytes)).await?;
    tail::read(store, &mut log, search).await?;
    // Its digest is in every link; before the first one, nothing but a second look says that it was read as it stands.
    if log.state.head.is_none() && get(store, &identity_key).await?.as_ref() != Some(&bytes) {
        let source = document::Error::Damaged("it was read twice, and differs".to_owned());
        return Err(Error::Document { object: identity_key.to_string(), source });
    }
    Ok(Some(log))
}

/// Whose backup lies there, read again where that seems damaged; `None` where nothing does.
///
/// # Errors
/// [`Error::Store`] or [`Error::Document`].
pub async fn identity(store: &Store) -> Result<Option<Identity>, Error> {
    let mut read = 1;
    loop {
        match stored_identity(store).await {
            Err(error) if read < READS && !error.is_retryable() => read += 1,
            found => return found.map(|found| found.map(|(identity, _)| identity)),
        }
    }
}

/// The same, read once, and the stored bytes that say so.
///
/// # Errors
/// As [`identity`].
pub async fn stored_identity(store: &Store) -> Result<Option<(Identity, Bytes)>, Error> {
    let key = layout::identity();
    let Some(bytes) = get(store, &key).await? else { return Ok(None) };
    let identity = document::from_json(&bytes).map_err(|source| Error::Document { object: key.to_string(), source })?;
    Ok(Some((identity, bytes)))
}

/// Finds the newest checkpoint that the log confirms.
async fn start(store: &Store, shard: Shard, identity: Identity, digest: Sha256) -> Result<Log, Error> {
    let mut ignored = Vec::new();
    for (sequence, key) in checkpoints(store, shard).await?.into_iter().rev() {
        match checkpoint(store, &key, sequence, &identity, digest).await {
            Ok((checkpoint, sha256)) => {
                return Ok(at_checkpoint(identity, (key, sequence, checkpoint, sha256), ignored));
            }
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => ignored.push((key.to_string(), errors::chain(&error))),
        }
    }
    let state = State::empty(identity.backup, shard, digest);
    Ok(Log {
        identity,
        state,
        sealed: None,
        blocks: Vec::new(),
        block_segments: Arc::default(),
        tail: Vec::new(),
        ignored,
    })
}

/// The log up to a checkpoint.
fn at_checkpoint(
    identity: Identity,
    (key, sequence, checkpoint, sha256): (ObjectKey, Sequence, Checkpoint, Sha256),
    ignored: Vec<(String, String)>,
) -> Log {
    let begins = checkpoint.begins();
    let Checkpoint { state, sealed, mut blocks, segments, .. } = checkpoint;
    blocks.push(Block::new(key, sha256, begins, sequence, &segments));
    let block_segments = Arc::new(segments);
    Log { identity, state, sealed, blocks, block_segments, tail: Vec::new(), ignored }
}

/// All checkpoints of a shard, oldest first. Two for one sequence are both valid; which is read does not matter.
///
/// # Errors
/// [`Error::Store`].
pub async fn checkpoints(store: &Store, shard: Shard) -> Result<Vec<(Sequence, ObjectKey)>, Error> {
    let folder = layout::checkpoints(shard);
    let failed = |source| Error::Store { object: folder.to_string(), source };
    let prefix = folder.below(&store.prefix);
    let listed: Vec<_> = store.inner.list(Some(&prefix)).try_collect().await.map_err(failed)?;
    let mut found: Vec<_> = listed
        .iter()
        .filter_map(|meta| meta.location.filename())
        .filter_map(|name| ObjectKey::try_from(format!("{folder}/{name}")).ok())
        .filter_map(|key| layout::checkpoint_sequence(key.as_str()).map(|sequence| (sequence, key)))
        .collect();
    found.sort();
    Ok(found)
}

/// Reads one checkpoint and asks the log whether it is right.
async fn checkpoint(
    store: &Store,
    key: &ObjectKey,
    sequence: Sequence,
    identity: &Identity,
    identity_digest: Sha256,
) -> Result<(Checkpoint, Sha256), Error> {
    let object = key.to_string();
    let damaged = |why: &str| {
        let source = document::Error::Damaged(why.to_owned());
        Error::Document { object: object.clone(), source }
    };
    let bytes = get(store, key).await?.ok_or_else(|| damaged("it is gone"))?;
    let digest = Sha256::of(&bytes);
    let checkpoint: Checkpoint = decode(&object, &bytes)?;
    let Some(head) = checkpoint.state.head.filter(|head| head.sequence == sequence) else {
        return Err(damaged("its name and its state differ"));
    };
    if layout::checkpoint(checkpoint.state.shard, sequence, &digest) != *key {
        return Err(damaged("its name and its digest differ"));
    }
    if checkpoint.state.backup != identity.backup || checkpoint.state.identity != identity_digest {
        return Err(damaged("it is of another backup"));
    }
    let manifest = get(store, &layout::manifest(checkpoint.state.shard, sequence)).await?;
    match manifest.map(|bytes| Sha256::of(&bytes)) {
        Some(found) if found == head.sha256 => Ok((checkpoint, digest)),
        Some(_) => Err(damaged("the log disagrees with it")),
        None => Err(damaged("the log does not reach that far")),
    }
}

/// Reads the manifest after the last one of `log` and takes it in; `false` where there is none yet. One request, so that a
/// log can be followed cheaply; that nothing lies beyond a missing one, [`open`] has looked at.
///
/// # Errors
/// [`Error`]; the log is then as it was.
pub async fn advance(store: &Store, log: &mut Log) -> Result<bool, Error> {
    let key = layout::manifest(log.state.shard, log.state.next_sequence());
    let mut read = 1;
    loop {
        let Some(bytes) = get(store, &key).await? else { return Ok(false) };
        match fold(log, &key, &bytes) {
            Err(error) if read < READS && !error.is_retryable() => read += 1,
            Err(error) => return Err(judged(store, error).await),
            Ok(()) => return Ok(true),
        }
    }
}

fn hole_error(shard: Shard, hole: Sequence, witness: &ObjectKey) -> Error {
    Error::Missing { object: layout::manifest(shard, hole).to_string(), witness: witness.to_string() }
}

fn fold(log: &mut Log, key: &ObjectKey, bytes: &Bytes) -> Result<(), Error> {
    let object = key.to_string();
    let manifest: Manifest = decode(&object, bytes)?;
    log.state.fold(&manifest, Sha256::of(bytes)).map_err(|source| Error::Broken { object, source })?;
    log.tail.push(manifest);
    Ok(())
}

/// Reads a manifest, of any place in the log, with its digest; `None` where there is none.
///
/// # Errors
/// [`Error::Store`], [`Error::Document`] or [`Error::Rotated`].
pub async fn manifest(store: &Store, shard: Shard, sequence: Sequence) -> Result<Option<(Manifest, Sha256)>, Error> {
    let key = layout::manifest(shard, sequence);
    let Some(bytes) = get(store, &key).await? else { return Ok(None) };
    match decode(key.as_str(), &bytes) {
        Ok(manifest) => Ok(Some((manifest, Sha256::of(&bytes)))),
        Err(error) => Err(judged(store, error).await),
    }
}

/// Fails unless `log` is the anchor's backup and holds the anchor's manifest with the anchor's digest.
async fn check_anchor(store: &Store, shard: Shard, log: Option<&Log>, anchor: Anchor) -> Result<(), Error> {
    let Anchor { backup: wanted, sequence, sha256 } = anchor;
    if let Some(found) = log.map(|log| log.identity.backup).filter(|found| *found != wanted) {
        return Err(Error::AnotherBackup { found, wanted });
    }
    let found = get(store, &layout::manifest(shard, sequence)).await?.map(|bytes| Sha256::of(&bytes));
    if log.is_some() && found == Some(sha256) { Ok(()) } else { Err(Error::Anchor { sequence, sha256 }) }
}

fn decode<T: Document>(object: &str, bytes: &Bytes) -> Result<T, Error> {
    document::unpack(bytes).map_err(|source| Error::Document { object: object.to_owned(), source })
}

/// The bytes of an object; `None` where it does not exist.
async fn get(store: &Store, key: &ObjectKey) -> Result<Option<Bytes>, Error> {
    let failed = |source| Error::Store { object: key.to_string(), source };
    let Some(found) = store.find(key).await.map_err(failed)? else { return Ok(None) };
    document::check_size(found.meta.size).map_err(|source| Error::Document { object: key.to_string(), source })?;
    found.bytes().await.map(Some).map_err(failed)
}

/// The log as it was at the newest checkpoint that was cut at or before `instant`; `None` where there is none that `log`
/// confirms. One request for each halving of the checkpoints.
///
/// # Errors
/// [`Error`], where a checkpoint cannot be read.
pub async fn open_before(store: &Store, log: &Log, instant: TimestampMs) -> Result<Option<Log>, Error> {
    let shard = log.state.shard;
    let mut listed = checkpoints(store, shard).await?;
    let mut found = None;
    while !listed.is_empty() {
        let later = listed.split_off(listed.len() / 2);
        let (sequence, key) = &later[0];
        let read = checkpoint(store, key, *sequence, &log.identity, log.state.identity).await;
        match read {
            Ok((checkpoint, sha256)) if checkpoint.state.head.is_some_and(|head| head.observed_at <= instant) => {
                found = Some((key.clone(), *sequence, checkpoint, sha256));
                listed = later[1..].to_vec();
            }
            Ok(_) => {}
            Err(error) if error.is_retryable() => return Err(error),
            // It proves nothing, in either direction; its neighbours do.
            Err(_) => listed.extend_from_slice(&later[1..]),
        }
    }
    Ok(found.map(|(key, sequence, checkpoint, sha256)| {
        at_checkpoint(log.identity.clone(), (key, sequence, checkpoint, sha256), Vec::new())
    }))
}

#[cfg(test)]
mod tests;
