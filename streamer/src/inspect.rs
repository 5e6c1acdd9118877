//! `inspect`: one screen that answers "am I protected, since when, until when, how far behind, what is missing and why,
//! and what does it cost?".
//!
//! Reads the log, the newest snapshots and, of an encrypted backup, who opens its keys; nothing else: no broker, no segment. What is protected comes from [`coverage::resolve`], the one
//! resolved view (P10); this module adds what the log says of requests, and what they cost by a list of prices ([`crate::cost`]).
//!
//! ```text
//! reader::open ─▶ Log ─┬─▶ coverage::resolve ───┐
//!                      └─▶ Requests of its end ─┴─▶ Inspection ─▶ text (render.rs) or JSON
//! ```

mod render;
#[cfg(test)]
mod tests;

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use strimzi_backup_format::coverage::{self, Coverage};
use strimzi_backup_format::ids::{Sequence, Shard, SnapshotId, TimestampMs};
use strimzi_backup_format::manifest::Manifest;
use strimzi_backup_format::manifest::reader::{self, Log};
use strimzi_backup_format::snapshot::{Snapshot, catalog};
use strimzi_backup_format::state::State;
use strimzi_backup_format::store::Store;

use crate::cost::{Cost, Prices, Requests, Usage};
use crate::error::{Error, chain};
use crate::keys::{self, BackupKey};

/// The newest manifests that rates are taken from, where the log has as many: minutes of a busy backup, half an hour of
/// an idle one.
const SAMPLE: usize = 64;

/// The newest snapshots that are read; older ones are counted.
const SNAPSHOTS: usize = 100;

/// How many of them are read at once.
const WINDOW: usize = 8;

/// A checkpoint that the reader did not believe. Harmless: the log was read without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IgnoredCheckpoint {
    /// The checkpoint.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// One snapshot, as far as it could be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotEntry {
    /// Its id.
    pub id: SnapshotId,
    /// Its boundary; absent where it could not be read.
    #[serde(flatten)]
    pub boundary: Option<Boundary>,
    /// Why it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The boundary that a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Boundary {
    /// The manifest's place in the log.
    pub sequence: Sequence,
    /// When the manifest was observed.
    pub observed_at: TimestampMs,
    /// Records held up to it.
    pub rows: u64,
    /// The instant up to which it holds everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<TimestampMs>,
    /// Whether retention keeps its instant no longer: it cannot be restored.
    pub retired: bool,
}

impl SnapshotEntry {
    /// `kept_since` is the first instant that is kept; absent: all are.
    fn new(id: SnapshotId, read: Result<Snapshot, String>, kept_since: Option<TimestampMs>) -> Self {
        let boundary = |snapshot: &Snapshot| Boundary {
            sequence: snapshot.manifest.sequence,
            observed_at: snapshot.manifest.observed_at,
            rows: snapshot.totals.rows,
            until: snapshot.recoverable_until,
            retired: snapshot.is_retired(kept_since),
        };
        Self { id, boundary: read.as_ref().ok().map(boundary), problem: read.err() }
    }
}

/// Everything that one screen shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// What is protected.
    #[serde(flatten)]
    pub coverage: Coverage,
    /// Where it is, for people.
    pub storage: String,
    /// The keys that it is encrypted by, and who opens them; absent where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_keys: Option<Vec<BackupKey>>,
    /// When this was looked at.
    pub inspected_at: TimestampMs,
    /// What the writer asks of the store; absent where the log is too short to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// The prices that `monthlyCost` is computed with.
    pub prices: Prices,
    /// What a month costs at these prices; without `requests`, for what is stored alone.
    pub monthly_cost: Cost,
    /// Checkpoints that were not believed.
    pub ignored_checkpoints: Vec<IgnoredCheckpoint>,
    /// How many snapshots there are.
    pub snapshot_count: usize,
    /// The newest 100 of them, oldest first.
    pub snapshots: Vec<SnapshotEntry>,
}

