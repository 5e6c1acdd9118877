//! What Kafka held at each instant: the fake cluster's logs with their whole history, which is the oracle's truth.
//!
//! Nothing is ever forgotten here: deleted topics stay as lives with an end, truncated logs as branches, and records below
//! the log start or compacted away keep their place. What a client may see is decided by [`super::broker`].

use std::sync::Arc;

use bytes::Bytes;
use strimzi_backup_format::ids::{Offset, TimestampMs, TopicId, TopicName};
use strimzi_backup_format::record::{Header, Record, TimestampType};
use strimzi_backup_streamer::source::Refusal;

use super::dice::Dice;

/// What became of what was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// In a transaction that is open.
    Open,
    /// Readable.
    Committed,
    /// In a transaction that was aborted.
    Aborted,
}

/// One offset of a log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The record; a transaction marker has none.
    pub record: Option<Arc<Record>>,
    /// When it was appended.
    pub appended_at: TimestampMs,
    /// The leader epoch it was appended under.
    pub epoch: i32,
    /// What became of it.
    pub fate: Fate,
    /// Whether compaction has removed it.
    pub compacted: bool,
}

impl Entry {
    /// The record, where a reader of committed records gets it.
    pub fn readable(&self) -> Option<&Arc<Record>> {
        self.record.as_ref().filter(|_| self.fate == Fate::Committed && !self.compacted)
    }
}

/// A log, by offset from 0.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Everything ever appended to it.
    pub entries: Vec<Entry>,
    /// The first offset that can be read.
    pub start: i64,
    /// When it was given up: truncated, or deleted with its topic.
    pub gone_at: Option<TimestampMs>,
}

impl Log {
    /// The end of what is committed, open transactions included.
    pub fn high_watermark(&self) -> i64 {
        i64::try_from(self.entries.len()).unwrap_or(i64::MAX)
    }

    /// The entry at an offset.
    pub fn at(&self, offset: i64) -> Option<&Entry> {
        self.entries.get(usize::try_from(offset).ok()?)
    }

    fn at_mut(&mut self, offset: i64) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(offset).ok()?)
    }
}

/// A partition: its log now, and those that an unclean election cut short.
#[derive(Clone, Debug, Default)]
pub struct Partition {
    /// The log.
    pub log: Log,
    /// The logs as they were when they were truncated, oldest first.
    pub branches: Vec<Log>,
    /// The leader's epoch.
    pub epoch: i32,
    /// The first offset of the open transaction.
    pub open: Option<i64>,
}

impl Partition {
    /// The last stable offset.
    pub fn last_stable(&self) -> i64 {
        self.open.unwrap_or_else(|| self.log.high_watermark())
    }

    /// The end of what was appended up to leader epoch `epoch`, as OffsetsForLeaderEpoch answers.
    pub fn end_of_epoch(&self, epoch: i32) -> i64 {
        let end = self.log.entries.iter().position(|entry| entry.epoch > epoch);
        end.map_or_else(|| self.log.high_watermark(), |end| i64::try_from(end).unwrap_or(i64::MAX))
    }

    fn append(&mut self, record: Option<Record>, now: TimestampMs, fate: Fate) {
        let epoch = self.epoch;
        let record = record.map(Arc::new);
        self.log.entries.push(Entry { record, appended_at: now, epoch, fate, compacted: false });
    }

    /// Appends a record; in a transaction it is not readable yet.
    pub fn produce(&mut self, now: TimestampMs, in_transaction: bool, dice: &mut Dice) {
        let offset = self.log.high_watermark();
        let record = random_record(offset, now, dice);
        let fate = if in_transaction { Fate::Open } else { Fate::Committed };
        if in_transaction && self.open.is_none() {
            self.open = Some(offset);
        }
        self.append(Some(record), now, fate);
    }

    /// Appends a record that was on its way for so many milliseconds.
    pub fn produce_late(&mut self, now: TimestampMs, late_millis: i64, dice: &mut Dice) {
        let record = random_record(self.log.high_watermark(), now.plus_millis(-late_millis), dice);
        self.append(Some(record), now, Fate::Committed);
    }

