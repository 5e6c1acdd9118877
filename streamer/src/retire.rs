//! Retiring: instants that are not kept any longer, and the records that only they needed.
//!
//! ```text
//! policy, snapshots ──▶ window ──▶ judge ──▶ sealed buckets before it ──▶ Gleaner ─┬─────────▶ Retired ──▶ the next manifest
//!                                    │                                               └▶ bases ─┘
//!                                    └─▶ held, paused: nothing goes, and why is told
//! ```
//!
//! Owns: what is looked at before anything goes: the clock, restores under way. Does not own: what goes
//! ([`strimzi_backup_format::retention`], pure), making bases ([`crate::base`]), the manifest, or deleting objects
//! ([`crate::prune`]).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use strimzi_backup_format::ids::{RestoreId, Sequence, TimestampMs};
use strimzi_backup_format::job::Retention;
use strimzi_backup_format::layout::{self, ObjectKey};
use strimzi_backup_format::manifest::{Retired, Segment, reader};
use strimzi_backup_format::retention::{self, Aged, Boundary, Gleaner, Verdict};
use strimzi_backup_format::seal::{Sealed, SealedBucket};
use strimzi_backup_format::slice::Ends;
use strimzi_backup_format::snapshot::{Snapshot, catalog};
use strimzi_backup_format::state::{Head, State};
use strimzi_backup_format::store::Store;

use crate::base::{self, Made};
use crate::budget::Charge;
use crate::clock::Clock;
use crate::error::chain;
use crate::pipeline::produce::Workshop;
use crate::refine::{self, Limits};

/// How far the clock may be from the store's. Beyond, nobody knows which instants are old.
const CLOCK_TOLERANCE_MILLIS: u64 = 600_000;

/// How long a restore that has not come to its end keeps everything as it is. Then it counts as given up.
pub const RESTORE_PINS_MILLIS: i64 = 7 * 86_400_000;

/// Snapshots read at once.
const READS_AT_ONCE: usize = 8;

/// Bucket manifests read at once: one may have some 200,000 runs, and no budget counts what they take in memory.
const BUCKETS_AT_ONCE: usize = 2;

/// What is looked at.
#[derive(Debug)]
pub struct Order<C> {
    /// Where bases are made, and the store.
    pub shop: Arc<Workshop<C>>,
    /// Files that this writer has made of others.
    pub numbers: Arc<AtomicUsize>,
    /// What bases may hold in memory, charged.
    pub memory: (Limits, Charge),
    /// What the log says.
    pub state: State,
    /// What is sealed of it.
    pub sealed: Option<Sealed>,
    /// What is to be kept.
    pub policy: Retention,
    /// The present.
    pub now: TimestampMs,
}

/// What has come of it.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing is older than what is kept.
    Nothing,
    /// This goes, and these bucket manifests list nothing any more.
    Retire(Box<Retired>, Vec<ObjectKey>),
    /// Something would go, and must not.
    Held(Held),
}

/// Why nothing goes although something is older than what is kept, or may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// What is kept would be shortened by more than half at once.
    Shrinks {
        /// Milliseconds kept now.
        from: u64,
        /// Milliseconds that would be kept.
        to: u64,
    },
    /// The clock and the store's differ by so many milliseconds.
    Clock(u64),
    /// A restore is under way.
    Restore(RestoreId),
    /// The last look failed, in these words.
    Failed(String),
}

impl Held {
    /// Each name of a reason.
    pub const REASONS: [&str; 4] = ["Shrinks", "Clock", "Restore", "Failed"];

    /// Why nothing goes after a look that came to this; `None` where something may, or nothing is old.
    pub fn after(look: &Result<Outcome, Error>) -> Option<Self> {
        match look {
            Ok(Outcome::Nothing | Outcome::Retire(..)) => None,
            Ok(Outcome::Held(held)) => Some(held.clone()),
            Err(error) => Some(Self::Failed(chain(error))),
        }
    }

    /// The name of the reason, as metrics and the status have it.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Shrinks { .. } => "Shrinks",
            Self::Clock(_) => "Clock",
            Self::Restore(_) => "Restore",
            Self::Failed(_) => "Failed",
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |millis: u64| humantime::format_duration(std::time::Duration::from_secs(millis / 1000));
        match self {
            Self::Shrinks { from, to } => {
                let (from, to) = (span(*from), span(*to));
                write!(
                    f,
                    "retention would keep {to} where {from} are kept now; set retention.acknowledgeShrinkTo to {to} or less if \
                     that is meant"
                )
            }
            Self::Clock(by) => {
                let by = span(*by);
                write!(f, "the clock and the store's differ by {by}; nothing is retired until they agree")
            }
            Self::Restore(id) => {
                write!(
                    f,
                    "the restore {id} is under way; nothing is retired before its end, or seven days after it began"
                )
            }
            Self::Failed(why) => {
                write!(
                    f,
                    "the last look for what is not kept any longer failed: {why}; it is tried once an hour, and nothing is retired \
                     before one succeeds; `strimzi-backup verify --level 2` says which objects cannot be read"
                )
            }
        }
    }
}

