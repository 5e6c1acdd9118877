//! Writing the records of a restore: in transactions that carry how far it is.
//!
//! Owns: the size of transactions, the order of records, what is known of foreign writes. Does not own: where records come
//! from ([`super::source`]), or what happens after a failure ([`super::run`]).
//!
//! Invariants:
//! * Progress is committed in the transaction of the records that it speaks of, so a restore that is killed goes on exactly
//!   there.
//! * Records of a source partition are written in the order of their offsets, each once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strimzi_backup_format::ids::{Offset, PartitionKey, TopicName};
use strimzi_backup_format::record::Record;
use tokio_util::sync::CancellationToken;

use super::error::RestoreError;
use super::groups;
use super::partitioner;
use super::plan::{Plan, TopicPlan};
use super::progress::{self, Done, Progress, TargetPartition};
use super::source::Source;
use super::tally::Tally;
use super::translation::{Crossing, Translations, Untold};
use crate::kafka::{ProducerError, ProducerTuning, TransactionalProducer, Written};

/// Bytes of keys, values and headers after which a transaction is committed: larger ones are hardly faster, and more is
/// written again after a crash.
const TRANSACTION_BYTES: u64 = 32 << 20;

/// A transaction is committed after so long, however little is in it: readers of the target wait for its end.
const TRANSACTION_TIME: Duration = Duration::from_millis(500);

/// How often a commit that failed and may be repeated is repeated.
const COMMIT_ATTEMPTS: u32 = 20;

/// Where the records of a source partition go.
#[derive(Debug)]
struct Lane {
    key: PartitionKey,
    target: TopicName,
    /// The number of partitions to spread over; `None`: into the one of the same number.
    respread: Option<u32>,
    home: TargetPartition,
    done: Done,
    /// Finds the translations, where offsets of groups are wanted.
    crossing: Option<Crossing>,
}

impl Lane {
    fn carried(&self) -> progress::Carried<'_> {
        (&self.key, self.done, self.crossing.as_ref().map(Crossing::translated))
    }
}

/// Where a pass over the records begins.
#[derive(Debug)]
pub struct Resume {
    /// What is restored.
    pub progress: Progress,
    /// The translations that are found.
    pub translations: Translations,
    /// Whether a translation that the target does not tell exactly is taken as it is, instead of writing again.
    pub is_last_try: bool,
}

/// One pass over the records of a restore.
pub struct Writer {
    producer: TransactionalProducer,
    group: String,
    lanes: Vec<Lane>,
    by_key: HashMap<PartitionKey, usize>,
    /// The lanes whose progress each target partition carries.
    homes: BTreeMap<TargetPartition, Vec<usize>>,
    open: Open,
    /// The lane of the record before. Records come in runs of one partition.
    last: Option<usize>,
    foreign: Foreign,
    is_last_try: bool,
    throttle: Option<Throttle>,
    tally: Arc<Tally>,
    stop: CancellationToken,
}

/// The open transaction.
#[derive(Debug)]
struct Open {
    since: Instant,
    records: u64,
    bytes: u64,
    touched: BTreeSet<usize>,
}

impl Open {
    fn new() -> Self {
        Self { since: Instant::now(), records: 0, bytes: 0, touched: BTreeSet::new() }
    }

    /// What an error means: brokers fence a producer whose transaction took too long, as they do for another that took its
    /// id over.
    fn told(&self, error: ProducerError) -> RestoreError {
        let timeout = ProducerTuning::default().transaction_timeout;
        match error {
            ProducerError::Fenced if self.since.elapsed() >= timeout => RestoreError::TookTooLong,
            other => other.into(),
        }
    }

    fn is_due(&self) -> bool {
        self.bytes >= TRANSACTION_BYTES || (self.records > 0 && self.since.elapsed() >= TRANSACTION_TIME)
    }
}