    /// Ends the open transaction.
    pub fn end_transaction(&mut self, now: TimestampMs, commit: bool) {
        let Some(first) = self.open.take() else { return };
        let fate = if commit { Fate::Committed } else { Fate::Aborted };
        let first = usize::try_from(first).unwrap_or(0);
        for entry in self.log.entries[first..].iter_mut().filter(|entry| entry.fate == Fate::Open) {
            entry.fate = fate;
        }
        self.append(None, now, Fate::Committed);
    }

    /// Moves the log's start, as retention and DeleteRecords do. Not in a log that was truncated: where a writer that was
    /// away finds nothing any more of what it has, nothing can tell it that the log is another one.
    pub fn delete_before(&mut self, offset: i64) {
        if !self.branches.is_empty() {
            return;
        }
        self.log.start = offset.min(self.last_stable()).max(self.log.start);
    }

    /// Removes a record, as compaction does.
    pub fn compact(&mut self, offset: i64) {
        if offset < self.last_stable()
            && let Some(entry) = self.log.at_mut(offset)
        {
            entry.compacted = true;
        }
    }

    /// An unclean election: the log is cut back, and a new leader goes on. A record stays, for the reason above.
    pub fn truncate(&mut self, to: i64, now: TimestampMs) {
        let readable = |offset: &i64| self.log.at(*offset).is_some_and(|entry| entry.readable().is_some());
        let Some(first) = (self.log.start..self.last_stable()).find(readable) else { return };
        let to = to.max(first + 1);
        let mut branch = self.log.clone();
        branch.gone_at = Some(now);
        self.branches.push(branch);
        self.log.entries.truncate(usize::try_from(to).unwrap_or(0));
        self.open = self.open.filter(|first| *first < to);
        self.epoch += 1;
    }

    /// The log that there was at an instant, and those that took its place when it was truncated.
    pub fn since(&self, instant: TimestampMs) -> impl Iterator<Item = &Log> {
        let branches = self.branches.iter().filter(move |branch| branch.gone_at > Some(instant));
        branches.chain(std::iter::once(&self.log))
    }

    /// All logs that this partition ever had, the newest first.
    pub fn logs(&self) -> impl Iterator<Item = &Log> {
        std::iter::once(&self.log).chain(self.branches.iter().rev())
    }
}

/// One life of a topic.
#[derive(Clone, Debug)]
pub struct Life {
    /// Its name.
    pub topic: TopicName,
    /// Its id.
    pub id: TopicId,
    /// Its partitions.
    pub partitions: Vec<Partition>,
    /// When it was created.
    pub created_at: TimestampMs,
    /// When it was deleted.
    pub deleted_at: Option<TimestampMs>,
}

/// A topic that was re-created lives at least so long before it is deleted again: in less, nothing that looks at topic
/// ids from time to time can know that it was there.
const SHORTEST_LIFE_MILLIS: u64 = 20_000;

/// The fake cluster.
#[derive(Debug, Default)]
pub struct Cluster {
    /// Every topic that ever was, in the order of creation.
    pub lives: Vec<Life>,
    /// Whether nobody reaches it at the moment.
    pub unreachable: bool,
    /// The topic whose partitions it does not tell the bounds of, and why.
    pub refused: Option<(TopicName, Refusal)>,
}

impl Cluster {
    /// Creates a topic, where none of that name exists.
    pub fn create(&mut self, name: &str, partitions: usize, now: TimestampMs) {
        let Ok(topic) = TopicName::new(name) else { return };
        if self.life(&topic).is_none() {
            let id = TopicId::new(format!("id-{}", self.lives.len()));
            let partitions = vec![Partition::default(); partitions];
            self.lives.push(Life { topic, id, partitions, created_at: now, deleted_at: None });
        }
    }

    /// Deletes a topic. Not one that is younger than a life must be to be told from the one before.
    pub fn delete(&mut self, topic: &TopicName, now: TimestampMs) {
        let old_enough = |life: &&mut Life| now.millis_since(life.created_at) > SHORTEST_LIFE_MILLIS;
        if let Some(life) = self.life_mut(topic).filter(old_enough) {
            life.deleted_at = Some(now);
            for partition in &mut life.partitions {
                partition.log.gone_at = Some(now);
            }
        }
    }