/// Why it could not be found out. Nothing goes then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] reader::Error),
    /// A snapshot cannot be read: what it needs is not known.
    #[error(transparent)]
    Snapshot(#[from] catalog::Error),
    /// Old records cannot be read or written anew.
    #[error(transparent)]
    Base(#[from] refine::Error),
    /// The store does not answer.
    #[error("read {object}")]
    Store {
        /// What was asked for.
        object: String,
        /// What it said.
        source: object_store::Error,
    },
}

/// Finds out what goes.
///
/// # Errors
/// [`Error`], where anything that decides about it cannot be read.
pub async fn retire<C: Clock>(order: Order<C>) -> Result<Outcome, Error> {
    let Order { shop, state, policy, now, .. } = &order;
    let store = &shop.store;
    let (boundaries, cuts) = kept_snapshots(store, state).await?;
    let Some(wanted) = retention::window(policy, &boundaries, *now) else { return Ok(Outcome::Nothing) };
    let window = match retention::judge(policy, state, wanted, *now) {
        Verdict::Unmoved => return Ok(Outcome::Nothing),
        Verdict::Held { from_millis: from, to_millis: to, .. } => {
            return Ok(Outcome::Held(Held::Shrinks { from, to }));
        }
        Verdict::Move(window) => window,
    };
    if let Some(head) = state.head
        && let Some(by) = clock_differs(store, state, head, *now).await?
    {
        return Ok(Outcome::Held(Held::Clock(by)));
    }
    if let Some(held) = held_by_restore(store, *now).await? {
        return Ok(Outcome::Held(held));
    }
    let outcome = glean(&order, window, &cuts).await?;
    // Bases take their time. A restore that was planned meanwhile could not go on after a crash.
    let held = held_by_restore(store, *now).await?;
    Ok(held.map_or(outcome, Outcome::Held))
}

async fn held_by_restore(store: &Store, now: TimestampMs) -> Result<Option<Held>, Error> {
    let oldest = unfinished_restores(store, now).await?.into_iter().next();
    Ok(oldest.map(|restore| Held::Restore(restore.id)))
}

/// Goes through the sealed buckets in which something may go.
async fn glean<C: Clock>(order: &Order<C>, window: TimestampMs, cuts: &Ends) -> Result<Outcome, Error> {
    let Order { shop, state, sealed, .. } = order;
    let store = &shop.store;
    let nothing = || Retired {
        before: window,
        starts: Vec::new(),
        base: Vec::new(),
        group_images_before: None,
        freed: Default::default(),
    };
    let Some((sealed, refined)) = sealed.as_ref().and_then(|sealed| Some((sealed, sealed.refined?))) else {
        return Ok(Outcome::Retire(Box::new(nothing()), Vec::new()));
    };
    let limits = retention::Limits { refined, sealed: sealed.through, cuts };
    let mut gleaner = Gleaner::new(state, window, limits);
    let end = gleaner.end();
    let (old, young): (Vec<SealedBucket>, Vec<SealedBucket>) =
        sealed.buckets.iter().cloned().partition(|sealed| sealed.bucket < end);
    let mut read = futures::stream::iter(old)
        .map(|bucket| async move {
            let segments = reader::read_bucket(store, state.backup, &bucket).await?;
            Ok::<_, Error>((bucket, segments))
        })
        .buffered(BUCKETS_AT_ONCE);
    let mut emptied = Vec::new();
    while let Some((bucket, segments)) = read.try_next().await? {
        let stays = segments.iter().filter(|segment| gleaner.take(segment)).count();
        if stays == 0 {
            emptied.push(bucket.object);
        }
    }
    let unread = young.iter().filter_map(|bucket| bucket.min_timestamp).min();
    let made = bases(order, gleaner.aged(), window).await?;
    let retired = gleaner.finish(unread.unwrap_or(TimestampMs::new(i64::MAX)), made);
    Ok(Outcome::Retire(Box::new(retired), emptied))
}

/// Makes the bases that are due, one after the other; `None` for one that there is no room to make.
async fn bases<C: Clock>(
    order: &Order<C>,
    due: Vec<Aged>,
    window: TimestampMs,
) -> Result<Vec<(Aged, Option<Vec<Segment>>)>, Error> {
    let Order { shop, numbers, memory: (limits, _), state, .. } = order;
    let sequence = state.head.map_or(Sequence::new(0), |head| head.sequence);
    let mut made = Vec::new();
    for aged in due {
        let topic = aged.topic().map(ToString::to_string);
        let base = base::make(shop, &aged, window, (sequence, numbers), *limits).await?;
        match &base {
            Some(Made { segments, dropped }) => {
                tracing::info!(topic, dropped, segments = segments.len(), "kept of old records the newest of each key");
            }
            None => tracing::warn!(
                topic,
                "a partition has more old records than memory has room to decide about; the topic is kept whole; raise \
                 backup.memoryBudget"
            ),
        }
        made.push((aged, base.map(|base| base.segments)));
    }
    Ok(made)
}

/// The snapshots of this backup that are kept, and where the lowest of them ends in each partition. One that is older than what is
/// kept is no boundary any more.
async fn kept_snapshots(store: &Store, state: &State) -> Result<(Vec<Boundary>, Ends), Error> {
    let listed = catalog::list(store).await?;
    let loaded: Vec<_> = futures::stream::iter(listed)
        .map(|listed| async move { catalog::load(store, state.backup, &listed.id).await })
        .buffered(READS_AT_ONCE)
        .try_collect()
        .await?;
    let is_kept = |at: &Snapshot| !at.is_retired(state.retired.map(|retired| retired.before));
    let (mut boundaries, mut cuts) = (Vec::new(), Ends::new());
    for snapshot in loaded.into_iter().flatten().filter(is_kept) {
        let (observed_at, keep_forever) = (snapshot.manifest.observed_at, snapshot.keep.is_some());
        boundaries.push(Boundary { observed_at, keep_forever });
        for position in snapshot.positions {
            let end = position.next_offset;
            let cut = cuts.entry(position.key()).or_insert(end);
            *cut = end.min(*cut);
        }
    }
    Ok((boundaries, cuts))
}

/// By how many milliseconds the clock, when it cut the newest manifest and now, differs from the store's; `None` where it is
/// near enough.
pub async fn clock_differs(store: &Store, state: &State, head: Head, now: TimestampMs) -> Result<Option<u64>, Error> {
    let key = layout::manifest(state.shard, head.sequence);
    let failed = |source| Error::Store { object: key.to_string(), source };
    let meta = store.inner.head(&key.below(&store.prefix)).await.map_err(failed)?;
    let stored_at = TimestampMs::new(meta.last_modified.timestamp_millis());
    let apart = |a: TimestampMs, b: TimestampMs| a.millis_since(b).max(b.millis_since(a));
    let by = apart(stored_at, head.observed_at);
    // The newest manifest is some seconds old. A clock that has gone back since is before it.
    let by = by.max(head.observed_at.millis_since(now));
    Ok(Some(by).filter(|by| *by > CLOCK_TOLERANCE_MILLIS))
}

/// A restore that has a plan and no report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its id.
    pub id: RestoreId,
    /// When its plan was kept, by the store's clock.
    pub since: TimestampMs,
}

