//! Snapshots: what a restore to one of them must bring for as long as it is kept; and what one must that is planned now.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use object_store::ObjectStoreExt as _;
use strimzi_backup_format::ids::{PartitionKey, Sequence, SnapshotId, TimestampMs, TopicName};
use strimzi_backup_format::job::{RestoreJob, RestoreSettings};
use strimzi_backup_format::layout;
use strimzi_backup_format::record::Record;
use strimzi_backup_format::slice::Ends;
use strimzi_backup_format::snapshot::Snapshot;
use strimzi_backup_format::state::State;
use strimzi_backup_streamer::prune::report::Report;
use strimzi_backup_streamer::restore::point::{self, Point, PointFault};

use super::super::broker::{compacts, keeps};
use super::super::cluster::Partition;
use super::upkeep::table;
use super::{Oracle, Records, lives};

/// A prune leaves alone for so long what was written, in milliseconds.
const YOUNG_MILLIS: i64 = 3_600_000;

/// No record has a later timestamp.
const END: TimestampMs = TimestampMs::new(i64::MAX);

/// What a snapshot promises while it is kept.
#[derive(Debug)]
pub(super) struct Promise {
    snapshot: Snapshot,
    /// When its document was written, by the store's clock.
    written_at: TimestampMs,
    /// Where a restore to it ends, of each partition that it reads.
    ends: Ends,
    /// What it held when it was taken that Kafka held then, too; of compacted topics nothing.
    records: Records,
}

impl Promise {
    fn observed_at(&self) -> TimestampMs {
        self.snapshot.manifest.observed_at
    }

    /// Whether nothing that it needs is retired where the kept instants begin at `before`.
    fn is_kept(&self, before: Option<TimestampMs>) -> bool {
        before.is_none_or(|before| before <= self.observed_at())
    }

    fn document(&self) -> String {
        layout::snapshot(&self.snapshot.id).to_string()
    }
}

/// Whether the kept instants still begin at or before the snapshots that are kept for ever.
pub(super) fn check_forever(promises: &[Promise], before: TimestampMs) -> Result<()> {
    for promise in promises.iter().filter(|promise| promise.snapshot.keep.is_some()) {
        let (id, observed_at) = (&promise.snapshot.id, promise.observed_at());
        ensure!(
            promise.is_kept(Some(before)),
            "{id} of {observed_at} is kept for ever, and retired is all before {before}"
        );
    }
    Ok(())
}

impl Oracle {
    /// Notes what a restore to a snapshot brings that was taken just now.
    pub async fn taken(&mut self, snapshot: Snapshot) -> Result<()> {
        self.follow().await?;
        self.read_segments().await?;
        let document = layout::snapshot(&snapshot.id).below(&self.store.prefix);
        let written = self.store.inner.head(&document).await?.last_modified;
        let written_at = TimestampMs::new(written.timestamp_millis());
        let state = self.state.as_ref().context("there is no log")?;
        let ends = ends(state, &snapshot)?;
        let records = self.held_by_kafka(state, snapshot.manifest.observed_at, &ends)?;
        self.snapshots.push(Promise { snapshot, written_at, ends, records });
        Ok(())
    }

    /// What a restore to that point must bring, of what is held now.
    pub async fn restorable(&mut self, point: &Point) -> Result<BTreeMap<PartitionKey, Vec<Record>>> {
        self.follow().await?;
        self.read_segments().await?;
        let is_wanted = |record: &Record| {
            let from = point.start.is_none_or(|start| start <= record.timestamp);
            from && point.until.is_none_or(|until| record.timestamp <= until)
        };
        let mut wanted = BTreeMap::new();
        for (key, end) in &point.ends {
            let held = below(self.held(key), end.get());
            wanted.insert(key.clone(), held.into_values().filter(is_wanted).collect());
        }
        Ok(wanted)
    }

    /// What is held below `ends` that Kafka held at `instant` by its own retention, too. Of compacted topics nothing.
    fn held_by_kafka(&self, state: &State, instant: TimestampMs, ends: &Ends) -> Result<Records> {
        let cluster = self.cluster.lock();
        let mut then = Records::new();
        for (key, end) in ends.iter().filter(|(key, _)| !compacts(&key.topic)) {
            let Some(held) = self.records.get(key) else { continue };
            let (_, life) = lives(key, state, &cluster)?;
            let number = usize::try_from(key.partition.get()).unwrap_or(usize::MAX);
            let partition = life.partitions.get(number).context("Kafka never had this partition")?;
            let mut held = below(held.clone(), end.get());
            held.retain(|_, record| is_in_kafka(partition, &key.topic, record, instant));
            then.insert(key.clone(), held);
        }
        Ok(then)
    }

    /// Holds what restores to snapshots would bring now against what they must. One to a snapshot that is not kept any longer must be
    /// refused.
    pub(super) async fn check_snapshots(&mut self) -> Result<()> {
        if self.snapshots.is_empty() {
            return Ok(());
        }
        self.read_compacted().await?;
        let state = self.state.as_ref().context("there is no log")?;
        let mut seen = BTreeSet::new();
        for promise in &self.snapshots {
            let id = &promise.snapshot.id;
            if !promise.is_kept(state.retired.map(|retired| retired.before)) {
                check_refused(state, &promise.snapshot)?;
                seen.insert("SnapshotRetired");
                continue;
            }
            ensure!(ends(state, &promise.snapshot)? == promise.ends, "a restore to the snapshot {id} ends elsewhere");
            // The others were taken after the last retirement, and prove nothing yet.
            let has_outlived = state.retired.is_some_and(|retired| promise.observed_at() < retired.observed_at);
            seen.extend(has_outlived.then_some("SnapshotKept"));
            for (key, end) in &promise.ends {
                let checked = self.check_restored(promise, key, end.get());
                checked.with_context(|| format!("a restore to the snapshot {id}: {key} below {end}"))?;
                let is_late = has_outlived && self.is_overtaken(state, key, end.get());
                seen.extend(is_late.then_some("LateBehindSnapshot"));
            }
        }
        self.seen.extend(seen.into_iter().map(str::to_owned));
        Ok(())
    }

