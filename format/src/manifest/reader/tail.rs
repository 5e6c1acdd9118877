//! The manifests after the newest checkpoint, to the end of the log, and that none stands beyond it: then the end would be a hole, and
//! what was written there would fork the log.
//!
//! ```text
//! list: names after the checkpoint's ─▶ those without a hole, each by GET ─▶ the next slot by GET: nothing there is the end
//!                                                                             │ something: the list was late
//! look: windows of slots by GET, up to a missing one ◀────────────────────────┘ ─▶ beyond it by HEAD: nothing there is the end
//! ```
//! A list shows every manifest beyond a hole, and takes a request for a thousand names. It may be a moment late, which does no harm to who
//! only reads: the next slot is asked for itself.

use std::ops::Range;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::{ObjectStore as _, ObjectStoreExt as _};

use super::{Error, Log, WINDOW, fold, get, hole_error};
use crate::ids::{Sequence, Shard};
use crate::layout;
use crate::store::{Kind, Store};

/// How far beyond the end of the log is looked for manifests that must not be there.
pub(super) const LOOK_BEYOND: [u64; 5] = [64, 128, 256, 512, 1024];

/// How the end of a log is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// By a list of what comes after.
    List,
    /// By the objects themselves.
    Look,
}

impl Search {
    /// What is cheaper for who only reads: a directory has to be walked as a whole, and requests to it cost nothing.
    pub(super) fn for_reading(store: &Store) -> Self {
        if matches!(store.kind, Kind::Filesystem(_)) { Self::Look } else { Self::List }
    }
}

/// Fetches and folds the manifests after the state's head, until there is none.
pub(super) async fn read(store: &Store, log: &mut Log, search: Search) -> Result<(), Error> {
    if search == Search::List
        && let Some(names) = listed(store, log).await?
        && read_listed(store, log, &names).await?
    {
        return Ok(());
    }
    look(store, log).await
}

/// The manifests after the state's head by a list, in order; `None` where the store does not begin its list there: then it would be one
/// of the whole history.
async fn listed(store: &Store, log: &Log) -> Result<Option<Vec<Sequence>>, Error> {
    let (shard, head) = (log.state.shard, log.state.head.map(|head| head.sequence));
    let folder = layout::manifests(shard);
    let failed = |source| Error::Store { object: folder.to_string(), source };
    let prefix = folder.below(&store.prefix);
    let mut names = match head {
        Some(head) => store.inner.list_with_offset(Some(&prefix), &layout::manifest(shard, head).below(&store.prefix)),
        None => store.inner.list(Some(&prefix)),
    };
    let mut found = Vec::new();
    while let Some(meta) = names.try_next().await.map_err(failed)? {
        let Some(sequence) = layout::manifest_sequence(meta.location.as_ref()) else { continue };
        if layout::manifest(shard, sequence).below(&store.prefix) != meta.location {
            continue;
        }
        if Some(sequence) <= head {
            return Ok(None);
        }
        found.push(sequence);
    }
    found.sort_unstable();
    Ok(Some(found))
}

/// Fetches and folds what is listed, up to the first that is not; `false` where that one is there all the same, and what comes after it
/// is not known.
async fn read_listed(store: &Store, log: &mut Log, listed: &[Sequence]) -> Result<bool, Error> {
    let (shard, first) = (log.state.shard, log.state.next_sequence().get());
    let in_order = listed.iter().zip(first..).take_while(|(found, slot)| found.get() == *slot).count() as u64;
    let mut fetched = fetch(store, shard, first..first.saturating_add(in_order + 1));
    while let Some((sequence, bytes)) = fetched.try_next().await? {
        let Some(bytes) = bytes else {
            return match listed.iter().find(|found| **found > sequence) {
                Some(beyond) => Err(hole_error(shard, sequence, &layout::manifest(shard, *beyond))),
                None => Ok(true),
            };
        };
        fold(log, &layout::manifest(shard, sequence), &bytes)?;
    }
    Ok(false)
}

/// The manifests of these slots, in order; `None` where there is none.
fn fetch(
    store: &Store,
    shard: Shard,
    slots: Range<u64>,
) -> impl Stream<Item = Result<(Sequence, Option<Bytes>), Error>> {
    futures::stream::iter(slots.map(Sequence::new))
        .map(move |sequence| async move {
            Ok::<_, Error>((sequence, get(store, &layout::manifest(shard, sequence)).await?))
        })
        .buffered(usize::try_from(WINDOW).unwrap_or(1))
}

/// Fetches and folds window after window, until a slot is empty.
async fn look(store: &Store, log: &mut Log) -> Result<(), Error> {
    let shard = log.state.shard;
    loop {
        let first = log.state.next_sequence().get();
        let fetched: Vec<_> = fetch(store, shard, first..first.saturating_add(WINDOW)).try_collect().await?;
        let mut missing = None;
        for (sequence, bytes) in fetched {
            let key = layout::manifest(shard, sequence);
            match (bytes, missing) {
                (None, None) => missing = Some(sequence),
                (None, Some(_)) => {}
                (Some(_), Some(hole)) => return Err(hole_error(shard, hole, &key)),
                (Some(bytes), None) => fold(log, &key, &bytes)?,
            }
        }
        if let Some(end) = missing {
            return nothing_beyond(store, log, end, first.saturating_add(WINDOW)).await;
        }
    }
}

/// Fails where a manifest stands beyond the end. Up to `unread` all slots have been looked at; so many as a window has are looked at
/// wherever the end lies in its own.
async fn nothing_beyond(store: &Store, log: &Log, end: Sequence, unread: u64) -> Result<(), Error> {
    let shard = log.state.shard;
    let near = unread..end.get().saturating_add(WINDOW);
    let far = LOOK_BEYOND.map(|step| end.get().saturating_add(step));
    let found: Vec<_> = futures::stream::iter(near.chain(far))
        .map(|sequence| async move {
            let sequence = Sequence::new(sequence);
            let key = layout::manifest(shard, sequence);
            match store.inner.head(&key.below(&store.prefix)).await {
                Ok(_) => Ok(Some(key)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(source) => Err(Error::Store { object: key.to_string(), source }),
            }
        })
        .buffered(usize::try_from(WINDOW).unwrap_or(1))
        .try_collect()
        .await?;
    match found.into_iter().flatten().next() {
        Some(witness) => Err(hole_error(shard, end, &witness)),
        None => Ok(()),
    }
}
