//! `snapshot`: gives a name to a boundary that a restore can stop at.
//!
//! ```text
//! asked ─▶ reader::open ─▶ the next manifest, and the next … ─▶ first one observed at or after `asked` ─▶ snapshots/<id>.json
//!          name, anchor     one small request a second            (not seen when asked)                    create-once
//! ```
//!
//! Needs the store alone: the streamer commits on its own, at least every `backup.heartbeatInterval`. Invariants: what was
//! in the log when the snapshot was asked for is never the boundary, whatever the clocks say; nothing is written before the
//! boundary is there, and nothing but the snapshot; one that was created so late that it may lack something is no success
//! ([`late`]).

mod late;

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Serialize;
use strimzi_backup_format::ids::{BackupId, Nonce, Shard, SnapshotId, TimestampMs, TopicName};
use strimzi_backup_format::job::Job;
use strimzi_backup_format::layout;
use strimzi_backup_format::manifest::reader::{self, Log};
use strimzi_backup_format::snapshot::catalog::{self, Error as CatalogError};
use strimzi_backup_format::snapshot::{Keep, Label, Snapshot};
use strimzi_backup_format::store::Store;
use tokio::time::Instant;

use crate::clock::{Backoff, Clock};
use crate::error::Error;

/// The default of `--timeout`: a heartbeat and a commit at their defaults three times over.
pub const TIMEOUT: Duration = Duration::from_secs(120);

/// How often the next manifest is asked for: often beside a commit interval, and cheap.
const LOOK: Duration = Duration::from_secs(1);

/// How often a store that does not answer is asked to create the snapshot: a minute, about.
const ATTEMPTS: u64 = 10;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The snapshot's id; after the second it is asked for in where absent.
    pub id: Option<SnapshotId>,
    /// Who asks (`--request`). A snapshot that the same one has asked for under this id before is the answer: whoever was killed
    /// after it was created may ask again.
    pub by: Option<Nonce>,
    /// Whether it is kept whatever its age (`--keep-forever`).
    pub keep: Option<Keep>,
    /// How long to wait for a commit (`--timeout`). Default 2m; above `backup.heartbeatInterval`.
    pub timeout: Duration,
}

/// A snapshot that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// It.
    pub snapshot: Snapshot,
    /// Where it is, for people.
    pub storage: String,
}

/// Waits for a boundary and names it.
///
/// Dropped while it waits, it has written nothing.
///
/// # Errors
/// [`Error::Usage`] where the timeout is below what an idle streamer needs; [`Error::Foreign`] where the backup is another
/// job's; [`Error::Snapshot`] where the id is taken, or the store did not take the snapshot; [`Error::NoCommit`] where
/// nobody commits; [`Error::LateSnapshot`] where it was there too late; [`Error::NoBackup`], [`Error::NoStore`] and
/// [`Error::Read`].
pub async fn run(store: &Store, job: &Job, request: Request, clock: &impl Clock) -> Result<Taken, Error> {
    check_timeout(request.timeout, job.backup.heartbeat_interval)?;
    let asked_at = clock.now();
    let deadline = Instant::now() + request.timeout;
    let id = request.id.unwrap_or_else(|| SnapshotId::of_instant(asked_at));
    let log = reader::open(store, Shard::ONLY).await?;
    let log = log.ok_or_else(|| Error::NoBackup(store.description.clone()))?;
    // Which cluster the job's is, only a broker could say.
    log.identity.admits(&job.name, &log.identity.cluster)?;
    let before = Before { store, backup: log.identity.backup, by: request.by };
    if let Err(error) = catalog::check_free(store, &id).await {
        let snapshot = before.instead_of(error.into(), &id).await?;
        return before.in_time(log, snapshot, clock).await;
    }
    let log = Wait { store, asked_at, timeout: request.timeout, deadline }.boundary(log).await?;
    let nonce = request.by.unwrap_or_else(|| Nonce::new(clock.uuid()));
    let label = Label { id, nonce, asked_at, keep: request.keep };
    let snapshot = Snapshot::of(&log.state, label);
    let snapshot = snapshot.ok_or_else(|| Error::NoBackup(store.description.clone()))?;
    let snapshot = match create(store, &snapshot, clock).await {
        Ok(()) => snapshot,
        Err(error) => before.instead_of(error, &snapshot.id).await?,
    };
    before.in_time(log, snapshot, clock).await
}

/// What was asked for before.
struct Before<'a> {
    store: &'a Store,
    backup: BackupId,
    by: Option<Nonce>,
}

