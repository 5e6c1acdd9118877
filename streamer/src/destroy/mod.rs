//! `destroy`: deletes a whole backup, for good.
//!
//! ```text
//! backup.json ─▶ is it the one that was named? ─▶ does a writer live, is a restore under way? ─▶ all objects of the layout
//!                                                                             what came meanwhile? ─▶ backup.json
//! ```
//!
//! Owns: looking whether it may, listing, deleting. Does not own: which objects are the backup's and in which order they go
//! ([`plan`], pure).
//!
//! Invariants: no other backup than the one that was named is deleted; what has no key of the layout is left alone; `backup.json`
//! goes last, so that a start after a crash finds what it has to go on with.

pub mod plan;
pub mod report;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use strimzi_backup_format::ids::{BackupId, RestoreId, Sequence, Shard, TimestampMs};
use strimzi_backup_format::job::Job;
use strimzi_backup_format::layout;
use strimzi_backup_format::manifest::reader;
use strimzi_backup_format::store::{ErrorKind, Store};

use self::plan::{Found, Stage};
use self::report::Report;
use crate::app::sweep;
use crate::claim::alive_for;
use crate::clock::Clock;
use crate::error::Error;
use crate::prune::report::Refused;
use crate::retire;

/// Objects that are listed before they are deleted: what S3 takes in eight requests, some megabytes of keys.
const BATCH: usize = 8000;

/// Objects that are deleted alone at once.
const AT_ONCE: usize = 8;

/// Why the backup is still there.
#[derive(Debug, thiserror::Error)]
pub enum DestroyError {
    /// Another backup lies there.
    #[error("the prefix holds backup {found}, and --backup names {wanted}; nothing was deleted")]
    Another {
        /// The id in the store.
        found: BackupId,
        /// The one that was named.
        wanted: BackupId,
    },
    /// Something writes.
    #[error(
        "a streamer lives: it wrote manifest {0} just now; nothing was deleted. Stop it, wait until it has ended, and run this \
         again"
    )]
    Alive(Sequence),
    /// A restore reads what would go.
    #[error(
        "the restore {0} is under way; nothing was deleted. Let it end; if it was given up for good, delete restores/{0}/ below \
         the prefix, and run this again"
    )]
    Restore(RestoreId),
    /// Whether a restore is under way cannot be found out.
    #[error("nothing was deleted")]
    Unread(#[from] retire::Error),
    /// The store does not give its listing.
    #[error("list {folder}; run this again to go on")]
    List {
        /// The folder.
        folder: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// Something was written while everything was deleted.
    #[error(
        "{0} objects of a backup came while it was deleted: something writes there. Stop it, wait until it has ended, and run \
         this again; backup.json is left until then"
    )]
    Came(u64),
    /// The store did not delete everything.
    #[error("the store refuses to delete {objects} objects, the first: {first}; {}", way_out(*protected))]
    Refused {
        /// How many.
        objects: u64,
        /// The first object, and what the store said.
        first: Refused,
        /// Whether the store says of all that it protects them.
        protected: bool,
    },
}

/// What to do about refusals.
const fn way_out(protected: bool) -> &'static str {
    if protected {
        "it protects them (Object Lock, legal holds): run this again when it does not any longer; backup.json is left until then"
    } else {
        "check that these credentials may delete below the prefix (s3:DeleteObject), and run this again; backup.json is left \
         until then"
    }
}

/// Deletes everything of `backup`, where that is the one that lies under the store's prefix. Unless its writer is known to
/// have `stopped`, it waits, for up to the time after which one counts as dead, whether a manifest comes.
///
/// Killed at any point, the next run goes on. What the store refused is in the report; see [`Report::outcome`].
///
/// # Errors
/// [`Error::Read`], where `backup.json` cannot be read; [`Error::Destroy`].
pub async fn run(
    store: &Store,
    job: &Job,
    backup: BackupId,
    stopped: bool,
    clock: &impl Clock,
) -> Result<Report, Error> {
    let mut report = Report::new(store, backup);
    let Some((identity, stored)) = reader::stored_identity(store).await? else {
        report.gone = true;
        survey(store, &mut report).await?;
        return Ok(report);
    };
    if identity.backup != backup {
        return Err(DestroyError::Another { found: identity.backup, wanted: backup }.into());
    }
    let restores = retire::unfinished_restores(store, clock.now()).await.map_err(DestroyError::from)?;
    if let Some(restore) = restores.into_iter().next() {
        return Err(DestroyError::Restore(restore.id).into());
    }
    if !stopped {
        silence(store, alive_for(&job.backup), clock).await?;
    }
    for stage in Stage::ALL {
        clear(store, stage, &mut report).await?;
        if report.is_hopeless() {
            return Ok(report);
        }
    }
    survey(store, &mut report).await?;
    let came = std::mem::take(&mut report.left).objects;
    if report.refused.objects > 0 {
        return Ok(report);
    }
    if came > 0 {
        return Err(DestroyError::Came(came).into());
    }
    let key = layout::identity();
    let last = Found { location: key.below(&store.prefix), key: key.to_string(), bytes: stored.len() as u64 };
    delete(store, None, vec![last], &mut report).await;
    report.gone = report.refused.objects == 0;
    if report.gone {
        let (store, now) = (store.clone(), clock.now());
        drop(tokio::task::spawn_blocking(move || sweep(&store, now)).await);
    }
    Ok(report)
}

