//! `inspect`: one screen that answers "am I protected, since when, until when, how far behind, what is missing and why,
//! and what does it cost?".
//!
//! Reads the log, the newest snapshots and, of an encrypted backup, who opens its keys; nothing else: no broker, no segment. What is protected comes from [`coverage::resolve`], the one
//! resolved view (P10); this module adds what the log says of requests, and what they cost by a table of prices.
//!
//! ```text
//! reader::open ─▶ Log ─┬─▶ coverage::resolve ─┐
//!                      └─▶ Rates of the tail ─┴─▶ Inspection ─▶ text (render.rs) or JSON
//! ```

mod render;
#[cfg(test)]
mod tests;

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use strimzi_backup_format::checkpoint::{MANIFESTS_PER_BLOCK, RUNS_PER_BLOCK};
use strimzi_backup_format::coverage::{self, Coverage};
use strimzi_backup_format::ids::{Sequence, Shard, SnapshotId, TimestampMs};
use strimzi_backup_format::manifest::Manifest;
use strimzi_backup_format::manifest::reader::{self, Log};
use strimzi_backup_format::snapshot::{Snapshot, catalog};
use strimzi_backup_format::state::State;
use strimzi_backup_format::store::{PART_BYTES, Store};

use crate::error::{Error, chain};
use crate::keys::{self, BackupKey};

/// The newest manifests that rates are taken from, where the log has as many: minutes of a busy backup, half an hour of
/// an idle one.
const SAMPLE: usize = 64;

/// The newest snapshots that are read; older ones are counted.
const SNAPSHOTS: usize = 100;

/// How many of them are read at once.
const WINDOW: usize = 8;

/// Less time than this between the first manifest and the last says nothing of an hour.
const LEAST_MILLIS: u64 = 1_000;

/// What one look at the log reads: the identity and the newest manifest.
const GETS_PER_LOOK: f64 = 2.0;

const SECONDS_PER_HOUR: f64 = 3_600.0;

const MILLIS_PER_HOUR: f64 = 3_600_000.0;

/// Hours in a month, as the price lists of object stores count them.
const HOURS_PER_MONTH: f64 = 730.0;

/// Bytes of the GB that object stores charge for.
const BYTES_PER_GB: f64 = (1_u64 << 30) as f64;

/// What a store charges, in dollars. The default is the list price of S3 Standard in us-east-1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Prices {
    /// For 1,000 PUT, POST or LIST requests (`--price-put`). Default 0.005.
    pub put: f64,
    /// For 1,000 GET or HEAD requests (`--price-get`). Default 0.0004.
    pub get: f64,
    /// For a GB stored over a month (`--price-storage`). Default 0.023.
    pub storage: f64,
}

impl Default for Prices {
    fn default() -> Self {
        Self { put: 0.005, get: 0.0004, storage: 0.023 }
    }
}

/// How many requests the writer makes, from its newest manifests and its job. What a start reads, and a failure's
/// retries, are not in the log.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    /// How many manifests the rates are taken from.
    pub sampled_manifests: usize,
    /// How many of them begin a run of the streamer: the more, the less the rates say of one that runs through.
    pub sampled_starts: usize,
    /// The time they span, in seconds; what is said of an hour or a month is extrapolated from it.
    pub sampled_seconds: u64,
    /// Manifests an hour.
    pub manifests_per_hour: f64,
    /// Segments an hour.
    pub segments_per_hour: f64,
    /// Checkpoints an hour.
    pub checkpoints_per_hour: f64,
    /// How often an hour the writer looks whether its log still stands, by `backup.metadataInterval`.
    pub looks_per_hour: f64,
    /// Requests an hour that are charged as PUT. Streaming lists nothing.
    pub puts_per_hour: f64,
    /// Requests an hour that are charged as GET: each upload is confirmed by a HEAD, each look reads two documents.
    pub gets_per_hour: f64,
}

/// Dollars a month, if the backup goes on as it does now and nothing more were added to what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// For PUT requests.
    pub puts: f64,
    /// For GET requests.
    pub gets: f64,
    /// For the segments stored now.
    pub storage: f64,
}

impl Cost {
    fn new(prices: &Prices, requests: Option<&Requests>, bytes: u64) -> Self {
        let monthly = |per_hour: f64, price: f64| per_hour * HOURS_PER_MONTH / 1000.0 * price;
        Self {
            puts: requests.map_or(0.0, |requests| monthly(requests.puts_per_hour, prices.put)),
            gets: requests.map_or(0.0, |requests| monthly(requests.gets_per_hour, prices.get)),
            storage: real(bytes) / BYTES_PER_GB * prices.storage,
        }
    }

    fn total(&self) -> f64 {
        self.puts + self.gets + self.storage
    }
}

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
    /// Dollars a month.
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
    let found = resolve(store, &log, requests(&sample, looks), prices, now);
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
    let monthly_cost = Cost::new(&prices, requests.as_ref(), coverage.totals.bytes);
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

/// Rates over the time from the first manifest of the sample, which only marks its start, to the last.
fn requests(sample: &[Manifest], looks: Duration) -> Option<Requests> {
    let (first, rest) = sample.split_first()?;
    let millis = rest.last()?.observed_at.millis_since(first.observed_at);
    if millis < LEAST_MILLIS {
        return None;
    }
    let per_hour = |count: u64| real(count) * MILLIS_PER_HOUR / real(millis);
    let segments = || rest.iter().flat_map(|manifest| manifest.named_segments());
    let runs: usize = segments().map(|segment| segment.runs.len()).sum();
    let manifests_per_hour = per_hour(rest.len() as u64);
    let checkpoints_per_hour =
        (manifests_per_hour / real(MANIFESTS_PER_BLOCK)).max(per_hour(runs as u64) / real(RUNS_PER_BLOCK as u64));
    let segments_per_hour = per_hour(segments().count() as u64);
    let uploads_per_hour = per_hour(segments().map(|segment| puts(segment.bytes)).sum());
    let looks_per_hour = SECONDS_PER_HOUR / looks.as_secs_f64();
    Some(Requests {
        sampled_manifests: sample.len(),
        sampled_starts: rest.iter().filter(|manifest| manifest.claim.is_some()).count(),
        sampled_seconds: millis / 1000,
        manifests_per_hour,
        segments_per_hour,
        checkpoints_per_hour,
        looks_per_hour,
        puts_per_hour: manifests_per_hour + uploads_per_hour + checkpoints_per_hour,
        // A checkpoint is preceded by a look of its own.
        gets_per_hour: segments_per_hour + GETS_PER_LOOK * (looks_per_hour + checkpoints_per_hour),
    })
}

/// The requests that an upload of so many bytes is: one, or its parts with their start and their end.
fn puts(bytes: u64) -> u64 {
    let part = PART_BYTES as u64;
    if bytes <= part { 1 } else { bytes.div_ceil(part) + 2 }
}

/// A count as a real number; what a rate or a price loses by rounding beyond 2^53 nobody sees.
#[allow(clippy::cast_precision_loss)]
fn real(count: u64) -> f64 {
    count as f64
}
