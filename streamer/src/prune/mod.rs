//! `prune`: deletes the objects of what the log does not hold any longer.
//!
//! ```text
//! newest log ────────────────▶ what it names ─┐
//! log of a grace period ago ─▶ what it named ─┴▶ Keep ──▶ listing of the store ──▶ all else that is old enough: deleted
//! ```
//!
//! Owns: reading both logs, listing, deleting. Does not own: what may go ([`plan`], pure), or what is retired
//! ([`crate::retire`]): nothing goes that the log held at any time within the grace period. Apart from the streamer, whose
//! credentials need not allow it to delete.
//!
//! Invariants: whatever cannot be read, nothing is deleted; nor where it is not known any more what the log named a grace period ago;
//! manifests, the identity, the keys and what restores keep are never deleted.

pub mod plan;
pub mod report;

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore as _};
use strimzi_backup_format::ids::{Shard, TimestampMs};
use strimzi_backup_format::job::Job;
use strimzi_backup_format::layout;
use strimzi_backup_format::manifest::reader::{self, Log};
use strimzi_backup_format::snapshot::Snapshot;
use strimzi_backup_format::snapshot::catalog;
use strimzi_backup_format::store::{ErrorKind, Store};

use self::plan::{Keep, Kind, Listed};
use self::report::{Refused, Report};
use crate::clock::Clock;
use crate::error::Error;
use crate::retire;

/// Objects deleted at once.
const AT_ONCE: usize = 8;

/// Lists of segments read at once: one may have some 200,000 runs, and nothing counts what they take in memory.
const LISTS_AT_ONCE: usize = 2;

/// A restore reads the log before it keeps its plan: by this much, at most.
const PLANNING_MILLIS: i64 = 3_600_000;

/// An object that no log names may be on its way into the log: it is left alone for so long, whatever the grace period.
const YOUNG_MILLIS: i64 = 3_600_000;

/// Why nothing was deleted.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// The clocks do not agree.
    #[error(
        "this machine's clock and the store's differ by {}; set it right: nothing is deleted while nobody knows what is old",
        humantime::format_duration(std::time::Duration::from_secs(.0 / 1000))
    )]
    Clock(u64),
    /// Something that decides about it cannot be read.
    #[error("nothing was deleted")]
    Unread(#[from] retire::Error),
    /// The store does not give its listing.
    #[error("list {folder}; nothing was deleted")]
    List {
        /// The folder.
        folder: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// The store deletes nothing.
    #[error(
        "the store refuses to delete: {refused}; check that these credentials may delete below the prefix (s3:DeleteObject). \
         Leave it to no lifecycle rule of the bucket: that would delete what is kept, too"
    )]
    Refused {
        /// The first object, and what the store said.
        refused: Refused,
    },
}

impl PruneError {
    /// Whether the log, or what stands beside it, is not what was written.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Unread(retire::Error::Log(error)) => error.is_damage(),
            Self::Unread(retire::Error::Snapshot(error)) => error.is_damage(),
            _ => false,
        }
    }
}

/// Deletes what may go, or, with `dry_run`, only says what would.
///
/// Killed at any point, the next run goes on: what is gone is not listed any more.
///
/// # Errors
/// [`Error::NoBackup`], [`Error::Foreign`], [`Error::Read`] or [`Error::Prune`]; nothing was deleted then, but where the
/// store refused to.
pub async fn run(store: &Store, job: &Job, dry_run: bool, clock: &impl Clock) -> Result<Report, Error> {
    // As a writer: what a list that is late does not show of the log must not go.
    let log = reader::open_to_write(store, Shard::ONLY).await?;
    let log = log.ok_or_else(|| Error::NoBackup(store.description.clone()))?;
    log.identity.admits(&job.name, &log.identity.cluster)?;
    let now = clock.now();
    let Some(head) = log.state.head else { return Ok(Report::new(store, dry_run, now, &log.state)) };
    if let Some(by) = retire::clock_differs(store, &log.state, head, now).await.map_err(PruneError::from)? {
        return Err(PruneError::Clock(by).into());
    }
    let grace = i64::try_from(job.retention.grace.as_millis()).unwrap_or(i64::MAX);
    let restores = retire::unfinished_restores(store, now).await.map_err(PruneError::from)?;
    let mut report = Report::new(store, dry_run, now, &log.state);
    let mut cutoff = now.plus_millis(-grace);
    if let Some(oldest) = restores.first() {
        report.pinned_by(oldest);
        cutoff = cutoff.min(oldest.since.plus_millis(-PLANNING_MILLIS));
    }
    let Some(then) = reader::open_before(store, &log, cutoff).await? else { return Ok(report) };
    let keep = match keep(store, &log, &then).await? {
        Known::All(keep) => keep,
        Known::Forgotten(object) => {
            report.forgotten(object);
            return Ok(report);
        }
    };
    report.as_of(&then.state);
    let young = cutoff.min(now.plus_millis(-YOUNG_MILLIS));
    let plan = look(store, &keep, young, &mut report).await?;
    if dry_run {
        report.would_delete(&plan);
        return Ok(report);
    }
    delete(store, plan, &mut report).await?;
    Ok(report)
}