    /// Whether what is held below the end of a partition is all that Kafka held then; of a compacted one, whether it makes the table that
    /// everything makes that was captured there.
    fn check_restored(&self, promise: &Promise, key: &PartitionKey, end: i64) -> Result<()> {
        let held = below(self.held(key), end);
        for (offset, record) in promise.records.get(key).into_iter().flatten() {
            ensure!(held.get(offset) == Some(record), "{offset} is not there, and Kafka held it then");
        }
        if compacts(&key.topic) {
            let captured = below(self.ever_captured(key), end);
            let (of_held, of_all) = (table(&held, END), table(&captured, END));
            ensure!(of_held == of_all, "the table is {of_held:?}, and was {of_all:?}");
        }
        Ok(())
    }

    /// Whether a record came behind the end of an aged partition that is dated before the first kept instant, so that at that it is the
    /// newest of a key that is there before the end, too.
    fn is_overtaken(&self, state: &State, key: &PartitionKey, end: i64) -> bool {
        let Some(retired) = state.retired.filter(|_| self.aged.contains(key)) else { return false };
        let mut captured = self.ever_captured(key);
        let behind = captured.split_off(&end);
        let table = table(&captured, END);
        let is_there = |record: &Record| record.key.as_ref().is_some_and(|key| table.contains_key(&key[..]));
        behind.values().any(|record| record.timestamp <= retired.before && is_there(record))
    }

    /// Whether a prune took the documents of snapshots that were not kept any longer, and no others.
    pub(super) fn check_pruned(&mut self, gone: &BTreeSet<String>, report: &Report) -> Result<()> {
        let known = |as_of: Sequence| self.retirements.iter().rev().find(|(sequence, _)| *sequence <= as_of);
        let before = report.as_of.and_then(known).map(|(_, before)| *before);
        for promise in &self.snapshots {
            let document = promise.document();
            let is_needed = promise.snapshot.keep.is_some() || promise.is_kept(before);
            let is_young = promise.written_at > report.now.plus_millis(-YOUNG_MILLIS);
            match gone.contains(&document) {
                true => ensure!(!is_needed && !is_young, "{document} was pruned, and kept is all since {before:?}"),
                false => ensure!(is_needed || is_young, "{document} was not pruned, and kept is all since {before:?}"),
            }
        }
        let taken = self.snapshots.len();
        self.snapshots.retain(|promise| !gone.contains(&promise.document()));
        self.seen.extend((self.snapshots.len() < taken).then(|| "SnapshotPruned".to_owned()));
        Ok(())
    }
}

/// Where a restore to a snapshot ends, of each partition that it reads.
fn ends(state: &State, snapshot: &Snapshot) -> Result<Ends> {
    let is_empty = |fault: &PointFault| matches!(fault, PointFault::NoTopic { .. } | PointFault::NothingYet);
    match point::resolve(&settings(&snapshot.id)?, state, Some(snapshot)) {
        Ok(point) => Ok(point.ends),
        Err(faults) if faults.iter().all(is_empty) => Ok(Ends::new()),
        Err(faults) => bail!("a restore to the snapshot {} is refused: {faults:?}", snapshot.id),
    }
}

fn check_refused(state: &State, snapshot: &Snapshot) -> Result<()> {
    match point::resolve(&settings(&snapshot.id)?, state, Some(snapshot)) {
        Err(faults) if matches!(&faults[..], [PointFault::Retired { .. }]) => Ok(()),
        other => bail!("the snapshot {} is retired, and a restore to it comes to {other:?}", snapshot.id),
    }
}

/// What a restore to a snapshot is asked for: all of it, whatever is missing.
fn settings(id: &SnapshotId) -> Result<RestoreSettings> {
    let text = format!(
        "{{cluster: {{bootstrapServers: 'target:1'}}, storage: {{type: filesystem, filesystem: {{path: /sim}}}}, \
         restore: {{id: r, backupId: {id}, onGap: accept}}}}"
    );
    Ok(RestoreJob::parse(&text, TimestampMs::new(0))?.restore)
}

/// Whether Kafka held a record at `instant` by what its topic is kept for.
fn is_in_kafka(partition: &Partition, topic: &TopicName, record: &Record, instant: TimestampMs) -> bool {
    let Some(keeps) = keeps(topic) else { return true };
    let entries = partition.logs().filter_map(|log| log.at(record.offset.get()));
    let mut same = entries.filter(|entry| entry.record.as_deref() == Some(record));
    // What a producer dates into the future counts from when it was written.
    same.any(|entry| instant <= record.timestamp.min(entry.appended_at).plus_millis(keeps))
}

/// The records below an offset.
fn below(mut records: BTreeMap<i64, Record>, end: i64) -> BTreeMap<i64, Record> {
    drop(records.split_off(&end));
    records
}