/// The restores that have begun, not too long ago, and have not come to their end; the oldest first.
///
/// # Errors
/// [`Error::Store`].
pub async fn unfinished_restores(store: &Store, now: TimestampMs) -> Result<Vec<Unfinished>, Error> {
    let folder = layout::restores();
    let failed = |source| Error::Store { object: folder.to_string(), source };
    let found: Vec<_> = store.inner.list(Some(&folder.below(&store.prefix))).try_collect().await.map_err(failed)?;
    let (mut planned, mut done) = (Vec::new(), std::collections::BTreeSet::new());
    for meta in found {
        let mut parts =
            meta.location.parts().map(|part| part.as_ref().to_owned()).rev().collect::<Vec<_>>().into_iter();
        let (Some(file), Some(id)) = (parts.next(), parts.next()) else { continue };
        match (file.as_str(), RestoreId::new(&id)) {
            ("plan.json", Ok(id)) => {
                planned.push(Unfinished { id, since: TimestampMs::new(meta.last_modified.timestamp_millis()) });
            }
            ("report.json", Ok(id)) => drop(done.insert(id)),
            _ => {}
        }
    }
    planned.retain(|restore| !done.contains(&restore.id) && now < restore.since.plus_millis(RESTORE_PINS_MILLIS));
    planned.sort_by_key(|restore| restore.since);
    Ok(planned)
}

#[cfg(test)]
mod tests;