/// What the two logs name, as far as that can still be known.
#[derive(Debug)]
enum Known {
    /// All of it.
    All(Keep),
    /// This bucket manifest of *then* is gone, and the newest log does not name it any more: an earlier prune, with a shorter grace
    /// period, has deleted it. Any object may be one that *then* named.
    Forgotten(String),
}

/// Everything that the newest log, or the one of *then*, names.
async fn keep(store: &Store, newest: &Log, then: &Log) -> Result<Known, reader::Error> {
    let mut keep = Keep::new(then);
    // First what must be there: a bucket manifest that this one names was never pruned.
    add(store, &mut keep, newest).await?;
    match add(store, &mut keep, then).await {
        Ok(()) => Ok(Known::All(keep)),
        Err(reader::Error::Missing { object, .. }) if layout::bucket_manifest_sequence(&object).is_some() => {
            Ok(Known::Forgotten(object))
        }
        Err(error) => Err(error),
    }
}

/// Adds everything that a log names.
async fn add(store: &Store, keep: &mut Keep, log: &Log) -> Result<(), reader::Error> {
    log.group_images().for_each(|object| keep.add(object));
    log.tail.iter().flat_map(|manifest| manifest.named_segments()).for_each(|segment| {
        if log.state.holds(segment) {
            keep.add(&segment.object);
        }
    });
    let listings = log.listings(|_| true, |_| true);
    listings.iter().for_each(|listing| keep.add(listing.object()));
    let mut read = futures::stream::iter(&listings).map(|listing| log.read(store, listing)).buffered(LISTS_AT_ONCE);
    while let Some(segments) = read.try_next().await? {
        segments.iter().filter(|segment| log.state.holds(segment)).for_each(|segment| keep.add(&segment.object));
    }
    Ok(())
}

/// Lists the store, and plans what goes.
async fn look(store: &Store, keep: &Keep, young: TimestampMs, report: &mut Report) -> Result<Vec<Listed>, Error> {
    let mut plan = Vec::new();
    for kind in Kind::ALL {
        let folder = kind.folder();
        let failed = |source| PruneError::List { folder: folder.to_string(), source };
        let prefix = folder.below(&store.prefix);
        let mut listed = store.inner.list(Some(&prefix));
        while let Some(meta) = listed.try_next().await.map_err(failed)? {
            let Some(object) = object(store, kind, &meta) else { continue };
            let snapshot = match (kind, layout::snapshot_id(&object.key)) {
                (Kind::Snapshot, Some(id)) => load(store, keep, &id).await?,
                _ => None,
            };
            match keep.judge(&object, snapshot.as_ref(), young) {
                plan::Verdict::Keep => {}
                plan::Verdict::Young => report.young(&object),
                plan::Verdict::Delete => plan.push(object),
            }
        }
    }
    Ok(plan)
}

async fn load(
    store: &Store,
    keep: &Keep,
    id: &strimzi_backup_format::ids::SnapshotId,
) -> Result<Option<Snapshot>, Error> {
    let loaded = catalog::load(store, keep.backup(), id).await;
    Ok(loaded.map_err(|error| PruneError::from(retire::Error::from(error)))?)
}

fn object(store: &Store, kind: Kind, meta: &ObjectMeta) -> Option<Listed> {
    let key = layout::key_at(&meta.location, &store.prefix)?.to_owned();
    let modified = TimestampMs::new(meta.last_modified.timestamp_millis());
    Some(Listed { kind, key, location: meta.location.clone(), bytes: meta.size, modified })
}

/// Deletes what is planned. One that the store refuses is left for the next time.
async fn delete(store: &Store, plan: Vec<Listed>, report: &mut Report) -> Result<(), Error> {
    let mut waiting: BTreeMap<Path, Listed> =
        plan.into_iter().map(|listed| (listed.location.clone(), listed)).collect();
    let locations: Vec<Path> = waiting.keys().cloned().collect();
    let mut deleting = futures::stream::iter(locations)
        .map(|location| async move {
            let one = futures::stream::iter([Ok(location.clone())]).boxed();
            (location, store.inner.delete_stream(one).try_collect::<Vec<_>>().await)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((location, done)) = deleting.next().await {
        let Some(listed) = waiting.remove(&location) else { continue };
        match done {
            Ok(_) => report.deleted(&listed),
            Err(error) if ErrorKind::of(&error) == ErrorKind::NotFound => report.deleted(&listed),
            Err(error) => report.refused(&listed, &error),
        }
    }
    drop(deleting);
    match report.refusal() {
        Some(refused) => Err(PruneError::Refused { refused }.into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