impl Writer {
    /// Writes what `plan` says from `resume` on.
    pub fn new(
        producer: TransactionalProducer,
        plan: &Plan,
        resume: &Resume,
        throttle: Option<NonZeroU64>,
        tally: Arc<Tally>,
        stop: CancellationToken,
    ) -> Self {
        let mut wanted = groups::wanted(plan);
        let mut lane = |topic: &TopicPlan, key: PartitionKey| {
            let done = resume.progress.get(&key).copied().unwrap_or_default();
            let home = progress::home(topic, key.partition);
            let translated = resume.translations.get(&key).cloned().unwrap_or_default();
            let start = topic.start(key.partition);
            let crossing = wanted.remove(&key).map(|wanted| Crossing::new(wanted, translated, start));
            Lane { key, target: topic.target.clone(), respread: topic.respread(), home, done, crossing }
        };
        let all = plan.topics.iter().flat_map(|topic| topic.keys().map(move |key| (topic, key)));
        let lanes: Vec<Lane> = all.map(|(topic, key)| lane(topic, key)).collect();
        let mut homes: BTreeMap<TargetPartition, Vec<usize>> = BTreeMap::new();
        for (index, lane) in lanes.iter().enumerate() {
            homes.entry(lane.home.clone()).or_default().push(index);
        }
        Self {
            producer,
            group: super::group(&plan.restore),
            by_key: lanes.iter().enumerate().map(|(index, lane)| (lane.key.clone(), index)).collect(),
            lanes,
            homes,
            open: Open::new(),
            last: None,
            foreign: Foreign::default(),
            is_last_try: resume.is_last_try,
            throttle: throttle.map(Throttle::new),
            tally,
            stop,
        }
    }

    /// Commits where everything stands, without a record: proof that the user may, and the place from where a restore that
    /// was killed goes on.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn commit_all(&mut self) -> Result<(), RestoreError> {
        self.begin()?;
        self.open.touched = (0..self.lanes.len()).collect();
        self.commit()
    }

    /// Writes all records of `source` and marks every partition as complete.
    ///
    /// # Errors
    /// [`RestoreError`]; what was not committed then is written again by the next pass.
    pub fn write(&mut self, source: &mut Source, plan: &Plan) -> Result<(), RestoreError> {
        self.begin()?;
        while let Some(chunk) = source.next_chunk()? {
            for (key, record) in &chunk {
                self.send(key, record)?;
            }
            if self.stop.is_cancelled() {
                self.commit()?;
                return Err(RestoreError::Stopped);
            }
            if self.open.is_due() {
                self.commit()?;
                self.begin()?;
            }
        }
        for (key, end) in plan.ends() {
            if let Some(index) = self.by_key.get(&key) {
                self.lanes[*index].done.next = end.max(self.lanes[*index].done.next);
                self.open.touched.insert(*index);
            }
        }
        self.commit()
    }

    /// What is restored of every partition.
    pub fn progress(&self) -> Progress {
        self.lanes.iter().map(|lane| (lane.key.clone(), lane.done)).collect()
    }

    /// What is known of the translations of every partition that has some.
    pub fn translations(&self) -> Translations {
        let found = |lane: &Lane| Some((lane.key.clone(), lane.crossing.as_ref()?.translated().clone()));
        self.lanes.iter().filter_map(found).collect()
    }

    /// Offsets at the target that somebody else took between records of the restore, by partition, as far as was seen.
    pub fn foreign_writes(&self) -> &BTreeMap<TargetPartition, u64> {
        &self.foreign.found
    }

    fn begin(&mut self) -> Result<(), RestoreError> {
        self.producer.begin()?;
        self.open = Open::new();
        Ok(())
    }

    fn send(&mut self, key: &PartitionKey, record: &Record) -> Result<(), RestoreError> {
        let index = match self.last.filter(|index| self.lanes[*index].key == *key) {
            Some(index) => index,
            None => *self.by_key.get(key).ok_or_else(|| RestoreError::Unplanned(key.clone()))?,
        };
        self.last = Some(index);
        let lane = &mut self.lanes[index];
        if record.offset < lane.done.next {
            return Err(RestoreError::OutOfOrder { key: key.clone(), offset: record.offset, next: lane.done.next });
        }
        let to = lane
            .respread
            .map_or(key.partition, |number| partitioner::partition(record.key.as_deref(), key.partition, number));
        let sent = self.producer.send_owned(&lane.target, to, record);
        sent.map_err(|error| self.open.told(error))?;
        let bytes = record.raw_bytes() as u64;
        lane.done = lane.done.plus(record.offset, bytes, record.timestamp);
        if let Some(crossing) = &mut lane.crossing {
            crossing.sent(record.offset);
        }
        self.open.records += 1;
        self.open.bytes += bytes;
        self.open.touched.insert(index);
        if let Some(throttle) = &mut self.throttle {
            throttle.spend(bytes, &self.stop);
        }
        Ok(())
    }

    /// Finds the translations that the open transaction tells, so that they are committed with it.
    fn settle(&mut self) -> Result<(), RestoreError> {
        let open: Vec<usize> = self.open.touched.iter().copied().collect();
        let is_needed = |index: &usize| self.lanes[*index].crossing.as_ref().is_some_and(Crossing::needs_account);
        let written = match open.iter().any(is_needed) {
            true => self.producer.settle().map_err(|error| self.open.told(error))?,
            false => BTreeMap::new(),
        };
        for index in open {
            let lane = &mut self.lanes[index];
            if let Some(crossing) = &mut lane.crossing {
                let settled = crossing.settle(written.get(&lane.home).copied(), self.is_last_try);
                settled.map_err(|Untold| RestoreError::Untold(lane.key.clone()))?;
            }
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), RestoreError> {
        self.settle()?;
        let touched: BTreeSet<&TargetPartition> =
            self.open.touched.iter().map(|index| &self.lanes[*index].home).collect();
        let sources = |home| self.homes.get(home).into_iter().flatten().map(|index| &self.lanes[*index]);
        let offset = |home| progress::offset(home, sources(home).map(Lane::carried));
        let offsets: Vec<_> = touched.into_iter().map(offset).collect();
        let carried = self.producer.send_offsets(&self.group, &offsets);
        let written = carried.and_then(|()| self.commit_insistently()).map_err(|error| self.open.told(error))?;
        self.foreign.take(&written);
        self.tally.saw_foreign(self.foreign.found.values().sum());
        self.tally.committed(self.open.records, self.open.bytes);
        Ok(())
    }

    fn commit_insistently(&mut self) -> Result<BTreeMap<TargetPartition, Written>, ProducerError> {
        let mut attempts = 0;
        loop {
            match self.producer.commit() {
                Err(error) if error.is_retryable() && attempts < COMMIT_ATTEMPTS => attempts += 1,
                done => return done,
            }
        }
    }
}