impl Inspection {
    /// As JSON.
    pub fn to_json(&self) -> String {
        // Text keys only, and no rate or price is infinite, which is all that serde_json asks for.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// Looks at the backup in `store` at `now`; `looks` is the writer's `backup.metadataInterval`.
///
/// # Errors
/// [`Error::NoBackup`], [`Error::Read`], or, where the store does not answer, [`Error::Snapshot`] and [`Error::Keys`].
pub async fn run(store: &Store, prices: Prices, looks: Duration, now: TimestampMs) -> Result<Inspection, Error> {
    let log = reader::open(store, Shard::ONLY).await?;
    let log = log.ok_or_else(|| Error::NoBackup(store.description.clone()))?;
    let sample = sample(store, &log).await?;
    let found = resolve(store, &log, Requests::of(&sample, looks), prices, now);
    let listed = catalog::list(store).await?;
    let snapshot_count = listed.len();
    let snapshots = snapshots(store, &log.state, listed).await?;
    let backup_keys = keys::survey(store).await?.map(|found| found.keys);
    Ok(Inspection { snapshot_count, snapshots, backup_keys, ..found })
}

/// The newest snapshots. One that is damaged is told and hides nothing.
async fn snapshots(
    store: &Store,
    state: &State,
    mut listed: Vec<catalog::Listed>,
) -> Result<Vec<SnapshotEntry>, catalog::Error> {
    let (backup, kept_since) = (state.backup, state.retired.map(|retired| retired.before));
    let newest = listed.split_off(listed.len().saturating_sub(SNAPSHOTS));
    futures::stream::iter(newest)
        .map(|catalog::Listed { id, .. }| async move {
            let read = match catalog::load(store, backup, &id).await {
                Ok(Some(snapshot)) => Ok(snapshot),
                Ok(None) => Err("it was listed and is not there".to_owned()),
                Err(error) if error.is_retryable() => return Err(error),
                Err(error) => Err(chain(&error)),
            };
            Ok(SnapshotEntry::new(id, read, kept_since))
        })
        .buffered(WINDOW)
        .try_collect()
        .await
}

fn resolve(store: &Store, log: &Log, requests: Option<Requests>, prices: Prices, now: TimestampMs) -> Inspection {
    let coverage = coverage::resolve(&log.identity, &log.state, now);
    let hourly = requests.as_ref().map_or_else(Usage::default, Requests::usage);
    let monthly_cost = Cost::of_month(&prices, hourly, coverage.totals.bytes);
    let ignored = log.ignored.iter().cloned();
    Inspection {
        coverage,
        storage: store.description.clone(),
        backup_keys: None,
        inspected_at: now,
        requests,
        prices,
        monthly_cost,
        ignored_checkpoints: ignored.map(|(object, reason)| IgnoredCheckpoint { object, reason }).collect(),
        snapshot_count: 0,
        snapshots: Vec::new(),
    }
}

/// The newest manifests, oldest first: those of the tail, and those before it where the tail is short.
async fn sample(store: &Store, log: &Log) -> Result<Vec<Manifest>, Error> {
    let surplus = log.tail.len().saturating_sub(SAMPLE);
    let tail = log.tail.iter().skip(surplus).cloned();
    let Some(head) = log.state.head else { return Ok(Vec::new()) };
    let first_of_tail = log.tail.first().map_or(head.sequence.next(), |manifest| manifest.sequence).get();
    let wanted = (SAMPLE.saturating_sub(log.tail.len())) as u64;
    let older = (first_of_tail.saturating_sub(wanted).max(1)..first_of_tail).map(Sequence::new);
    let read = older.map(|sequence| reader::manifest(store, log.state.shard, sequence));
    let mut sample = Vec::with_capacity(SAMPLE);
    for found in futures::future::try_join_all(read).await? {
        // A checkpoint vouched for it; `verify` tells whether it is still there.
        sample.extend(found.map(|(manifest, _)| manifest));
    }
    sample.extend(tail);
    Ok(sample)
}