/// Waits until the newest manifest is so old that no writer lives, and fails where a newer one comes.
async fn silence(store: &Store, alive_for: Duration, clock: &impl Clock) -> Result<(), Error> {
    let Some((newest, written)) = newest(store).await? else { return Ok(()) };
    let rest = alive_for.saturating_sub(Duration::from_millis(clock.now().millis_since(written)));
    if rest.is_zero() {
        return Ok(());
    }
    tracing::info!(manifest = %newest, wait_s = rest.as_secs(), "waiting whether a streamer writes another manifest");
    tokio::time::sleep(rest).await;
    match self::newest(store).await? {
        Some((later, _)) if later > newest => Err(DestroyError::Alive(later).into()),
        _ => Ok(()),
    }
}

/// The newest manifest, and when it was written by the store's clock. The log is not read: it may be damaged.
async fn newest(store: &Store) -> Result<Option<(Sequence, TimestampMs)>, Error> {
    let shard = Shard::ONLY;
    let checkpoints = reader::checkpoints(store, shard).await?;
    let before = checkpoints.last().map_or(0, |(sequence, _)| sequence.get().saturating_sub(1));
    let offset = layout::manifest(shard, Sequence::new(before)).below(&store.prefix);
    let folder = layout::manifests(shard);
    let failed = |source| DestroyError::List { folder: folder.to_string(), source };
    let mut listed = store.inner.list_with_offset(Some(&folder.below(&store.prefix)), &offset);
    let mut newest: Option<(Sequence, TimestampMs)> = None;
    while let Some(meta) = listed.try_next().await.map_err(failed)? {
        let written = TimestampMs::new(meta.last_modified.timestamp_millis());
        newest = newest.max(layout::manifest_sequence(meta.location.as_ref()).map(|sequence| (sequence, written)));
    }
    Ok(newest)
}

/// Deletes what goes in a stage.
async fn clear(store: &Store, stage: Stage, report: &mut Report) -> Result<(), Error> {
    let folder = Path::from_iter(store.prefix.parts().chain(Path::from(stage.folder()).parts()));
    let mut listed = store.inner.list(Some(&folder)).chunks(BATCH);
    while let Some(batch) = listed.next().await {
        let mut goes = Vec::with_capacity(batch.len());
        for meta in batch {
            let meta = meta.map_err(|source| DestroyError::List { folder: stage.folder().to_owned(), source })?;
            goes.extend(Found::below(&store.prefix, &meta).filter(|found| found.goes_in(stage)));
        }
        delete(store, Some(stage), goes, report).await;
        if report.is_hopeless() {
            return Ok(());
        }
    }
    Ok(())
}

/// Deletes objects, many in a request where the store can do that. Whose an error is, not every store says then: what was not
/// confirmed is deleted once more, alone.
async fn delete(store: &Store, stage: Option<Stage>, goes: Vec<Found>, report: &mut Report) {
    let mut waiting: BTreeMap<Path, Found> = goes.into_iter().map(|found| (found.location.clone(), found)).collect();
    let locations: Vec<object_store::Result<Path>> = waiting.keys().cloned().map(Ok).collect();
    let mut together = store.inner.delete_stream(futures::stream::iter(locations).boxed());
    while let Some(done) = together.next().await {
        if let Some(found) = done.ok().and_then(|location| waiting.remove(&location)) {
            report.deleted(stage, &found);
        }
    }
    let mut alone = futures::stream::iter(waiting.into_values())
        .map(|found| async move {
            let done = store.inner.delete(&found.location).await;
            (found, done)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((found, done)) = alone.next().await {
        match done {
            Ok(()) => report.deleted(stage, &found),
            Err(error) if ErrorKind::of(&error) == ErrorKind::NotFound => report.deleted(stage, &found),
            Err(error) => report.refused(&found, &error),
        }
        if report.is_hopeless() {
            return;
        }
    }
}

/// Counts what is left below the prefix, but for `backup.json`: of a backup, and of others.
async fn survey(store: &Store, report: &mut Report) -> Result<(), Error> {
    let failed = |source| DestroyError::List { folder: store.description.clone(), source };
    let mut listed = store.inner.list(Some(&store.prefix));
    while let Some(meta) = listed.try_next().await.map_err(failed)? {
        match Found::below(&store.prefix, &meta) {
            Some(found) if found.key == layout::identity().as_str() => {}
            Some(found) if layout::is_known(&found.key) => report.left(&found),
            Some(found) => report.foreign(found),
            None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
