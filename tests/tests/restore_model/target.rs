//! A target without Kafka: what the executor does with a plan, in memory, and killed after any record.
//!
//! Everything but the writing is the executor's own: the plan, the slice, the source, the rest behind the progress, and the
//! progress as it is committed and read again. What is written is visible with its commit, together with the progress.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::ids::{ClusterId, PartitionKey, TimestampMs};
use strimzi_backup_format::job::RestoreSettings;
use strimzi_backup_format::manifest::reader::Log;
use strimzi_backup_format::record::Record;
use strimzi_backup_format::segment::decode::Row;
use strimzi_backup_format::slice::{Slice, Touched};
use strimzi_backup_format::store::Store;
use strimzi_backup_streamer::kafka::CommittedOffset;
use strimzi_backup_streamer::restore::plan::{self, Basis, Plan, Target};
use strimzi_backup_streamer::restore::point::Point;
use strimzi_backup_streamer::restore::progress::{self, Progress, TargetPartition};
use strimzi_backup_streamer::restore::source::{self, Source};

use crate::sim::dice::Dice;

const GROUP: &str = "the group of the restore";

/// What a target holds, by the source partitions that it is of.
pub type Written = BTreeMap<PartitionKey, Vec<Record>>;

/// A target that a restore is written to.
#[derive(Debug)]
pub struct FakeTarget<'a> {
    store: &'a Store,
    log: &'a Log,
    plan: Plan,
    written: Written,
    committed: BTreeMap<TargetPartition, Option<CommittedOffset>>,
}

impl<'a> FakeTarget<'a> {
    /// An empty target, and the plan of a restore to `point`.
    pub async fn new(store: &'a Store, log: &'a Log, settings: &RestoreSettings, point: &Point) -> Result<Self> {
        let selected = |key: &_| point.ends.contains_key(key);
        let slice = Slice { selected: &selected, ends: Some(&point.ends), from: point.start, until: point.until };
        let touched = slice.find(store, log).await?;
        let target =
            Target { cluster: ClusterId::new("target"), brokers: 3, max_message_bytes: None, topics: BTreeMap::new() };
        let (plan, conflicts) = plan::build(Basis {
            backup: log.identity.backup,
            settings,
            asked: Sha256::of(b"asked"),
            point,
            touched: &touched,
            state: &log.state,
            groups: None,
            target: &target,
            now: TimestampMs::new(0),
        });
        ensure!(conflicts.is_empty(), "an empty target is in conflict: {conflicts:?}");
        ensure!(plan.ends() == point.ends, "the plan ends elsewhere than the point");
        let committed = progress::homes(&plan).into_keys().map(|home| (home, None)).collect();
        Ok(Self { store, log, plan, written: Written::new(), committed })
    }

    /// Everything that is written after passes that are killed after so many records each, and one that is not.
    pub async fn restore(mut self, kills: &[usize], dice: &mut Dice) -> Result<Written> {
        for kill in kills {
            self.pass(Some(*kill), dice).await.with_context(|| format!("killed after {kill} records"))?;
        }
        self.pass(None, dice).await?;
        let progress = self.progress()?.context("nothing was committed")?;
        ensure!(progress::is_complete(&self.plan, &progress), "the progress at the end is not complete: {progress:?}");
        for (key, done) in &progress {
            let records = self.written.get(key).map_or(0, Vec::len) as u64;
            ensure!(done.records == records, "{key}: {records} records are written, {} are counted", done.records);
        }
        let written: u64 = progress.values().map(|done| done.records).sum();
        let planned = self.plan.reads.records;
        ensure!(written <= planned, "{written} records are written, and {planned} at most are planned");
        Ok(self.written)
    }

    fn progress(&self) -> Result<Option<Progress>> {
        let read = progress::read(&self.plan, GROUP, &self.committed)?;
        Ok(read.map(|(progress, _)| progress))
    }

    async fn left(&self, progress: &Progress) -> Result<Vec<Touched>> {
        let ends = self.plan.ends();
        let selected = |key: &_| ends.contains_key(key);
        let slice = Slice { selected: &selected, ends: Some(&ends), from: self.plan.start, until: self.plan.until };
        Ok(source::rest(slice.find(self.store, self.log).await?, progress))
    }

    async fn pass(&mut self, kill: Option<usize>, dice: &mut Dice) -> Result<()> {
        let mut progress = match self.progress()? {
            Some(progress) => progress,
            None => {
                let none = progress::none(&self.plan);
                self.commit(&none, Vec::new());
                none
            }
        };
        let left = self.left(&progress).await?;
        let mut source = Source::open(self.store, left, 1 + dice.index(4), &Arc::default());
        let most = kill.unwrap_or(usize::MAX);
        let rows = tokio::task::spawn_blocking(move || take(&mut source, most)).await??;
        let killed = rows.len() == most;
        let mut open: Vec<Row> = Vec::new();
        let mut committed_at = 1 + dice.index(20);
        for (key, record) in rows {
            let done = progress.get_mut(&key).with_context(|| format!("a record of {key} is not planned"))?;
            let (offset, bytes) = (record.offset, record.raw_bytes() as u64);
            ensure!(offset >= done.next, "{key}: {offset} comes after {}", done.next);
            *done = done.plus(offset, bytes, record.timestamp);
            open.push((key, record));
            if open.len() == committed_at {
                self.commit(&progress, std::mem::take(&mut open));
                committed_at = 1 + dice.index(20);
            }
        }
        if !killed {
            for (key, end) in self.plan.ends() {
                let done = progress.entry(key).or_default();
                done.next = end.max(done.next);
            }
            self.commit(&progress, open);
        }
        Ok(())
    }

    fn commit(&mut self, progress: &Progress, open: Vec<Row>) {
        for (key, record) in open {
            self.written.entry(key).or_default().push(record);
        }
        for (home, sources) in progress::homes(&self.plan) {
            let told = progress::offset(&home, sources.iter().map(|key| (key, progress[key], None)));
            self.committed.insert(home, Some(CommittedOffset { offset: told.offset, metadata: told.metadata }));
        }
    }
}

/// So many records at most.
fn take(source: &mut Source, most: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    while rows.len() < most
        && let Some(chunk) = source.next_chunk()?
    {
        rows.extend(chunk);
    }
    rows.truncate(most);
    Ok(rows)
}