/// Offsets that others took. Between two transactions in a partition there is one offset, the marker of the first.
#[derive(Debug, Default)]
struct Foreign {
    last: HashMap<TargetPartition, Offset>,
    found: BTreeMap<TargetPartition, u64>,
}

impl Foreign {
    fn take(&mut self, written: &BTreeMap<TargetPartition, Written>) {
        for (partition, written) in written {
            let Some((first, last)) = written.offsets else {
                self.last.remove(partition);
                continue;
            };
            let span = |from: i64, to: i64| u64::try_from(to.saturating_sub(from)).unwrap_or(0);
            let within = span(first.get(), last.get() + 1).saturating_sub(written.count);
            let before = self.last.get(partition).map_or(0, |last| span(last.get() + 2, first.get()));
            if within + before > 0 {
                *self.found.entry(partition.clone()).or_default() += within + before;
            }
            self.last.insert(partition.clone(), last);
        }
    }
}

/// Keeps to so many bytes in a second.
#[derive(Debug)]
struct Throttle {
    bytes_per_second: NonZeroU64,
    /// When what was sent so far may have been sent.
    due: Instant,
}

impl Throttle {
    /// So far it may be ahead of itself, so that it need not sleep for every record.
    const SLACK: Duration = Duration::from_millis(100);

    fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, due: Instant::now() }
    }

    fn spend(&mut self, bytes: u64, stop: &CancellationToken) {
        let now = Instant::now();
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        self.due = self.due.max(now) + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        while self.due.saturating_duration_since(Instant::now()) > Self::SLACK && !stop.is_cancelled() {
            std::thread::sleep(Self::SLACK / 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use strimzi_backup_format::ids::PartitionId;

    use super::*;

    fn place() -> TargetPartition {
        (TopicName::new("t").expect("legal"), PartitionId::new(0))
    }

    fn written(first: i64, last: i64, count: u64) -> BTreeMap<TargetPartition, Written> {
        BTreeMap::from([(place(), Written { offsets: Some((Offset::new(first), Offset::new(last))), count })])
    }

    #[test]
    fn offsets_that_others_took_are_counted() {
        let mut foreign = Foreign::default();
        foreign.take(&written(0, 9, 10));
        foreign.take(&written(11, 20, 10));
        assert!(foreign.found.is_empty(), "a marker lies between transactions");
        foreign.take(&written(25, 30, 6));
        foreign.take(&written(32, 40, 5));
        assert_eq!(foreign.found, BTreeMap::from([(place(), 3 + 4)]));
    }

    #[test]
    fn where_offsets_are_not_told_nothing_is_claimed() {
        let mut foreign = Foreign::default();
        foreign.take(&written(0, 9, 10));
        foreign.take(&BTreeMap::from([(place(), Written { offsets: None, count: 3 })]));
        foreign.take(&written(100, 109, 10));
        assert!(foreign.found.is_empty());
    }
}