    /// The topics that exist.
    pub fn alive(&self) -> impl Iterator<Item = &Life> {
        self.lives.iter().filter(|life| life.deleted_at.is_none())
    }

    /// A topic's present life.
    pub fn life(&self, topic: &TopicName) -> Option<&Life> {
        self.alive().find(|life| life.topic == *topic)
    }

    fn life_mut(&mut self, topic: &TopicName) -> Option<&mut Life> {
        self.lives.iter_mut().find(|life| life.deleted_at.is_none() && life.topic == *topic)
    }

    /// The life of that id.
    pub fn by_id(&self, id: &TopicId) -> Option<&Life> {
        self.lives.iter().find(|life| life.id == *id)
    }

    /// A partition of a topic's present life.
    pub fn partition(&self, topic: &TopicName, partition: i32) -> Option<&Partition> {
        self.life(topic)?.partitions.get(usize::try_from(partition).ok()?)
    }

    /// A partition of a topic's present life, to change it.
    pub fn partition_mut(&mut self, topic: &TopicName, partition: usize) -> Option<&mut Partition> {
        self.life_mut(topic)?.partitions.get_mut(partition)
    }

    /// A random partition that exists.
    pub fn any_partition(&mut self, dice: &mut Dice) -> Option<&mut Partition> {
        let mut all: Vec<&mut Partition> = self
            .lives
            .iter_mut()
            .filter(|life| life.deleted_at.is_none())
            .flat_map(|life| &mut life.partitions)
            .collect();
        let chosen = dice.index(all.len());
        (chosen < all.len()).then(|| all.swap_remove(chosen))
    }

    /// Adds partitions to a topic.
    pub fn grow(&mut self, topic: &TopicName) {
        if let Some(life) = self.life_mut(topic) {
            life.partitions.push(Partition::default());
        }
    }

    /// Ends every open transaction.
    pub fn end_transactions(&mut self, now: TimestampMs) {
        for life in self.lives.iter_mut().filter(|life| life.deleted_at.is_none()) {
            for partition in &mut life.partitions {
                partition.end_transaction(now, true);
            }
        }
    }
}

/// Often one of few, so that records of one key follow each other.
fn random_key(dice: &mut Dice) -> Option<Bytes> {
    if dice.once_in(3) {
        return random_bytes(dice, 9);
    }
    Some(Bytes::copy_from_slice(&dice.below(6).to_le_bytes()[..1]))
}

fn random_bytes(dice: &mut Dice, most: u64) -> Option<Bytes> {
    let len = match dice.below(8) {
        0 => return None,
        1 => 0,
        _ => dice.below(most),
    };
    Some((0..len).map(|_| dice.next().to_le_bytes()[0]).collect::<Vec<u8>>().into())
}

/// A record of any shape: null, empty, repeated headers, keys that are no text, timestamps out of order, equal and out of reach.
fn random_record(offset: i64, now: TimestampMs, dice: &mut Dice) -> Record {
    let timestamp = match dice.below(20) {
        0 => -1,
        1 => i64::MAX - dice.between(0, 5),
        2 => dice.between(0, now.get()),
        3 => now.get() + dice.between(0, 7_200_000),
        // A clock that goes in steps.
        4..=11 => (now.get() - dice.between(0, 1_750)) / 250 * 250,
        _ => now.get() - dice.between(0, 2_000),
    };
    let kinds = [TimestampType::CreateTime, TimestampType::CreateTime, TimestampType::LogAppendTime];
    let longest = if dice.once_in(30) { 3_000 } else { 60 };
    let headers = if dice.percent(70) { 0 } else { dice.below(4) };
    let names: [&[u8]; 4] = [b"a", b"a", b"", &[0xff, 0xfe]];
    let header = |dice: &mut Dice| Header {
        key: Bytes::from_static(names[dice.index(names.len())]),
        value: random_bytes(dice, 6),
    };
    Record {
        offset: Offset::new(offset),
        timestamp: TimestampMs::new(timestamp),
        timestamp_type: kinds[dice.index(kinds.len())],
        key: random_key(dice),
        value: random_bytes(dice, longest),
        headers: (0..headers).map(|_| header(dice)).collect(),
    }
}