impl Before<'_> {
    /// The snapshot of that id, where the error is that it exists, and the same one has asked for it.
    async fn instead_of(&self, error: Error, id: &SnapshotId) -> Result<Snapshot, Error> {
        let (Error::Snapshot(CatalogError::Exists { .. }), Some(by)) = (&error, self.by) else { return Err(error) };
        let found = catalog::load(self.store, self.backup, id).await?;
        found.filter(|snapshot| snapshot.nonce == by).ok_or(error)
    }

    /// The snapshot that is there now, unless it came too late.
    async fn in_time(&self, mut log: Log, snapshot: Snapshot, clock: &impl Clock) -> Result<Taken, Error> {
        let backoff = Backoff::new();
        loop {
            match late::overtaken_by(self.store, &mut log, &snapshot).await {
                Ok(None) => return Ok(Taken { snapshot, storage: self.store.description.clone() }),
                Ok(Some(refined)) => {
                    let (boundary, object) = (snapshot.manifest.sequence, layout::snapshot(&snapshot.id).to_string());
                    return Err(Error::LateSnapshot { object, boundary, refined });
                }
                Err(error) if error.is_retryable() && backoff.attempts() < ATTEMPTS => {
                    tokio::time::sleep(backoff.next(clock)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn check_timeout(timeout: Duration, heartbeat: Duration) -> Result<(), Error> {
    if timeout > heartbeat {
        return Ok(());
    }
    let (timeout, heartbeat) = (humantime::format_duration(timeout), humantime::format_duration(heartbeat));
    Err(Error::Usage(format!(
        "--timeout {timeout} is not above backup.heartbeatInterval, {heartbeat}: an idle streamer commits no more often, and \
         the snapshot waits for its next commit; write a longer one"
    )))
}

/// Waiting for a commit.
struct Wait<'a> {
    store: &'a Store,
    asked_at: TimestampMs,
    timeout: Duration,
    deadline: Instant,
}

impl Wait<'_> {
    /// Follows the log up to the first manifest that was not there yet and is observed late enough.
    async fn boundary(&self, mut log: Log) -> Result<Log, Error> {
        let seen = log.tail.len();
        let mut failed = None;
        loop {
            match tokio::time::timeout_at(self.deadline, reader::advance(self.store, &mut log)).await {
                Ok(Ok(true)) if is_late_enough(&log, self.asked_at) => return Ok(log),
                Ok(Ok(true)) => continue,
                Ok(Ok(false)) => failed = None,
                Ok(Err(error)) if error.is_retryable() => failed = Some(error),
                Ok(Err(error)) => return Err(error.into()),
                // The deadline: so is the end of the next pause.
                Err(_) => {}
            }
            if Instant::now() + LOOK > self.deadline {
                return Err(self.too_late(&log, log.tail.len() - seen, failed));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn too_late(&self, log: &Log, came: usize, failed: Option<reader::Error>) -> Error {
        if let Some(source) = failed {
            return Error::NoStore { store: self.store.description.clone(), source: Box::new(source.into()) };
        }
        let writer = log.state.claims.last().map_or("nobody", |claim| claim.writer.as_str());
        let newest = log.state.head.map_or_else(
            || "the log has no manifest yet".to_owned(),
            |head| {
                let observed = head.observed_at.to_rfc3339();
                format!("the newest is manifest {} of {observed}, by {writer}", head.sequence)
            },
        );
        Error::NoCommit { asked: self.asked_at, timeout: self.timeout, newest, came }
    }
}

fn is_late_enough(log: &Log, asked_at: TimestampMs) -> bool {
    log.state.head.is_some_and(|head| head.observed_at >= asked_at)
}

/// Creates the same snapshot until its outcome is known.
async fn create(store: &Store, snapshot: &Snapshot, clock: &impl Clock) -> Result<(), Error> {
    let backoff = Backoff::new();
    loop {
        match catalog::create(store, snapshot).await {
            Err(error @ CatalogError::NotYet { .. }) if error.is_retryable() && backoff.attempts() < ATTEMPTS => {
                tokio::time::sleep(backoff.next(clock)).await;
            }
            done => return Ok(done?),
        }
    }
}

/// The sums of a snapshot, small enough for a status in Kubernetes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    id: &'a SnapshotId,
    size_bytes: u64,
    records: u64,
    topics: usize,
    partitions: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest_timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recoverable_until: Option<String>,
}

impl Taken {
    /// Its sums, as a line of JSON.
    pub fn summary(&self) -> String {
        let Snapshot { id, totals, topics, positions, .. } = &self.snapshot;
        let holds_records = |topic: &TopicName| !topic.is_consumer_offsets();
        let summary = Summary {
            id,
            size_bytes: totals.bytes,
            records: totals.rows,
            topics: topics.keys().filter(|topic| holds_records(topic)).count(),
            partitions: positions.iter().filter(|position| holds_records(&position.topic)).count(),
            oldest_timestamp: self.snapshot.oldest_timestamp.map(TimestampMs::to_rfc3339),
            newest_timestamp: self.snapshot.newest_timestamp.map(TimestampMs::to_rfc3339),
            recoverable_until: self.snapshot.recoverable_until.map(TimestampMs::to_rfc3339),
        };
        serde_json::to_string(&summary).unwrap_or_default() + "\n"
    }

    /// The snapshot's document as JSON.
    pub fn to_json(&self) -> String {
        // Text keys and finite numbers only, which is all that serde_json asks for.
        serde_json::to_string_pretty(&self.snapshot).unwrap_or_default() + "\n"
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Snapshot { id, asked_at, manifest, totals, positions, topics, frontier, .. } = &self.snapshot;
        let (asked, observed) = (asked_at.to_rfc3339(), manifest.observed_at.to_rfc3339());
        let or_never =
            |instant: Option<TimestampMs>| instant.map_or("no instant yet".to_owned(), TimestampMs::to_rfc3339);
        writeln!(f, "snapshot    {id}, in {} of {}", layout::snapshot(id), self.storage)?;
        writeln!(f, "boundary    manifest {}, observed {observed}, asked for {asked}", manifest.sequence)?;
        let until = or_never(self.snapshot.recoverable_until);
        writeln!(f, "recoverable from {} until {until}", or_never(self.snapshot.recoverable_from))?;
        let (rows, size, segments) = (totals.rows, ByteSize(totals.bytes), totals.segments);
        writeln!(f, "holds       {rows} records, {size} in {segments} segments")?;
        writeln!(f, "of          {} topics, {} partitions of all their lives", topics.len(), positions.len())?;
        match frontier.behind.len() {
            0 => Ok(()),
            behind => writeln!(f, "behind      {behind} partitions, which the JSON output names"),
        }
    }
}

#[cfg(test)]
mod tests;
