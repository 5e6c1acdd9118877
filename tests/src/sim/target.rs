//! A target without Kafka: what the executor does with a plan, in memory, and killed after any record.
//!
//! Everything but the writing is the executor's own: the plan, the slice, the source, the rest behind the progress, and the
//! progress as it is committed and read again. What is written is visible with its commit, together with the progress.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use strimzi_backup_format::ids::{ClusterId, PartitionKey, TimestampMs};
use strimzi_backup_format::job::{RestoreJob, RestoreSettings};
use strimzi_backup_format::manifest::reader::Log;
use strimzi_backup_format::record::Record;
use strimzi_backup_format::segment::decode::Row;
use strimzi_backup_format::slice::{Slice, Touched};
use strimzi_backup_format::store::Store;
use strimzi_backup_streamer::error::Error;
use strimzi_backup_streamer::kafka::CommittedOffset;
use strimzi_backup_streamer::restore::plan::{self, Basis, Plan, Target};
use strimzi_backup_streamer::restore::point::Point;
use strimzi_backup_streamer::restore::progress::{self, Progress, TargetPartition};
use strimzi_backup_streamer::restore::source::{self, Source};
use strimzi_backup_streamer::restore::{self, RestoreError};

use super::dice::Dice;

const GROUP: &str = "the group of the restore";

/// The end of time: documents may speak of any moment.
pub const DOOMSDAY: TimestampMs = TimestampMs::new(4_000_000_000_000);

/// What a document asks for, by its fields below `restore`.
pub fn settings(restore: &str) -> Result<RestoreSettings> {
    let text = format!(
        "{{cluster: {{bootstrapServers: 'target:1'}}, storage: {{type: filesystem, filesystem: {{path: /sim}}}}, \
         restore: {{{restore}}}}}"
    );
    // The moments around the last one are none of the future either.
    Ok(RestoreJob::parse(&text, DOOMSDAY.plus_millis(10))?.restore)
}

/// What a target holds, by the source partitions that it is of.
pub type Written = BTreeMap<PartitionKey, Vec<Record>>;

/// The plan of a restore to `point` into an empty target.
pub async fn plan(
    store: &Store,
    log: &Log,
    settings: &RestoreSettings,
    point: &Point,
    now: TimestampMs,
) -> Result<Plan> {
    let selected = |key: &_| point.ends.contains_key(key);
    let slice = Slice { selected: &selected, ends: Some(&point.ends), from: point.start, until: point.until };
    let touched = slice.find(store, log).await?;
    let target =
        Target { cluster: ClusterId::new("target"), brokers: 3, max_message_bytes: None, topics: BTreeMap::new() };
    let (plan, conflicts) = plan::build(Basis {
        backup: log.identity.backup,
        settings,
        asked: restore::asked(settings),
        point,
        touched: &touched,
        state: &log.state,
        groups: None,
        target: &target,
        now,
    });
    ensure!(conflicts.is_empty(), "an empty target is in conflict: {conflicts:?}");
    ensure!(plan.ends() == point.ends, "the plan ends elsewhere than the point");
    Ok(plan)
}

/// A target that a restore is written to.
#[derive(Debug)]
pub struct FakeTarget {
    plan: Plan,
    written: Written,
    committed: BTreeMap<TargetPartition, Option<CommittedOffset>>,
}

impl FakeTarget {
    /// An empty target.
    pub fn new(plan: Plan) -> Self {
        let committed = progress::homes(&plan).into_keys().map(|home| (home, None)).collect();
        Self { plan, written: Written::new(), committed }
    }

    /// What is written to it.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Everything that is written after passes that are killed after so many records each, and one that is not.
    pub async fn restore(mut self, from: (&Store, &Log), kills: &[usize], dice: &mut Dice) -> Result<Written> {
        for kill in kills {
            let parallelism = 1 + dice.index(4);
            let pass = self.pass(from, parallelism, Some(*kill), dice).await;
            pass.with_context(|| format!("killed after {kill} records"))?;
        }
        let parallelism = 1 + dice.index(4);
        self.pass(from, parallelism, None, dice).await?;
        self.check_complete()?;
        Ok(self.written)
    }

    /// How far the restore is; `None` where nothing is committed.
    ///
    /// # Errors
    /// Where the progress cannot be believed.
    pub fn progress(&self) -> Result<Option<Progress>, RestoreError> {
        let read = progress::read(&self.plan, GROUP, &self.committed)?;
        Ok(read.map(|(progress, _)| progress))
    }

    /// Everything that is written, once that is everything.
    ///
    /// # Errors
    /// Where something is left, or the progress tells of other records than there are.
    pub fn check_complete(&self) -> Result<&Written> {
        let progress = self.progress()?.context("nothing was committed")?;
        ensure!(progress::is_complete(&self.plan, &progress), "the progress at the end is not complete: {progress:?}");
        for (key, done) in &progress {
            let records = self.written.get(key).map_or(0, Vec::len) as u64;
            ensure!(done.records == records, "{key}: {records} records are written, {} are counted", done.records);
        }
        let written: u64 = progress.values().map(|done| done.records).sum();
        let planned = self.plan.reads.records;
        ensure!(written <= planned, "{written} records are written, and {planned} at most are planned");
        Ok(&self.written)
    }

    async fn left(&self, (store, log): (&Store, &Log), progress: &Progress) -> Result<Vec<Touched>, Error> {
        let ends = self.plan.ends();
        let selected = |key: &_| ends.contains_key(key);
        let slice = Slice { selected: &selected, ends: Some(&ends), from: self.plan.start, until: self.plan.until };
        Ok(source::rest(slice.find(store, log).await?, progress))
    }

    /// Writes from the progress on, so many records at most. What is not committed when it ends is not written.
    ///
    /// # Errors
    /// As a pass of the executor.
    pub async fn pass(
        &mut self,
        from: (&Store, &Log),
        parallelism: usize,
        kill: Option<usize>,
        dice: &mut Dice,
    ) -> Result<(), Error> {
        let mut progress = match self.progress()? {
            Some(progress) => progress,
            None => {
                let none = progress::none(&self.plan);
                self.commit(&none, Vec::new());
                none
            }
        };
        let left = self.left(from, &progress).await?;
        let mut source = Source::open(from.0, left, parallelism, &Arc::default());
        let mut most = kill.unwrap_or(usize::MAX);
        let mut open: Vec<Row> = Vec::new();
        let mut committed_at = 1 + dice.index(20);
        while most > 0
            && let Some(chunk) = source.chunk().await?
        {
            for (key, record) in chunk.into_iter().take(most) {
                most -= 1;
                Self::take(&mut progress, &key, &record)?;
                open.push((key, record));
                if open.len() == committed_at {
                    self.commit(&progress, std::mem::take(&mut open));
                    committed_at = 1 + dice.index(20);
                }
            }
        }
        if most > 0 {
            for (key, end) in self.plan.ends() {
                let done = progress.entry(key).or_default();
                done.next = end.max(done.next);
            }
            self.commit(&progress, open);
        }
        Ok(())
    }

    fn take(progress: &mut Progress, key: &PartitionKey, record: &Record) -> Result<(), RestoreError> {
        let done = progress.get_mut(key).ok_or_else(|| RestoreError::Unplanned(key.clone()))?;
        let (offset, next) = (record.offset, done.next);
        if offset < next {
            return Err(RestoreError::OutOfOrder { key: key.clone(), offset, next });
        }
        *done = done.plus(offset, record.raw_bytes() as u64, record.timestamp);
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
